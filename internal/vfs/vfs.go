// Package vfs is the file system as the log uses it: one directory of plain
// files, read and written at offsets, and the two calls that make them durable.
// It holds the only file system calls of the log.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// FS is one directory. Names are plain file names in it: a separator, "." and
// ".." are refused on every system.
//
// Files are created for their owner alone (0600). Open, OpenWrite and Lock
// refuse a symbolic link, and anything else that is not a regular file, with an
// error that says so. A missing file gives fs.ErrNotExist.
//
// SyncDir makes creations, renamings and removals durable; a file's Sync makes
// its contents durable. Neither does the work of the other. All methods may be
// called concurrently. On Windows an open file can't be renamed, replaced or
// removed.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Create makes an empty file and opens it for reading and writing. A taken
	// name, even by a dangling link, gives fs.ErrExist.
	Create(name string) (File, error)
	// OpenWrite opens an existing file for reading and writing.
	OpenWrite(name string) (File, error)
	// Rename gives the file old the name new, and replaces a file of that name.
	// At each moment, and after a crash, new names either the old or the new file.
	Rename(old, new string) error
	// Remove deletes a file.
	Remove(name string) error
	// List returns all names in the directory, sorted, those of links and
	// directories included.
	List() ([]string, error)
	// SyncDir makes creations, renamings and removals durable. On Windows it does
	// nothing, as the system has no such call.
	SyncDir() error
	// Lock takes the named lock, and creates the lock's file when it is missing.
	// The lock lasts until it is closed or the process ends, in whatever way; its
	// file stays. Lock does not wait: it returns a *LockedError if another
	// process, or another Lock of this process, has the lock. The caller must keep
	// the lock reachable. On unix it holds even if somebody removes its file.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt, WriteAt, Size and Sync may be called
// concurrently; a reader may see part of a write that is under way.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length in bytes.
	Size() (int64, error)
	// Untouched returns an error that wraps ErrTouched if the file's length is not
	// size, or if the name under which it was opened is no longer its own: somebody
	// removed or renamed it, or an editor replaced it on saving. On Windows an open
	// file keeps its name.
	Untouched(size int64) error
	// Truncate cuts the file to size bytes, or lengthens it with zeros.
	Truncate(size int64) error
	// Sync returns when the contents, and the metadata needed to read them back,
	// are on the disk. After an error, nothing written since the last successful
	// Sync can be relied on. It may still read well, and a second Sync may succeed,
	// because the system forgets an error once it has reported it.
	Sync() error
}

// ErrTouched: somebody else changed a file that is open.
var ErrTouched = errors.New("somebody else changed it while it was open")

// LockedError says which process holds the lock.
type LockedError struct {
	PID int // 0 when unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return "in use by another process"
	}
	return fmt.Sprintf("in use by process %d", e.PID)
}

// CheckName returns an error if name is not a plain file name, as an [FS] wants it.
func CheckName(name string) error {
	if name == "." || strings.ContainsAny(name, `/\`) || !filepath.IsLocal(name) {
		return errors.New("not a plain file name")
	}
	return nil
}
