package main_test

import (
	"os"
	"os/exec"
	"testing"
)

// tool finds a program. If the program is missing, the test is skipped, or fails
// if the environment has RAMPART_E2E=all.
func tool(t *testing.T, name string) string {
	t.Helper()
	// Debian keeps servers in directories that are not in everybody's PATH.
	for _, place := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(place); err == nil {
			return path
		}
	}
	if os.Getenv("RAMPART_E2E") == "all" {
		t.Fatalf("no %s, and RAMPART_E2E=all wants it; .ci/setup installs it", name)
	}
	t.Skipf("no %s", name)
	return ""
}
