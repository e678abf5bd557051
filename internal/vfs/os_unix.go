//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW

// openFile is os.OpenFile without its attempt to register the file for polling.
// For a regular file that is five system calls in vain, a third of the time that
// a query takes to open a segment.
func openFile(path string, flag int) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, flag|noFollow|syscall.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case syscall.EINTR:
		default:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// syncDir: open(path, O_RDONLY) fsync(fd) close(fd).
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Untouched: fstat(fd) lstat(path). It runs before each write; os.Stat would
// allocate and do more than is needed.
func (f file) Untouched(size int64) error {
	var open, named syscall.Stat_t
	err := syscall.Fstat(int(f.Fd()), &open)
	if err == nil && open.Size != size {
		return f.touched("it has %d bytes, and had %d", open.Size, size)
	}
	if err == nil {
		err = syscall.Lstat(f.Name(), &named)
	}
	if err == syscall.ENOENT || err == nil && (open.Dev != named.Dev || open.Ino != named.Ino) {
		return f.touched("it was removed, renamed or replaced")
	}
	if err != nil {
		return &fs.PathError{Op: "check", Path: f.Name(), Err: err}
	}
	return nil
}

// lock: lstat(path) open(path, O_RDWR|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0600)
// flock(fd, LOCK_EX|LOCK_NB) open(directory) flock(fd, LOCK_EX|LOCK_NB)
// ftruncate(fd, 0) pwrite(fd, pid).
//
// A flock belongs to the open file description, so it also excludes a second
// Lock of the same process, and ends with the last descriptor. The directory is
// locked too, in case somebody removes the lock's file as stale: a second process
// could then create and lock a new file of that name, and the two would write
// over each other's lines.
func lock(path string) (io.Closer, error) {
	if info, err := os.Lstat(path); err == nil {
		if err := checkRegular(path, info); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		f.Close()
		return nil, err
	}
	l := flocked{f, d}
	for i, f := range l {
		err := onDescriptor(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
		switch {
		case err == syscall.EWOULDBLOCK:
			l.Close()
			return nil, lockedBy(path)
		case err != nil && i == 0: // i == 1 may fail: some file systems can't lock directories
			l.Close()
			return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
		}
	}
	writePID(f)
	return l, nil
}

type flocked []*os.File

// Close: flock(fd, LOCK_UN) close(fd).
//
// Close alone would not always free the lock: a child that is being started holds
// a copy of the descriptor until it calls exec.
func (l flocked) Close() error {
	var errs []error
	for _, f := range l {
		errs = append(errs, onDescriptor(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_UN) }), f.Close())
	}
	return errors.Join(errs...)
}

// onDescriptor makes a system call with f's descriptor, and repeats it while
// signals interrupt it. f can't be closed during the call.
func onDescriptor(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for callErr = call(int(fd)); callErr == syscall.EINTR; {
			callErr = call(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return callErr
}
