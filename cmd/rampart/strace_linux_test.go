package main_test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// fileCalls are the system calls by which the daemon reaches its directory.
// What Go's fcntl asks and sets beside them changes nothing for a plain file.
const fileCalls = "openat,newfstatat,fstat,pread64,read,pwrite64,write,fsync,fdatasync,ftruncate,flock,getdents64,mkdirat,linkat,renameat,unlinkat,close"

// injection is an error in place of a system call on some files. strace counts for
// each thread of the daemon by itself, and injects the error into each one's call
// of that number. So a run may have more than one error, or none.
type injection struct {
	call  string
	file  string   // what the files are to the daemon
	files []string // within its directory; of all that it uses when nil
	error string
	when  int
}

// needStrace skips the test where strace can't trace.
func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("RAMPART_E2E") == "all" {
			t.Fatal("no strace: with RAMPART_E2E=all nothing may be missing; .ci/setup installs what it can")
		}
		t.Skip("no strace")
	}
	if out, err := exec.Command("strace", "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("nothing can be traced here: %v: %s", err, out)
	}
}

// traced starts the daemon under strace, which writes to the file trace.
func traced(t *testing.T, dir, trace string, in injection, args ...string) *daemon {
	t.Helper()
	s := []string{"-f", "-y", "-o", trace, "-e", "trace=" + fileCalls, "-e", "signal=none"}
	if in.call != "" {
		s = append(s, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", in.call, in.error, in.when))
	}
	for _, f := range in.files {
		s = append(s, "-P", f)
	}
	cmd := exec.Command("strace", append(append(s, binary, "serve", "-addr", "127.0.0.1:0", "-dir", dir), args...)...)
	// A strace that is killed leaves its daemon running.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d := run(t, dir, cmd)
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return d
}

// sysCall is a system call in a trace.
type sysCall struct {
	name     string
	path     string
	file     string // what path is to the daemon
	injected bool
}

func (c sysCall) site() string { return c.name + " " + c.file }

var (
	traceLine  = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)`)
	descriptor = regexp.MustCompile(`^\d+<(.*?)(?: \(deleted\))?>`)
	pathName   = regexp.MustCompile(`"(/.*?)"`)
)

const unfinished = "<unfinished ...>"

// readTrace returns the calls that concern dir, in the order in which they ended.
func readTrace(t *testing.T, trace, dir string) (calls []sysCall) {
	t.Helper()
	begun := map[string]string{} // by thread
	made := map[string]bool{}    // segments, by path
	for line := range bytes.Lines(readFile(t, trace)) {
		m := traceLine.FindSubmatch(bytes.TrimSpace(line))
		if m == nil {
			continue // how a thread ended
		}
		thread, name, rest := string(m[1]), string(m[2]), string(m[3])
		if args, ok := strings.CutSuffix(rest, unfinished); ok {
			begun[thread] = args
			continue
		}
		rest, begun[thread] = begun[thread]+rest, ""
		path := descriptor.FindStringSubmatch(rest)
		if path == nil {
			path = pathName.FindStringSubmatch(rest)
		}
		if path == nil || path[1] != dir && !strings.HasPrefix(path[1], dir+"/") {
			continue
		}
		if name == "renameat" {
			// Go looks at the new name first, and goes on when that fails.
			for i := len(calls) - 1; i >= 0; i-- {
				if c := &calls[i]; c.name == "newfstatat" && c.path+".tmp" == path[1] {
					c.name = "newfstatat+renameat"
					break
				}
			}
		}
		file := fileOf(dir, path[1])
		if made[path[1]] = made[path[1]] || file == "segment" && strings.Contains(rest, "O_CREAT"); made[path[1]] {
			file = "new " + file
		}
		calls = append(calls, sysCall{name, path[1], file, strings.HasSuffix(rest, "(INJECTED)")})
	}
	return calls
}

var (
	segmentFile = regexp.MustCompile(`^\d{20}\.jsonl`)
	indexFile   = regexp.MustCompile(`^\d{20}\.idx`)
	aside       = regexp.MustCompile(`^\.(token|url)-\d+`)
)

// fileOf names a file of the daemon's directory by what it is.
func fileOf(dir, path string) string {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	name := strings.TrimPrefix(rel, "audit/")
	name = segmentFile.ReplaceAllString(name, "segment")
	name = indexFile.ReplaceAllString(name, "index")
	name = aside.ReplaceAllString(name, "$1.tmp")
	return cmp.Or(strings.TrimSuffix(name, "/"), ".")
}
