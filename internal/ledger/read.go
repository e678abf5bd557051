package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

func idAt(lines *segment.Lines, i, end int) (string, error) {
	if i >= end {
		return "", nil
	}
	return lines.ID(i)
}

// Get returns the stored line of one record, or [failure.ErrNotFound]. A line
// whose hash does not fit is a [*failure.CorruptError].
func (l *Ledger) Get(ctx context.Context, id string) ([]byte, error) {
	if !record.ValidID(id) {
		return nil, fmt.Errorf("%w: %q is not %s", failure.ErrNotFound, id, record.IDForm)
	}
	var found []byte
	var fault *failure.CorruptError
	err := l.find(ctx, id, func(first uint64, i int, line []byte) {
		found = bytes.Clone(line)
		if fault = CheckLine(line, new(record.Fields)); fault != nil {
			fault.At(segment.Name(first), i+1, 0)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case fault != nil:
		return nil, fault
	case found == nil:
		return nil, fmt.Errorf("%w: no event %s in the log", failure.ErrNotFound, id)
	}
	return found, nil
}

// find calls fn for the record with that id, if there is one: line i, from 0,
// of segment first.
func (l *Ledger) find(ctx context.Context, id string, fn func(first uint64, i int, line []byte)) error {
	v, err := l.state.view()
	if err != nil {
		return err
	}
	defer v.release()
	// The segment before the first that begins after id.
	i, _ := slices.BinarySearchFunc(v.segments, id, func(g *segmentRef, id string) int {
		h, _ := l.state.headOf(g)
		if h.Count == 0 || h.FirstID > id {
			return 1
		}
		return -1
	})
	if i--; i < 0 {
		return nil
	}
	g := v.segments[i]
	index, err := l.index(ctx, g)
	if err != nil {
		return err
	}
	return l.lines(g, index, func(view segment.View, lines *segment.Lines) error {
		at, err := lines.Search(id)
		if err != nil {
			return err
		}
		if got, err := idAt(lines, at, int(view.Count)); err != nil || got != id {
			return err
		}
		line, err := lines.Line(at)
		if err == nil {
			fn(g.first, at, line)
		}
		return err
	})
}

// Where says where a stream position is.
type Where int

const (
	Found       Where = iota + 1
	Unknown           // well-formed, not in this log
	Contradicts       // in the log with another hash, or beyond its head with a hash
)

// Locate finds the record that a stream position names; hash is empty or a
// prefix of the record's.
func (l *Ledger) Locate(ctx context.Context, id, hash string) (seq uint64, w Where, err error) {
	v, err := l.state.view()
	if err != nil {
		return 0, 0, err
	}
	defer v.release()
	if id == v.pruned.LastID { // the record before the first that is left
		if !strings.HasPrefix(v.pruned.LastHash, hash) {
			return 0, Contradicts, nil
		}
		return v.pruned.Records, Found, nil
	}
	if id > v.head.ID {
		if hash != "" {
			return 0, Contradicts, nil
		}
		return 0, Unknown, nil
	}
	w = Unknown
	err = l.find(ctx, id, func(first uint64, i int, line []byte) {
		var f record.Fields
		if record.Scan(line, &f) != nil { // a damaged line has no hash
			f.Hash = nil
		}
		if hash != "" && string(f.Hash[:min(len(f.Hash), len(hash))]) != hash {
			w = Contradicts
			return
		}
		seq, w = first+uint64(i), Found
	})
	return seq, w, err
}

// Read calls fn for the records after number after, up to and including number
// upto, in order, until fn returns false. line is valid only during the call.
// [failure.ErrLagged]: they were pruned.
func (l *Ledger) Read(ctx context.Context, after, upto uint64, fn func(seq uint64, line []byte) bool) error {
	v, err := l.state.view()
	if err != nil {
		return err
	}
	defer v.release()
	if after < v.pruned.Records {
		return fmt.Errorf("%w: record %d was pruned; query again, and go on from there", failure.ErrLagged, after+1)
	}
	upto = min(upto, v.seq)
	for more := true; more && after < upto; {
		i := v.segmentOf(after + 1)
		before := after
		if after, more, err = l.readSegment(ctx, v.segments[i], after, upto, fn); err != nil {
			return err
		}
		if more && after == before {
			return &failure.CorruptError{Segment: segment.Name(v.segments[i].first), Expected: fmt.Sprintf("record %d", after+1), Found: "the end of the segment"}
		}
	}
	return nil
}

func (l *Ledger) readSegment(ctx context.Context, g *segmentRef, after, upto uint64, fn func(uint64, []byte) bool) (last uint64, more bool, err error) {
	index, err := l.index(ctx, g)
	if err != nil {
		return after, false, err
	}
	f, err := l.fs.Open(segment.Name(g.first))
	if err != nil {
		return after, false, err
	}
	defer f.Close()
	view := index.View()
	first, offset := view.Offset(int(after + 1 - g.first))
	seq := g.first + uint64(first)
	more = true
	err = segment.Each(f, offset, view.Size, func(_ int64, line []byte) bool {
		if seq > after {
			if seq > upto || ctx.Err() != nil {
				more = false
				return false
			}
			after = seq
			if more = fn(seq, line); !more {
				return false
			}
		}
		seq++
		return true
	})
	return after, more, cmp.Or(err, ctx.Err())
}
