package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs"
)

func readSidecar[T any](fs vfs.FS, first uint64, decode func(io.ReaderAt, int64) (T, error)) (v T, err error) {
	f, err := fs.Open(segment.IndexName(first))
	if err != nil {
		return v, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return v, err
	}
	return decode(f, size)
}

// addTo extends index by line, or says why no log wrote that.
func addTo(index *segment.Index, line []byte, f *record.Fields) *failure.CorruptError {
	if err := index.Add(line, f); err != nil {
		return notStored(string(f.ID), err)
	}
	return nil
}

// index returns g's index, from memory, from its sidecar, or built again from
// the segment.
func (l *Ledger) index(ctx context.Context, g *segmentRef) (*segment.Index, error) {
	l.state.indexMu.Lock()
	defer l.state.indexMu.Unlock()
	if g.index != nil {
		if g.head.Count > 0 {
			l.state.touch(g)
		}
		return g.index, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	x, err := readSidecar(l.fs, g.first, segment.Decode)
	if err != nil || x.Head() != g.head {
		if x, err = l.rebuild(g); err != nil {
			return nil, err
		}
	}
	g.head, g.partial, g.index = x.Head(), false, x
	l.state.touch(g)
	return x, nil
}

// lines calls fn with g's lines, whose places index has.
func (l *Ledger) lines(g *segmentRef, index *segment.Index, fn func(view segment.View, lines *segment.Lines) error) error {
	f, err := l.fs.Open(segment.Name(g.first))
	if err != nil {
		return err
	}
	defer f.Close()
	view := index.View()
	lines := segment.NewLines(f, view)
	defer lines.Release()
	if err = fn(view, lines); errors.Is(err, segment.ErrMisplaced) {
		return &failure.CorruptError{Segment: segment.Name(g.first), Expected: "its lines where its index says", Found: err.Error()}
	}
	return err
}

// may reports whether g may have a line with the wanted values. It looks at the
// values alone, which cost a hundredth of loading g's index.
func (l *Ledger) may(g *segmentRef, wants []segment.Want) bool {
	s := &l.state
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if len(wants) == 0 || g.index != nil || g.partial {
		return true
	}
	v := g.values
	if v == nil {
		var err error
		if v, err = readSidecar(l.fs, g.first, func(r io.ReaderAt, size int64) (*segment.Values, error) {
			return segment.DecodeValues(r, size, g.head)
		}); err != nil {
			return true // the index is built again
		}
		if !g.gone && s.values+v.Size() <= maxValues {
			g.values = v
			s.values += v.Size()
		}
	}
	return v.May(wants)
}

// rebuild indexes a sealed segment whose sidecar is missing or wrong.
func (l *Ledger) rebuild(g *segmentRef) (*segment.Index, error) {
	f, err := l.fs.Open(segment.Name(g.first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x := segment.NewIndex(g.first)
	var fields record.Fields
	var fault *failure.CorruptError
	err = segment.Each(f, 0, g.head.Size, func(offset int64, line []byte) bool {
		if err := record.Scan(line, &fields); err != nil {
			fault = notStored("", err)
		} else {
			fault = addTo(x, line, &fields)
		}
		if fault != nil {
			fault.At(segment.Name(g.first), int(x.Head().Count)+1, offset)
		}
		return fault == nil
	})
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, err
	}
	if n := x.Head().Count; n != g.head.Count {
		return nil, &failure.CorruptError{Segment: segment.Name(g.first), Expected: fmt.Sprintf("%d records before the next segment", g.head.Count), Found: fmt.Sprint(n)}
	}
	l.writeIndex(x)
	return x, nil
}

// writeIndex puts a segment's sidecar beside it. The sidecar is a cache: a
// failure costs time at the next opening and nothing else.
func (l *Ledger) writeIndex(x *segment.Index) {
	first := x.Head().First
	data, err := x.Encode()
	if err == nil {
		err = replaceFile(l.fs, segment.IndexName(first), io.NopCloser(bytes.NewReader(data)), int64(len(data)))
	}
	if err != nil {
		l.errors.Add(opIndex)
		l.log.Warn("audit index not written; it will be built again when needed", "segment", segment.Name(first), "error", err)
	}
}
