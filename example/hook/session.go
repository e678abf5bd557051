package main

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
)

// defaultSession is the name of the project's directory and the branch that is
// checked out there, as in myapp/main. It reads git's files: running git would
// take longer than all the rest.
func defaultSession(cwd string) string {
	// A name that an event can't have must not keep calls off the record.
	return strings.ToValidUTF8(projectAndBranch(cmp.Or(os.Getenv("CLAUDE_PROJECT_DIR"), cwd)), "\uFFFD")
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
	if data, err := os.ReadFile(git); err == nil { // of a worktree: where its own is
		dir, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
		if !ok {
			return "", false
		}
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(git), dir)
		}
		git = dir
	}
	data, err := os.ReadFile(filepath.Join(git, "HEAD"))
	return strings.TrimSpace(string(data)), err == nil
}
