package main_test

import (
	"os"
	"os/exec"
	"testing"
)

// tool finds a program. Without it the test is skipped, or fails where the
// environment wants all of them to be there.
func tool(t *testing.T, name string) string {
	t.Helper()
	// Debian keeps servers where not everybody's PATH leads.
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
