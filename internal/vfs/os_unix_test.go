//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Opening a FIFO would wait for ever for somebody to open its other end.
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

// When somebody removed the lock's file as stale, a second process could once
// write into the same log.
func TestLockOutlivesItsFile(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	l, err := d.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("LOCK"); err != nil {
		t.Fatal(err)
	}
	wantLocked(t, d, 0)
	l.Close()
	if l, err = d.Lock("LOCK"); err != nil {
		t.Fatal("after Close:", err)
	}
	l.Close()
}
