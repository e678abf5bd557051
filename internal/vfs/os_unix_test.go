//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Opening a FIFO would wait for ever for somebody at its other end.
func TestRefusesFIFO(t *testing.T) {
	path := t.TempDir()
	if err := exec.Command("mkfifo", filepath.Join(path, "fifo")).Run(); err != nil {
		t.Skip("mkfifo: ", err)
	}
	d := open(t, path)
	for _, method := range []string{"Open", "OpenWrite", "Lock"} {
		if err := calls[method](d, "fifo"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s = %v, want it refused as not a regular file", method, err)
		}
	}
}
