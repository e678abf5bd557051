// Package vfs is the file system as the log uses it: one directory of plain
// files, read and written at offsets, and the two calls that make them durable.
// It holds the only file system calls of the library.
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
// Files are made for their owner alone (0600). Open, OpenWrite and Lock refuse
// symbolic links and whatever else is not a regular file, with an error that
// says which. A missing file is fs.ErrNotExist.
//
// A creation, renaming or removal is durable after the next SyncDir, contents
// after the file's own Sync: neither includes the other. All methods may be
// called concurrently. On Windows a file that is open can't be renamed,
// replaced or removed.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Create makes an empty file and opens it for reading and writing. A name
	// that is taken, be it by a dangling link, is fs.ErrExist.
	Create(name string) (File, error)
	// OpenWrite opens an existing file for reading and writing.
	OpenWrite(name string) (File, error)
	// Rename gives the file old the name new. A file of that name is replaced:
	// at each moment, and after a crash, there is the one or the other.
	Rename(old, new string) error
	// Remove deletes a file.
	Remove(name string) error
	// List returns the names in the directory, sorted, whatever they name: a
	// link in the place of a file is seen, and refused when it is opened.
	List() ([]string, error)
	// SyncDir makes creations, renamings and removals durable. It does nothing
	// on Windows, where no such call exists.
	SyncDir() error
	// Lock takes the named lock for this process alone, without waiting, until
	// it is closed or the process ends in whatever way. It is a *LockedError
	// when another process has it, or another Lock of this one. The caller
	// keeps the lock reachable. Its file is made when missing and stays. Where
	// somebody removes it nevertheless, the lock holds on unix.
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
	// Untouched returns an error that wraps ErrTouched if the name under which
	// the file was opened is no longer its own, as after somebody removed or
	// renamed it, or saved over it with an editor, or if its length is not size.
	// On Windows an open file keeps its name.
	Untouched(size int64) error
	// Truncate cuts the file to size bytes, or lengthens it with zeros.
	Truncate(size int64) error
	// Sync returns when the contents, and what is needed to read them back, are
	// on the disk. After an error nothing written since the last Sync that
	// succeeded can be relied on, though it may still read well and a second
	// Sync may succeed: the system drops an error that it has reported.
	Sync() error
}

// ErrTouched: somebody else changed a file that is open.
var ErrTouched = errors.New("somebody else changed it while it was open")

// LockedError says who has a lock that was asked for.
type LockedError struct {
	PID int // 0 when unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return "in use by another process"
	}
	return fmt.Sprintf("in use by process %d", e.PID)
}

// CheckName returns an error if name isn't one that an [FS] takes.
func CheckName(name string) error {
	if name == "." || strings.ContainsAny(name, `/\`) || !filepath.IsLocal(name) {
		return errors.New("not a plain file name")
	}
	return nil
}
