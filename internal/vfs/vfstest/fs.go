// Package vfstest is a file system in memory that keeps apart what was written
// and what was made durable. It fails the n-th operation, and says what a
// machine could find after a crash. Only tests import it.
//
// A workload is run once to count its operations with [FS.Ops], then once for
// each of them with [FS.CrashAt] or [FS.FailAt] armed, and what [FS.Recover]
// returns is opened as after a reboot.
package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/rampartlog/rampart/internal/vfs"
)

// ErrCrashed is the error of every operation from the crash on.
var ErrCrashed = errors.New("vfstest: crashed")

var errReadOnly = errors.New("not open for writing")

// FS is an empty directory in memory at first. It behaves as vfs.Dir does on
// unix. All methods may be called concurrently.
//
// Operations are Create, Rename, Remove, SyncDir and a file's WriteAt,
// Truncate and Sync, whether they succeed or not. Calls that only read, Lock
// and Close are none: they neither count nor fail, not even after a crash.
type FS struct {
	mu      sync.Mutex
	names   map[string]*node
	synced  map[string]*node // names as they are on the disk
	entries []entry          // from synced to names, in order
	locked  map[string]bool
	changes int // made to the contents of all files

	ops, syncs int
	crashAt    int // number of an operation; 0 is none
	faults     map[int]fault
	syncFaults map[int]fault // by number of File.Sync
	limit      int64         // bytes; none when negative
}

// New returns an empty directory.
func New() *FS {
	return &FS{
		names: map[string]*node{}, synced: map[string]*node{}, locked: map[string]bool{},
		faults: map[int]fault{}, syncFaults: map[int]fault{}, limit: -1,
	}
}

// entry is a change of the directory: a name that goes, a name that comes.
type entry struct {
	gone, name string
	node       *node // of name
}

func (e entry) apply(names map[string]*node) {
	delete(names, e.gone)
	if e.node != nil {
		names[e.name] = e.node
	}
}

func (f *FS) change(e entry) {
	e.apply(f.names)
	f.entries = append(f.entries, e)
}

func failed(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// begin counts an operation on names and returns why it fails.
func (f *FS) begin(op string, names ...string) error {
	for _, name := range names {
		if err := vfs.CheckName(name); err != nil {
			return failed(op, name, err)
		}
	}
	if x := f.step(); x.err != nil {
		return failed(op, names[0], x.err)
	}
	return nil
}

// Create is as in vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("create", name); err != nil {
		return nil, err
	}
	if f.names[name] != nil {
		return nil, failed("create", name, fs.ErrExist)
	}
	n := &node{}
	f.change(entry{name: name, node: n})
	return &file{fs: f, node: n, name: name, writable: true}, nil
}

// Open is as in vfs.FS.
func (f *FS) Open(name string) (vfs.File, error) { return f.open(name, false) }

// OpenWrite is as in vfs.FS.
func (f *FS) OpenWrite(name string) (vfs.File, error) { return f.open(name, true) }

func (f *FS) open(name string, writable bool) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := vfs.CheckName(name); err != nil {
		return nil, failed("open", name, err)
	}
	n := f.names[name]
	if n == nil {
		return nil, failed("open", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: n, name: name, writable: writable}, nil
}

// Rename is as in vfs.FS.
func (f *FS) Rename(old, new string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("rename", old, new); err != nil {
		return err
	}
	n := f.names[old]
	if n == nil {
		return failed("rename", old, fs.ErrNotExist)
	}
	f.change(entry{gone: old, name: new, node: n})
	return nil
}

// Remove is as in vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("remove", name); err != nil {
		return err
	}
	if f.names[name] == nil {
		return failed("remove", name, fs.ErrNotExist)
	}
	f.change(entry{gone: name})
	return nil
}

// List is as in vfs.FS.
func (f *FS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names)), nil
}

// SyncDir makes the directory's entries durable. After one that failed, the
// next makes good for it.
func (f *FS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.step(); x.err != nil {
		return failed("syncdir", ".", x.err)
	}
	f.synced = maps.Clone(f.names)
	f.entries = nil
	return nil
}

// Lock makes the lock's file, durable at once, and holds it for this FS alone:
// what Recover returns is not locked.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := vfs.CheckName(name); err != nil {
		return nil, failed("lock", name, err)
	}
	if f.locked[name] {
		return nil, &vfs.LockedError{PID: os.Getpid()}
	}
	f.locked[name] = true
	if f.names[name] == nil {
		pid := strconv.AppendInt(nil, int64(os.Getpid()), 10)
		n := &node{data: pid, durable: slices.Clone(pid)}
		f.names[name], f.synced[name] = n, n
	}
	return &held{fs: f, name: name}, nil
}

type held struct {
	fs     *FS
	name   string
	closed bool
}

func (h *held) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return failed("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	delete(h.fs.locked, h.name)
	return nil
}

// room returns how many of count bytes at off fit into a file of size bytes,
// and the error if not all do.
func (f *FS) room(size, off int64, count int) (int, error) {
	free := f.limit
	for _, n := range f.names {
		free -= int64(len(n.data))
	}
	if end := size + max(free, 0); f.limit >= 0 && off+int64(count) > end {
		return int(max(end-off, 0)), syscall.ENOSPC
	}
	return count, nil
}
