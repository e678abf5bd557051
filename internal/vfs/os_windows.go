package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const sharingViolation = syscall.Errno(32)

// openFile follows links: what openRegular sees beforehand must do, and making
// one takes a privilege here.
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
// Others may read the file, for the pid, but not open it for writing as lock
// does. The system closes the handle, and so frees the lock, when the process ends.
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
