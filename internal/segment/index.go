package segment

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// Field is a member of an event whose values are indexed.
type Field int

const (
	Agent Field = iota
	Session
	Tool
	Action
	RunID
	Approval // "1" for events that have an approval member, "" for others
	fields
)

const (
	groupLines = 8  // lines between two known offsets
	blockLines = 16 // lines that share a range of timestamps

	// A field with more values than this in one segment is not indexed there:
	// every line is then a candidate, and the index stays small.
	maxValues = 4096
	// Longer values share the entry of their prefix; lines are compared whole.
	maxKey = 128
)

// Index knows where the lines of one segment are and which values they hold.
// It is a cache and may be wrong: a caller that it leads to a line must check
// the line's own bytes. Add may run concurrently with every other method.
type Index struct {
	mu      sync.RWMutex
	head    Head            // its LastID and Hash are unset: they change with each line
	lastID  []byte          // Head.LastID
	hash    []byte          // Head.Hash
	offsets []uint32        // of lines 0, 8, 16, …
	blocks  []timeRange     // of lines 0–15, 16–31, …
	days    []int32         // UTC days since 1970 that have events, sorted
	columns [fields]*column // nil: not indexed
}

// Head is the summary of a segment: it spares the log reading the segment itself.
type Head struct {
	First           uint64 // number of the first record
	Count           uint64
	Size            int64 // bytes
	FirstID, LastID string
	PrevHash, Hash  string // the first line's prev_hash, the last line's hash
	Min, Max        int64  // timestamps in Unix seconds, rounded down
	Approvals       uint64 // events with an approval member
}

type timeRange struct{ min, max int64 }

func (t *timeRange) add(sec int64) { t.min, t.max = min(t.min, sec), max(t.max, sec) }

// NewIndex returns the index of an empty segment.
func NewIndex(first uint64) *Index {
	x := &Index{head: Head{First: first}}
	for f := range x.columns {
		x.columns[f] = &column{numbers: map[string]uint16{}}
	}
	return x
}

var errTooLarge = errors.New("segment larger than 4 GiB")

// Add extends the index by the next line of the segment, given without its
// newline. f holds the line's fields.
func (x *Index) Add(line []byte, f *record.Fields) error {
	t, err := time.Parse(time.RFC3339Nano, string(f.Timestamp))
	if err != nil {
		return err
	}
	sec := t.Unix()
	x.mu.Lock()
	defer x.mu.Unlock()
	h := &x.head
	if h.Size > 1<<32-1 {
		return errTooLarge
	}
	i := uint32(h.Count)
	if i%groupLines == 0 {
		x.offsets = append(x.offsets, uint32(h.Size))
	}
	if i%blockLines == 0 {
		x.blocks = append(x.blocks, timeRange{sec, sec})
	} else {
		x.blocks[len(x.blocks)-1].add(sec)
	}
	day := int32(floorDiv(sec, 86400))
	if at, found := slices.BinarySearch(x.days, day); !found {
		x.days = slices.Insert(x.days, at, day)
	}
	var approval []byte
	if f.Approval != nil {
		approval = []byte{'1'}
		h.Approvals++
	}
	for field, raw := range [fields][]byte{f.Agent, f.Session, f.Tool, f.Action, f.RunID, approval} {
		if c := x.columns[field]; c != nil && !c.add(raw, int(i)) {
			x.columns[field] = nil
		}
	}
	if h.Count == 0 {
		h.FirstID, h.PrevHash = string(f.ID), string(f.PrevHash)
		h.Min, h.Max = sec, sec
	}
	x.lastID, x.hash = append(x.lastID[:0], f.ID...), append(x.hash[:0], f.Hash...)
	h.Min, h.Max = min(h.Min, sec), max(h.Max, sec)
	h.Count++
	h.Size += int64(len(line)) + 1
	return nil
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// Head returns the segment's figures.
func (x *Index) Head() Head {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.headNow()
}

// headNow is Head for a caller that holds mu.
func (x *Index) headNow() Head {
	h := x.head
	h.LastID, h.Hash = string(x.lastID), string(x.hash)
	return h
}

// Days calls fn for each UTC day that has events, as days since 1970, in order.
func (x *Index) Days(fn func(day int32)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, d := range x.days {
		fn(d)
	}
}

// View is the index at one moment; it does not change as lines are added.
type View struct {
	Head
	offsets []uint32
	blocks  []timeRange // only complete ones
}

// View returns what the index knows now.
func (x *Index) View() View {
	x.mu.RLock()
	defer x.mu.RUnlock()
	// Both slices are only appended to, and a complete block does not change.
	return View{x.headNow(), x.offsets, x.blocks[:x.head.Count/blockLines]}
}

// group returns the byte range of the lines between two known offsets.
func (v *View) group(g int) (from, to int64) {
	if g+1 < len(v.offsets) {
		return int64(v.offsets[g]), int64(v.offsets[g+1])
	}
	return int64(v.offsets[g]), v.Size
}

// InTime reports whether line i may have a timestamp in [since, until], in Unix
// seconds. If it can't have one, neither can the other lines of its block: skip
// is how many of them, counted from i in the direction given, may be passed over.
func (v *View) InTime(i int, since, until int64, backward bool) (may bool, skip int) {
	b := i / blockLines
	if b >= len(v.blocks) {
		return true, 0
	}
	if r := v.blocks[b]; r.max >= since && r.min <= until {
		return true, 0
	}
	if backward {
		return false, i%blockLines + 1
	}
	return false, blockLines - i%blockLines
}
