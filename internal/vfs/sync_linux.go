package vfs

import (
	"io/fs"
	"syscall"
)

// Sync: fdatasync(fd). It also writes a changed length, but not the times, for
// which fsync would need a journal commit.
func (f file) Sync() error {
	if err := onDescriptor(f.File, syscall.Fdatasync); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
