package vfstest

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorSize is the number of bytes that a disk writes all or not at all.
const sectorSize = 512

// Fate is what a crash makes of that which was not synced.
type Fate int

const (
	// Lost: it is gone, names and contents. A created file is not there, a
	// renamed one has its old name.
	Lost Fate = iota
	// Kept: it is all there, the write that was on its way included; also what
	// a process finds that crashed while its machine did not.
	Kept
	// Torn: the seed decides. Each sector has its durable contents (zeros beyond
	// the durable end) or those after one of the writes to it; the length is the
	// newest, an earlier one, or a sector's end between; and of the directory's
	// changes the first few are kept.
	Torn
	// Reordered: lengths and names are the newest, but of the sectors of all
	// files, in the order of their last writes, the first ones are lost and the
	// others kept. The seed decides how many; one at least is lost, and one kept
	// unless there was but one.
	Reordered
)

func (f Fate) String() string {
	return [...]string{"lost", "kept", "torn", "reordered"}[f]
}

// Recover returns the directory as a machine could find it after a crash at
// this moment: a copy, all durable, unlocked, with no fault armed and no limit
// set. The same state, fate and seed give the same copy.
func (f *FS) Recover(fate Fate, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, uint64(fate)))

	names, entries := maps.Clone(f.synced), f.entries
	switch fate {
	case Lost:
		entries = nil
	case Torn:
		entries = entries[:rng.IntN(len(entries)+1)]
	}
	for _, e := range entries {
		e.apply(names)
	}

	var contents func(n *node) []byte
	switch fate {
	case Lost:
		contents = func(n *node) []byte { return slices.Clone(n.durable) }
	case Kept:
		contents = func(n *node) []byte { return slices.Clone(n.data) }
	case Torn:
		contents = func(n *node) []byte { return n.torn(rng) }
	case Reordered:
		lost := lostSectors(names, rng)
		contents = func(n *node) []byte { return n.reordered(lost) }
	}
	g := New()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := contents(names[name])
		g.names[name] = &node{data: data, durable: slices.Clone(data)}
	}
	g.synced = maps.Clone(g.names)
	return g
}

// sizes returns the durable length and that after each pending change.
func (n *node) sizes() []int {
	sizes := []int{len(n.durable)}
	for i, c := range n.pending {
		sizes = append(sizes, c.size(sizes[i]))
	}
	return sizes
}

// touching returns the pending changes to the sector at off, in order.
func (n *node) touching(off int) []change {
	var cs []change
	for _, c := range n.pending {
		if c.off < off+sectorSize && (c.cut || c.off+len(c.data) > off) {
			cs = append(cs, c)
		}
	}
	return cs
}

// image returns the first size bytes when of the changes to the sector at off
// the first keep(off, changes) have reached the disk.
func (n *node) image(size int, keep func(off int, touching []change) int) []byte {
	img := make([]byte, size)
	for off := 0; off < size; off += sectorSize {
		var sector [sectorSize]byte
		copy(sector[:], n.durable[min(off, len(n.durable)):])
		touching := n.touching(off)
		for _, c := range touching[:keep(off, touching)] {
			at := c.off - off
			if c.cut {
				clear(sector[max(at, 0):])
			} else {
				copy(sector[max(at, 0):], c.data[max(-at, 0):])
			}
		}
		copy(img[off:], sector[:])
	}
	return img
}

func (n *node) torn(rng *rand.Rand) []byte {
	sizes := n.sizes()
	size := sizes[len(sizes)-1]
	if rng.IntN(2) == 0 {
		for end := slices.Min(sizes)/sectorSize*sectorSize + sectorSize; end < slices.Max(sizes); end += sectorSize {
			sizes = append(sizes, end)
		}
		size = sizes[rng.IntN(len(sizes))]
	}
	return n.image(size, func(_ int, touching []change) int { return rng.IntN(len(touching) + 1) })
}

type sector struct {
	node *node
	off  int
}

// lostSectors chooses the sectors that don't reach the disk in [Reordered].
func lostSectors(names map[string]*node, rng *rand.Rand) map[sector]bool {
	var sectors []sector
	last := map[sector]int{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		sizes := n.sizes()
		for off := 0; off < sizes[len(sizes)-1]; off += sectorSize {
			if cs := n.touching(off); len(cs) > 0 {
				s := sector{n, off}
				sectors = append(sectors, s)
				last[s] = cs[len(cs)-1].seq
			}
		}
	}
	slices.SortStableFunc(sectors, func(a, b sector) int {
		return cmp.Or(cmp.Compare(last[a], last[b]), cmp.Compare(a.off, b.off))
	})
	count := len(sectors)
	if count > 1 {
		count = 1 + rng.IntN(count-1)
	}
	lost := map[sector]bool{}
	for _, s := range sectors[:count] {
		lost[s] = true
	}
	return lost
}

func (n *node) reordered(lost map[sector]bool) []byte {
	sizes := n.sizes()
	return n.image(sizes[len(sizes)-1], func(off int, touching []change) int {
		if lost[sector{n, off}] {
			return 0
		}
		return len(touching)
	})
}
