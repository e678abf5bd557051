package ledger

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/segment"
)

// maxIndexes is how many sealed segments' indexes stay in memory, about a quarter
// of a megabyte each at 16 MiB a segment. So the memory that queries take does not
// grow with the log.
const maxIndexes = 32

// maxValues is how many bytes of sealed segments' values stay in memory, some
// kilobytes each. Those of further segments are read again for each query.
const maxValues = 16 << 20

// state is what readers see of the log.
type state struct {
	mu       sync.RWMutex
	segments []*segmentRef // sorted; the last is live
	seq      uint64        // number of the newest visible record
	head     Anchor        // that record
	dropped  Pruned        // what the log held before the first segment
	readers  *readers      // queries that hold open the segments as they are
	earlier  []*readers    // queries that hold open segments which were dropped since; oldest first
	appended uint64
	torn     int64
	failed   error
	closed   bool

	indexMu sync.Mutex    // held while an index or values are loaded or let go
	values  int           // bytes of the segments' values
	loaded  []*segmentRef // sealed segments whose index is in memory, in the order of their last use
}

// readers counts the queries that read the segments from number first on.
type readers struct {
	first uint64
	n     atomic.Int64
}

// segmentRef is a sealed segment, or the live one. The index of the live one is
// always in memory. That of a sealed one comes and goes, while its head stays.
type segmentRef struct {
	first  uint64
	sealed chan struct{} // closed once it is sealed and has its sidecar; nil if it was sealed at opening

	// Guarded by state.indexMu.
	head    segment.Head    // of a sealed one
	partial bool            // head lacks what only an index tells: time range and approvals
	index   *segment.Index  // nil when not in memory
	values  *segment.Values // of a sealed one; nil when not in memory
	gone    bool            // pruned: an older query may still look at it
}

func (s *state) failure() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// fail latches the first failure: the log takes no more events.
func (s *state) fail(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %w; mend the cause, then open the log again", failure.ErrFailed, cause)
	}
	return s.failed
}

func (s *state) live() *segmentRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.segments[len(s.segments)-1]
}

func (s *state) advance(seq uint64, id, hash string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq, s.head = seq, Anchor{ID: id, Hash: hash}
	s.appended += uint64(n)
}

// begin adds a live segment. The segment that was live is yet to be sealed, see
// retire.
func (s *state) begin(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Readers hold the slice that they took: it is replaced, never changed.
	s.segments = append(slices.Clip(s.segments), newLive(first, segment.NewIndex(first)))
}

// prune lets go of the first n segments.
func (s *state) prune(n int, dropped Pruned) {
	s.mu.Lock()
	gone := s.segments[:n]
	s.segments = slices.Clone(s.segments[n:])
	s.dropped = dropped
	s.earlier = append(s.earlier, s.readers)
	s.readers = &readers{first: s.segments[0].first}
	s.mu.Unlock()

	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	for _, g := range gone {
		g.gone = true
		if g.values != nil {
			s.values -= g.values.Size()
			g.values = nil
		}
	}
}

// needed is the number of the first segment that somebody may still read.
func (s *state) needed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.earlier = slices.DeleteFunc(s.earlier, func(r *readers) bool { return r.n.Load() == 0 })
	if len(s.earlier) > 0 {
		return s.earlier[0].first
	}
	return s.readers.first
}

func (s *state) pruned() Pruned {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dropped
}

func newLive(first uint64, index *segment.Index) *segmentRef {
	return &segmentRef{first: first, sealed: make(chan struct{}), index: index}
}

// retire makes g a sealed segment, whose index may be let go later.
func (s *state) retire(g *segmentRef) {
	defer close(g.sealed)
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	g.head = g.index.Head()
	s.touch(g)
}

// touch notes that g's index was used and lets go of the one used longest ago
// when there are too many. The caller holds indexMu.
func (s *state) touch(g *segmentRef) {
	if i := slices.Index(s.loaded, g); i >= 0 {
		s.loaded = slices.Delete(s.loaded, i, i+1)
	} else if len(s.loaded) == maxIndexes {
		s.loaded[0].index = nil
		s.loaded = slices.Delete(s.loaded, 0, 1)
	}
	s.loaded = append(s.loaded, g)
}

// headOf returns g's figures; time range and approvals may be unknown.
func (s *state) headOf(g *segmentRef) (h segment.Head, partial bool) {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if g.head.Count > 0 {
		return g.head, g.partial
	}
	return g.index.Head(), false // live
}

func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// view is the log at one moment. Its files stay until it is released.
type view struct {
	segments []*segmentRef
	seq      uint64
	head     Anchor
	pruned   Pruned
	readers  *readers
}

func (s *state) view() (view, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return view{}, failure.ErrClosed
	}
	s.readers.n.Add(1)
	return view{s.segments, s.seq, s.head, s.dropped, s.readers}, nil
}

func (v *view) release() { v.readers.n.Add(-1) }

// segmentOf returns the number of the segment that holds record seq.
func (v *view) segmentOf(seq uint64) int {
	return sort.Search(len(v.segments), func(i int) bool { return v.segments[i].first > seq }) - 1
}
