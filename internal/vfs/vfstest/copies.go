package vfstest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing/fstest"
)

// Kill returns the directory as the next process finds it if this one is killed
// and the machine keeps running. The copy reads the same, and what is not durable
// in f is not durable in the copy. The copy is unlocked, with no fault armed and
// no limit set.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := New()
	copies := map[*node]*node{nil: nil}
	of := func(n *node) *node {
		if _, ok := copies[n]; !ok {
			copies[n] = &node{data: append([]byte(nil), n.data...), durable: append([]byte(nil), n.durable...), pending: append([]change(nil), n.pending...)}
		}
		return copies[n]
	}
	for name, n := range f.names {
		g.names[name] = of(n)
	}
	for name, n := range f.synced {
		g.synced[name] = of(n)
	}
	for _, e := range f.entries {
		e.node = of(e.node)
		g.entries = append(g.entries, e)
	}
	g.changes = f.changes
	return g
}

// Files returns the directory as it reads, for functions that take an io/fs.FS
// and for comparisons. It counts neither as an operation nor as a read.
func (f *FS) Files() fstest.MapFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := fstest.MapFS{}
	for name, n := range f.names {
		out[name] = &fstest.MapFile{Data: bytes.Clone(n.data)}
	}
	return out
}

// Sum is a digest of the directory as it reads: names and contents.
func (f *FS) Sum() (sum [sha256.Size]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		fmt.Fprintf(h, "%q %d\n", name, len(f.names[name].data))
		h.Write(f.names[name].data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
