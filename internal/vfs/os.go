package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir returns the operating system's directory at path. It creates (0700) the
// directory and those of its parents that are missing, and each of them is
// durable when Dir returns. The directory or a parent may be a symbolic link.
//
// For each missing directory: mkdir(path) open(parent) fsync close. If path is
// an empty directory, for each of its parents: open fsync close.
func Dir(path string) (FS, error) {
	if path == "" {
		return nil, errors.New("no directory given")
	}
	// A relative path would break when the process changes its working directory.
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	// An earlier process may have created the directory, or parents of it, and been
	// killed before it made them durable. Sync them now. A parent that can't be
	// opened is passed over: it is not ours, so somebody else created it.
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		for p := path; p != filepath.Dir(p); p = filepath.Dir(p) {
			if err := syncDir(filepath.Dir(p)); errors.Is(err, syscall.EIO) {
				return nil, err
			}
		}
	}
	return dir(path), nil
}

func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	parent := filepath.Dir(path)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err == nil {
		return syncDir(parent)
	}
	info, statErr := os.Stat(path)
	if errors.Is(err, fs.ErrExist) {
		err = statErr // an existing directory is fine
	}
	if statErr != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: path, Err: errors.New("not a directory")}
	}
	return nil
}

// dir is the absolute path of a directory.
type dir string

func (d dir) path(op, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", &fs.PathError{Op: op, Path: name, Err: err}
	}
	return filepath.Join(string(d), name), nil
}

func (d dir) Open(name string) (File, error)      { return d.open(name, os.O_RDONLY) }
func (d dir) OpenWrite(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d dir) open(name string, flag int) (File, error) {
	path, err := d.path("open", name)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(path, flag)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Create: open(O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600); O_EXCL follows no link.
func (d dir) Create(name string) (File, error) {
	path, err := d.path("create", name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d dir) Rename(old, new string) error {
	from, err := d.path("rename", old)
	if err != nil {
		return err
	}
	to, err := d.path("rename", new)
	if err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d dir) Remove(name string) error {
	path, err := d.path("remove", name)
	if err != nil {
		return err
	}
	return os.Remove(path)
}

func (d dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d)) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d dir) SyncDir() error { return syncDir(string(d)) }

func (d dir) Lock(name string) (io.Closer, error) {
	path, err := d.path("lock", name)
	if err != nil {
		return nil, err
	}
	return lock(path)
}

// openRegular: lstat(path) open(path, flag|O_NOFOLLOW|O_CLOEXEC) fstat(fd).
//
// Lstat comes first because opening a FIFO would wait until its other end opens.
func openRegular(path string, flag int) (*os.File, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkRegular(path, before); err != nil {
		return nil, err
	}
	f, err := openFile(path, flag)
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("replaced while it was opened")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkRegular(path string, info fs.FileInfo) error {
	what := "not a regular file"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode&fs.ModeSymlink != 0:
		what = "a symbolic link, which is not followed"
	}
	return &fs.PathError{Op: "open", Path: path, Err: errors.New(what)}
}

// writePID writes the holder of lock f into it, for the error that other
// processes get. The lock holds even if that fails: a full disk must not keep a
// log from being read.
func writePID(f *os.File) {
	if f.Truncate(0) == nil {
		f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
}

func lockedBy(path string) *LockedError {
	data, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return &LockedError{PID: pid}
}

// file is an os.File whose Sync and Untouched depend on the platform.
type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// touched makes an error of Untouched.
func (f file) touched(format string, args ...any) error {
	return &fs.PathError{Op: "check", Path: f.Name(), Err: fmt.Errorf("%w: "+format, append([]any{ErrTouched}, args...)...)}
}
