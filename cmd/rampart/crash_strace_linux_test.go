package main_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tally counts which calls of a scene were hit.
type tally struct {
	runs, single int
	total        map[string]int
	hit          map[string]map[int]bool
}

func (y *tally) add(calls []sysCall) (hits int) {
	nth := map[string]int{}
	for _, c := range calls {
		nth[c.site()]++
		if c.injected {
			hits++
			if y.hit[c.site()] == nil {
				y.hit[c.site()] = map[int]bool{}
			}
			y.hit[c.site()][nth[c.site()]] = true
		}
	}
	y.runs++
	if hits == 1 {
		y.single++
	}
	return hits
}

func (y *tally) String() string {
	calls, hit := 0, 0
	var missed []string
	for _, site := range slices.Sorted(maps.Keys(y.total)) {
		calls += y.total[site]
		hit += min(len(y.hit[site]), y.total[site])
		if len(y.hit[site]) == 0 {
			missed = append(missed, site)
		}
	}
	return fmt.Sprintf("%d runs, %d of them with one error; %d of %d calls were hit, of %d of %d kinds; not %q",
		y.runs, y.single, hit, calls, len(y.hit), len(y.total), missed)
}

// sample are the sites of the sample: the calls on which most depends.
var sample = map[string][]string{
	"first start":        {"mkdirat audit", "flock LOCK", "fsync audit"},
	"start after a kill": {"renameat segment.tmp", "fdatasync segment", "openat audit"},
	"a segment is full":  {"pwrite64 segment", "renameat PRUNED.tmp", "fdatasync new segment"},
}

// full are the calls that fail on a full disk.
var full = []string{"openat", "mkdirat", "pwrite64", "write", "ftruncate", "fsync", "fdatasync", "renameat"}

// TestCrashStrace makes calls of the real daemon to a real file system fail. It
// wants callers to get what docs/operations.md says, the daemon to say why, and
// all that was acknowledged or seen to be there after a restart.
func TestCrashStrace(t *testing.T) {
	needStrace(t)
	for name, make := range map[string]func(*testing.T) *scene{"first": fresh, "killed": killed, "pruning": pruning} {
		t.Run(name, func(t *testing.T) { make(t).sweep(t, os.Getenv("RAMPART_CRASH") == "all") })
	}
}

// sweep plays the scene with each error for each call, or with a sample of them.
func (s *scene) sweep(t *testing.T, every bool) {
	p := s.play(t, injection{})
	p.judge(s)
	y := &tally{total: map[string]int{}, hit: map[string]map[int]bool{}}
	for _, c := range p.calls {
		y.total[c.site()]++
	}
	if !every {
		for _, site := range sample[s.name] {
			call, file, _ := strings.Cut(site, " ")
			p := s.play(t, injection{call: call, file: file, files: filesOf(p, file), error: "EIO", when: 1})
			if p.judge(s); len(p.hits()) == 0 {
				t.Errorf("%s: nothing was hit", p.where)
			}
		}
		return
	}
	for _, site := range slices.Sorted(maps.Keys(y.total)) {
		call, file, _ := strings.Cut(site, " ")
		call, _, _ = strings.Cut(call, "+")
		files := filesOf(p, file)
		if files == nil && (call == "write" || call == "close") {
			continue // strace would have to count those of the daemon's log and sockets
		}
		errors := []string{"EIO"}
		if slices.Contains(full, call) {
			errors = append(errors, "ENOSPC")
		}
		for _, e := range errors {
			for when := 1; when <= 12; when++ {
				p := s.play(t, injection{call: call, file: file, files: files, error: e, when: when})
				hits := y.add(p.calls)
				if hits > 0 {
					p.judge(s)
				}
				if files == nil && len(y.hit[site]) > 0 || files != nil && hits == 0 {
					break // the one call was hit, or no thread makes so many calls
				}
			}
		}
	}
	t.Logf("%v", y)
}

// filesOf are the files of a kind that the daemon may use in a scene, or nil if
// nobody knows their names beforehand: then strace counts all calls of a thread.
func filesOf(p *played, file string) (names []string) {
	if file == "token.tmp" || file == "url.tmp" {
		return nil
	}
	for _, c := range p.calls {
		rel, err := filepath.Rel(p.d.dir, c.path)
		if err != nil {
			p.t.Fatal(err)
		}
		if c.file != file || slices.Contains(names, rel) {
			continue
		}
		names = append(names, rel)
		// A segment begins earlier when events were refused.
		var first int
		var suffix string
		if n, _ := fmt.Sscanf(filepath.Base(rel), "%020d.%s", &first, &suffix); n == 2 {
			for other := max(first-9, 1); other < first; other++ {
				names = append(names, fmt.Sprintf("audit/%020d.%s", other, suffix))
			}
		}
	}
	return names
}
