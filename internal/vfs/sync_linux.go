package vfs

import (
	"io/fs"
	"syscall"
)

// Sync: fdatasync(fd). It writes the length too when that has changed, and
// leaves out the times, which fsync would spend a journal commit on.
func (f file) Sync() error {
	if err := onDescriptor(f.File, syscall.Fdatasync); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
