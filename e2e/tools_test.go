package e2e_test

import (
	"os"
	"os/exec"
	"testing"
)

// find finds a program by any of its names.
func find(names ...string) (path string, ok bool) {
	for _, name := range names {
		// Debian keeps servers in a directory that is not on everybody's PATH.
		for _, place := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(place); err == nil {
				return path, true
			}
		}
	}
	return "", false
}

// need finds a program, and skips the test without it.
func need(t *testing.T, names ...string) string {
	t.Helper()
	path, ok := find(names...)
	if !ok {
		lacks(t, names[0])
	}
	return path
}

// lacks skips a test because something is not there: go test alone needs nothing
// but Go. With RAMPART_E2E=all, as in .ci/run, the test fails instead.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("RAMPART_E2E") == "all" {
		t.Fatalf("no %s: with RAMPART_E2E=all nothing may be missing; .ci/setup installs what it can", what)
	}
	t.Skipf("no %s", what)
}
