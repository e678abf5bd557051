// Package vfstest is a file system in memory that distinguishes written data
// from durable data. It can fail the n-th operation, and give any state that a
// machine could find after a crash. Only tests import it.
//
// A test runs its workload once and counts the operations with [FS.Ops]. It then
// runs the workload again for each operation, with [FS.CrashAt] or [FS.FailAt]
// armed, and opens the result: of [FS.Recover] as after a reboot, or of [FS.Kill]
// as after the end of the process alone.
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

// FS is a directory in memory that behaves as vfs.Dir does on unix. All methods
// may be called concurrently.
//
// Operations are Create, Rename, Remove, SyncDir and a file's WriteAt, Truncate
// and Sync, whether they succeed or not. The other calls, Open, OpenWrite, List,
// Lock and a file's ReadAt, Size, Untouched and Close, change nothing on the disk.
// They are counted apart, only [FS.FailReadAt] makes them fail, and they still
// work after a crash.
type FS struct {
	// Before, if set, is called before each operation, with the text that [FS.Op]
	// will return for it. It may block. It must be set before the first call.
	Before func(op string)

	mu      sync.Mutex
	names   map[string]*node
	synced  map[string]*node // names as they are on the disk
	entries []entry          // changes that lead from synced to names, in order
	locked  map[string]bool
	changes int // number of changes to contents, of all files

	ops, reads []string // the calls so far, operations and others
	syncs      int
	crashAt    int           // number of an operation; 0 is none
	faults     map[int]fault // by number of the operation
	syncFaults map[int]fault // by number of the File.Sync
	readFaults map[int]error // by number of the read
	limit      int64         // bytes; none when negative
}

// New returns an empty directory.
func New() *FS {
	return &FS{
		names: map[string]*node{}, synced: map[string]*node{}, locked: map[string]bool{},
		faults: map[int]fault{}, syncFaults: map[int]fault{}, readFaults: map[int]error{}, limit: -1,
	}
}

// entry is a change of the directory: it removes the name gone and adds name.
type entry struct {
	gone, name string
	node       *node // the file that gets name
	clean      bool  // a SyncDir of this change failed: no later SyncDir makes it durable
}

// touches reports whether e and o have a name in common. Such changes reach the
// disk in order.
func (e entry) touches(o entry) bool {
	for _, name := range []string{e.gone, e.name} {
		if name != "" && (name == o.gone || name == o.name) {
			return true
		}
	}
	return false
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

// begin counts an operation on names, and returns its fault. It locks f.mu, also
// when it fails.
func (f *FS) begin(op string, names ...string) error {
	for _, name := range names {
		if err := vfs.CheckName(name); err != nil {
			f.mu.Lock()
			return failed(op, name, err)
		}
	}
	f.before(op, names[0])
	f.mu.Lock()
	if x := f.step(op, names[0]); x.err != nil {
		return failed(op, names[0], x.err)
	}
	return nil
}

func (f *FS) before(op, name string) {
	if f.Before != nil {
		f.Before(op + " " + name)
	}
}

// Create is as in vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
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
	if err := f.read("open", name); err != nil {
		return nil, err
	}
	n := f.names[name]
	if n == nil {
		return nil, failed("open", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: n, name: name, writable: writable}, nil
}

// Rename is as in vfs.FS.
func (f *FS) Rename(old, new string) error {
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
	if err := f.read("list", "."); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.names)), nil
}

// SyncDir makes the directory's entries durable. If it fails, no later SyncDir
// makes those changes durable, as with a file's contents: see [FS.FailSync].
func (f *FS) SyncDir() error {
	f.before("syncdir", ".")
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.step("syncdir", ".")
	if x.err == nil {
		for _, e := range f.entries {
			if !e.clean {
				e.apply(f.synced)
			}
		}
		f.entries = nil
		return nil
	}
	if x.drop {
		f.names, f.entries = maps.Clone(f.synced), nil
	}
	if !errors.Is(x.err, ErrCrashed) {
		for i := range f.entries {
			f.entries[i].clean = true
		}
	}
	return failed("syncdir", ".", x.err)
}

// Lock creates the lock's file, durable at once. It locks only this FS: the
// copies that Recover and Kill return are not locked.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := vfs.CheckName(name); err != nil {
		return nil, failed("lock", name, err)
	}
	if err := f.read("lock", name); err != nil {
		return nil, err
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
	return h.fs.read("close", h.name)
}

// room returns how many of count bytes fit at off into a file of size bytes, and
// ENOSPC if not all of them do.
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
