package ledger

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/segment"
)

const (
	MaxQueued  = maxQueued
	MaxIndexes = maxIndexes
)

var (
	SameWrite = sameWrite
	SeamFault = seamFault[string]
	TornWrite = tornWrite
)

// IDs gives the ids of one write after the other.
type IDs struct{ source idSource }

func IDsAfter(last ulid.ULID) *IDs { return &IDs{idSource{last: last}} }

// Write returns the ids of n records that are written at the given time.
func (s *IDs) Write(now time.Time, n int) (ids []ulid.ULID) {
	s.source.begin(now)
	for i := range n {
		ids = append(ids, s.source.take(i))
	}
	s.source.last = ids[n-1]
	return ids
}

// Candidates returns the function that gives one candidate after the other.
func Candidates(v segment.View, since, until int64, from, to int, backward bool, chosen *segment.Selection) func() (i int, more []int, ok bool) {
	c := candidates{view: v, since: since, until: until, from: from, to: to, backward: backward, chosen: chosen}
	return c.next
}

// QueuedBytes is what waits for the committer.
func (l *Ledger) QueuedBytes() int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.bytes
}

// LoadedIndexes is how many sealed segments' indexes are in memory.
func (l *Ledger) LoadedIndexes() int {
	l.state.indexMu.Lock()
	defer l.state.indexMu.Unlock()
	return len(l.state.loaded)
}

// KeptValues is how many bytes of values are counted, and how many there are.
func (l *Ledger) KeptValues() (counted, kept int) {
	v, err := l.state.view()
	if err != nil {
		return 0, 0
	}
	defer v.release()
	l.state.indexMu.Lock()
	defer l.state.indexMu.Unlock()
	for _, g := range v.segments {
		if g.values != nil {
			kept += g.values.Size()
		}
	}
	return l.state.values, kept
}

// OK reports whether the log is whole, as rampart.Report's does.
func (r Report) OK() bool { return r.Verdict == VerdictOK }
