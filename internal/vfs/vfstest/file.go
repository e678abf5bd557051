package vfstest

import (
	"errors"
	"io"
	"io/fs"

	"github.com/rampartlog/rampart/internal/vfs"
)

// node is a file, whatever its name is.
type node struct {
	data    []byte   // contents as they read
	durable []byte   // contents as they are on the disk
	pending []change // changes that the next Sync makes durable, in order
}

// change is a write of data at off, or a cut to off bytes.
type change struct {
	seq   int // number among the changes of all files
	off   int
	data  []byte
	cut   bool
	clean bool // a Sync of this change failed: no later Sync makes it durable
}

// size returns the length after the change of a file that had size bytes.
func (c change) size(size int) int {
	if c.cut {
		return c.off
	}
	return max(size, c.off+len(c.data))
}

func (c change) apply(b []byte) []byte {
	b = resize(b, c.size(len(b)))
	copy(b[c.off:], c.data)
	return b
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (n *node) change(f *FS, c change) {
	f.changes++
	c.seq = f.changes
	n.data = c.apply(n.data)
	n.pending = append(n.pending, c)
}

func (n *node) sync() {
	for _, c := range n.pending {
		if !c.clean {
			n.durable = c.apply(n.durable)
		}
	}
	// The durable length becomes the file's length, even where bytes were lost. The
	// sectors of a change are written whole, as they read: that brings back what an
	// earlier Sync lost of them.
	n.durable = resize(n.durable, len(n.data))
	for _, c := range n.pending {
		if !c.clean {
			from := min(c.off/sectorSize*sectorSize, len(n.data))
			to := min((c.off+len(c.data)+sectorSize-1)/sectorSize*sectorSize, len(n.data))
			copy(n.durable[from:], n.data[from:max(from, to)])
		}
	}
	n.pending = nil
}

func (n *node) syncFailed(drop bool) {
	if drop {
		n.data = append([]byte(nil), n.durable...)
		n.pending = nil
		return
	}
	for i := range n.pending {
		n.pending[i].clean = true
	}
}

type file struct {
	fs       *FS
	node     *node
	name     string
	writable bool
	closed   bool
}

// check returns an error if the file can't do op. The caller holds fs.mu.
func (f *file) check(op string, off int64, write bool) error {
	switch {
	case f.closed:
		return failed(op, f.name, fs.ErrClosed)
	case off < 0:
		return failed(op, f.name, errors.New("negative offset"))
	case write && !f.writable:
		return failed(op, f.name, errReadOnly)
	}
	return nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("read", off, false); err != nil {
		return 0, err
	}
	if err := f.fs.read("read", f.name); err != nil {
		return 0, err
	}
	n := copy(p, f.node.data[min(off, int64(len(f.node.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.before("write", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("write", off, true); err != nil {
		return 0, err
	}
	x := f.fs.step("write", f.name)
	n, err := len(p), x.err
	switch {
	case x.partial:
		n /= 2
	case err != nil && !x.inFlight:
		n = 0
	}
	fits, full := f.fs.room(int64(len(f.node.data)), off, n)
	if fits < n {
		n, err = fits, full
	}
	if n > 0 {
		f.node.change(f.fs, change{off: int(off), data: append([]byte(nil), p[:n]...)})
	}
	if x.inFlight {
		return 0, failed("write", f.name, x.err)
	}
	if err != nil {
		return n, failed("write", f.name, err)
	}
	return n, nil
}

func (f *file) Truncate(size int64) error {
	f.fs.before("truncate", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("truncate", size, true); err != nil {
		return err
	}
	if x := f.fs.step("truncate", f.name); x.err != nil {
		return failed("truncate", f.name, x.err)
	}
	if _, err := f.fs.room(int64(len(f.node.data)), size, 0); err != nil {
		return failed("truncate", f.name, err)
	}
	f.node.change(f.fs, change{off: int(size), cut: true})
	return nil
}

func (f *file) Sync() error {
	f.fs.before("sync", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("sync", 0, false); err != nil {
		return err
	}
	x := f.fs.stepSync(f.name)
	switch {
	case x.err == nil:
		f.node.sync()
		return nil
	case !errors.Is(x.err, ErrCrashed):
		f.node.syncFailed(x.drop)
	}
	return failed("sync", f.name, x.err)
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("stat", 0, false); err != nil {
		return 0, err
	}
	if err := f.fs.read("stat", f.name); err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

func (f *file) Untouched(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("check", 0, false); err != nil {
		return err
	}
	if err := f.fs.read("check", f.name); err != nil {
		return err
	}
	if f.fs.names[f.name] != f.node || int64(len(f.node.data)) != size {
		return failed("check", f.name, vfs.ErrTouched)
	}
	return nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("close", 0, false); err != nil {
		return err
	}
	f.closed = true
	return f.fs.read("close", f.name)
}
