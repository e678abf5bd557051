package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const sharingViolation = syscall.Errno(32)

// openFile follows links, as Windows has no O_NOFOLLOW. openRegular has refused
// a link beforehand, and creating one takes a privilege on Windows.
func openFile(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag, 0) }

func syncDir(string) error { return nil }

func (f file) Untouched(size int64) error {
	now, err := f.Size()
	if err == nil && now != size {
		err = f.touched("it has %d bytes, and had %d", now, size)
	}
	return err
}

// lock: CreateFile(path, GENERIC_READ|GENERIC_WRITE, FILE_SHARE_READ, OPEN_ALWAYS)
// SetEndOfFile WriteFile(pid).
//
// The share mode lets other processes read the pid, but not open the file for
// writing, as lock does. When the process ends, the system closes the handle, and
// so frees the lock.
func lock(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL|syscall.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err == sharingViolation {
		return nil, lockedBy(path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(h), path)
	info, err := f.Stat()
	if err == nil {
		err = checkRegular(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	writePID(f)
	return f, nil
}
