package segment

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/rampartlog/rampart/internal/record"
)

// Field is a member of an event that the index knows the values of.
type Field int

const (
	Agent Field = iota
	Session
	Tool
	Action
	RunID
	Approval // "1" for events that have an approval member; has no value otherwise
	fields
)

const (
	groupLines = 8  // lines between two known offsets
	blockLines = 64 // lines that share a range of timestamps

	// A field with more values than this in one segment is not indexed there:
	// every line is then a candidate, and the index stays small.
	maxValues = 4096
	// Longer values share the entry of their prefix; lines are compared whole.
	maxKey = 128
)

// Index knows where the lines of one segment are and which values they hold.
// It is a cache: whoever follows it to a line compares the line's own bytes.
// Add may run beside every other method.
type Index struct {
	mu      sync.RWMutex
	head    Head // but for its LastID and Hash, which change with each line:
	lastID  []byte
	hash    []byte
	offsets []uint32    // of lines 0, 8, 16, …
	blocks  []timeRange // of lines 0–63, 64–127, …
	days    []int32     // UTC days since 1970 that have events, sorted
	values  [fields]map[string]*roaring.Bitmap
}

// Head is what the log must know of a segment without reading it.
type Head struct {
	First           uint64 // number of the first record
	Count           uint64
	Size            int64 // bytes
	FirstID, LastID string
	PrevHash, Hash  string // of the first line, and of the last
	Min, Max        int64  // timestamps in Unix seconds, rounded down
	Approvals       uint64 // events with an approval member
}

type timeRange struct{ min, max int64 }

func (t *timeRange) add(sec int64) { t.min, t.max = min(t.min, sec), max(t.max, sec) }

// NewIndex returns the index of an empty segment.
func NewIndex(first uint64) *Index {
	x := &Index{head: Head{First: first}}
	for f := range x.values {
		x.values[f] = map[string]*roaring.Bitmap{}
	}
	return x
}

var errTooLarge = errors.New("segment larger than 4 GiB")

// Add extends the index by the next line, without its newline, which f describes.
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
	x.set(Agent, f.Agent, i)
	x.set(Session, f.Session, i)
	x.set(Tool, f.Tool, i)
	x.set(Action, f.Action, i)
	x.set(RunID, f.RunID, i) // "" when left out
	if f.Approval != nil {
		x.set(Approval, []byte("1"), i)
		h.Approvals++
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

func (x *Index) set(f Field, raw []byte, line uint32) {
	m := x.values[f]
	if m == nil {
		return
	}
	// A value with escapes is kept as its text, so that a filter finds it
	// however the event spelled it.
	key := raw
	if slices.Contains(raw, '\\') {
		key = []byte(record.Text(raw))
	}
	b := m[string(key[:min(len(key), maxKey)])]
	if b == nil {
		if len(m) == maxValues {
			x.values[f] = nil
			return
		}
		b = roaring.New()
		m[string(key[:min(len(key), maxKey)])] = b
	}
	b.Add(line)
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
	blocks  []timeRange // complete ones alone
}

// View returns what the index knows now.
func (x *Index) View() View {
	x.mu.RLock()
	defer x.mu.RUnlock()
	// Both slices only grow, and a complete block no longer changes.
	return View{x.headNow(), x.offsets, x.blocks[:x.head.Count/blockLines]}
}

// Want is the values of one field that a line may have.
type Want struct {
	Field  Field
	Values []string
}

// Select returns the lines, from 0, that may have one of the wanted values in
// each wanted field, or nil when that may be any line.
func (x *Index) Select(wants []Want) *roaring.Bitmap {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var sel *roaring.Bitmap
	for _, w := range wants {
		m := x.values[w.Field]
		if m == nil {
			continue
		}
		either := roaring.New()
		for _, v := range w.Values {
			if b := m[v[:min(len(v), maxKey)]]; b != nil {
				either.Or(b)
			}
		}
		if sel == nil {
			sel = either
		} else {
			sel.And(either)
		}
	}
	return sel
}

// group returns the byte range of the lines around line i that lie between
// offsets known, n groups of them at the most.
func (v *View) group(i, n int) (first int, from, to int64) {
	g := i / groupLines
	from, to = int64(v.offsets[g]), v.Size
	if g+n < len(v.offsets) {
		to = int64(v.offsets[g+n])
	}
	return g * groupLines, from, to
}

// InTime reports whether line i may have a timestamp in [since, until], Unix
// seconds, and, if not, how many lines share that answer from i on in the
// direction given.
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
