package vfstest

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// sectorSize is the number of bytes that a disk writes all or not at all.
const sectorSize = 512

// Fate says what a crash does to the changes that were not synced.
type Fate int

const (
	// Lost: all of them are lost, names and contents. A created file does not
	// exist, a renamed file has its old name.
	Lost Fate = iota
	// Kept: all of them are kept, the write that was on its way included.
	Kept
	// Torn: the seed decides for each piece.
	//   - A sector has its durable contents (zeros beyond the durable end), or its
	//     contents after one of the writes to it.
	//   - A file's length is the newest one, an earlier one, or a sector's end
	//     between them.
	//   - Of the directory's changes either the first few are kept, as by a file
	//     system with a journal, or any of them, as by one without. A change to a
	//     name is never kept without the earlier changes to that name.
	Torn
	// Reordered: lengths and names are the newest. The written sectors of all
	// files are taken in the order of their last writes: the first few are lost,
	// the others kept. The seed decides how many are lost: at least one, and all
	// only if there is one.
	Reordered
	// Each: the seed is the number of a state, from 0 to below [FS.States]. The
	// numbers cover all states that Torn can give; some may give the same state.
	Each
)

func (f Fate) String() string {
	return [...]string{"lost", "kept", "torn", "reordered", "each"}[f]
}

// chooser chooses one of n versions of a piece: 0 is the durable one, n-1 the newest.
type chooser func(n int) int

func oldest(int) int { return 0 }

// States returns how many numbers [Each] takes, or the largest uint64 if there
// are more.
func (f *FS) States() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := uint64(1)
	f.recover(func(n int) int {
		hi, lo := bits.Mul64(total, uint64(n))
		if total = lo; hi > 0 {
			total = math.MaxUint64
		}
		return 0
	}, nil)
	return total
}

// Recover returns the directory as a machine could find it after a crash at this
// moment. It is a copy: all of it durable, unlocked, with no fault armed and no
// limit set. The same state, fate and seed give the same copy.
func (f *FS) Recover(fate Fate, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, uint64(fate)))
	switch fate {
	case Lost:
		return f.recover(oldest, nil)
	case Torn:
		choose := torn(rng)
		if rng.IntN(2) == 0 {
			return f.recover(choose, nil)
		}
		return f.recover(choose, f.journaled(rng.IntN(len(f.entries)+1)))
	case Reordered:
		return f.reordered(rng)
	case Each:
		return f.recover(func(n int) int {
			v := seed % uint64(n)
			seed /= uint64(n)
			return int(v)
		}, nil)
	}
	return after(f.names, func(n *node) []byte { return slices.Clone(n.data) })
}

// torn chooses freely. It is equally likely to lose a few pieces, about half of
// them, or most.
func torn(rng *rand.Rand) chooser {
	keep := [...]float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	return func(n int) int {
		if rng.Float64() < keep {
			return n - 1
		}
		return rng.IntN(n)
	}
}

// recover is Recover with the version of each piece chosen by choose. The calls
// of choose are the same, in the same order, whatever it returns. names, if not
// nil, are the directory's entries in place of the chosen ones.
func (f *FS) recover(choose chooser, names map[string]*node) *FS {
	chosen := f.chosen(choose)
	if names == nil {
		names = chosen
	}
	images := map[*node][]byte{}
	for _, n := range f.nodes() {
		images[n] = n.torn(choose)
	}
	return after(names, func(n *node) []byte { return images[n] })
}

func after(names map[string]*node, contents func(n *node) []byte) *FS {
	g := New()
	for name, n := range names {
		data := contents(n)
		g.names[name] = &node{data: data, durable: slices.Clone(data)}
	}
	g.synced = maps.Clone(g.names)
	return g
}

// nodes returns the files that a crash may leave, in the order of their names.
func (f *FS) nodes() (nodes []*node) {
	add := func(n *node) {
		if n != nil && !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.synced)) {
		add(f.synced[name])
	}
	for _, e := range f.entries {
		add(e.node)
	}
	return nodes
}

// chosen returns the names after the changes of the directory that choose keeps.
// A change that it drops also drops the later changes to the same names.
func (f *FS) chosen(choose chooser) map[string]*node {
	names := maps.Clone(f.synced)
	var undone []entry
	for _, e := range f.entries {
		if choose(2) == 0 || slices.ContainsFunc(undone, e.touches) {
			undone = append(undone, e)
		} else {
			e.apply(names)
		}
	}
	return names
}

// journaled returns the names after the first count changes.
func (f *FS) journaled(count int) map[string]*node {
	names := maps.Clone(f.synced)
	for _, e := range f.entries[:count] {
		e.apply(names)
	}
	return names
}

// sizes returns the durable length, then the length after each pending change.
func (n *node) sizes() []int {
	sizes := []int{len(n.durable)}
	for i, c := range n.pending {
		sizes = append(sizes, c.size(sizes[i]))
	}
	return sizes
}

// lengths returns the lengths that the file may have, the durable one first and
// the newest last.
func (n *node) lengths() []int {
	sizes := n.sizes()
	durable, newest := sizes[0], sizes[len(sizes)-1]
	for end := slices.Min(sizes)/sectorSize*sectorSize + sectorSize; end < slices.Max(sizes); end += sectorSize {
		sizes = append(sizes, end)
	}
	slices.Sort(sizes)
	between := slices.DeleteFunc(slices.Compact(sizes), func(size int) bool { return size == durable || size == newest })
	if durable == newest && len(between) == 0 {
		return []int{newest}
	}
	return append(append([]int{durable}, between...), newest)
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

// image returns the first size bytes of the file on the disk if, of the changes
// to the sector at off, only the first keep(off, changes) have reached it.
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

func (n *node) torn(choose chooser) []byte {
	lengths := n.lengths()
	size := lengths[choose(len(lengths))]
	longest := slices.Max(lengths)
	return n.image(longest, func(_ int, touching []change) int { return choose(len(touching) + 1) })[:size]
}

type sector struct {
	node *node
	off  int
}

func (f *FS) reordered(rng *rand.Rand) *FS {
	names := f.journaled(len(f.entries))
	lost := lostSectors(names, rng)
	return after(names, func(n *node) []byte {
		sizes := n.sizes()
		return n.image(sizes[len(sizes)-1], func(off int, touching []change) int {
			if lost[sector{n, off}] {
				return 0
			}
			return len(touching)
		})
	})
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
