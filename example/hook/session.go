package main

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSession bounds the name, and maxHead what is read of one of git's files, in
// bytes.
const maxSession, maxHead = 200, 4 << 10

// defaultSession returns the name of the project's directory and the branch that
// is checked out there, as in myapp/main. It reads git's files, since running git
// would take longer than everything else here.
func defaultSession(cwd string) string {
	// A name that the log refuses must not keep calls off the record.
	name := projectAndBranch(cmp.Or(os.Getenv("CLAUDE_PROJECT_DIR"), cwd))
	return strings.ToValidUTF8(name[:min(len(name), maxSession)], "\uFFFD")
}

func projectAndBranch(dir string) string {
	if dir == "" {
		return ""
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if head, ok := gitHead(filepath.Join(at, ".git")); ok {
			name := filepath.Base(at)
			if branch, ok := strings.CutPrefix(head, "ref: refs/heads/"); ok {
				name += "/" + branch
			}
			return name
		}
		if at == filepath.Dir(at) {
			return filepath.Base(dir)
		}
	}
}

func gitHead(git string) (head string, ok bool) {
	if data, err := readSmall(git); err == nil { // a worktree's .git is a file that names its directory
		dir, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
		if !ok {
			return "", false
		}
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(git), dir)
		}
		git = dir
	}
	data, err := readSmall(filepath.Join(git, "HEAD"))
	return strings.TrimSpace(string(data)), err == nil
}

// readSmall reads the beginning of a plain file. The agent may have put a pipe or
// /dev/zero there. Neither may hold the hook until its timeout, after which Claude
// Code may run the call.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("no plain file"))
	}
	return io.ReadAll(io.LimitReader(f, maxHead))
}
