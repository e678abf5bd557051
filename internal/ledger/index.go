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

// addTo extends index by line, or says why no chain wrote that.
func addTo(index *segment.Index, line []byte, f *record.Fields) *failure.CorruptError {
	if err := index.Add(line, f); err != nil {
		return &failure.CorruptError{ID: string(f.ID), Expected: "an event in the stored form", Found: err.Error()}
	}
	return nil
}

// index returns g's index, from memory, from its sidecar, or built again from
// the segment.
func (c *Ledger) index(ctx context.Context, g *sealedOrLive) (*segment.Index, error) {
	c.state.indexMu.Lock()
	defer c.state.indexMu.Unlock()
	if g.index != nil {
		if g.head.Count > 0 {
			c.state.touch(g)
		}
		return g.index, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	x, err := readSidecar(c.fs, g.first, segment.Decode)
	if err != nil || x.Head() != g.head {
		if x, err = c.rebuild(g); err != nil {
			return nil, err
		}
	}
	g.head, g.partial, g.index = x.Head(), false, x
	c.state.touch(g)
	return x, nil
}

// misplaced is err, or a fault of the segment where it and its index disagree.
func (g *sealedOrLive) misplaced(err error) error {
	if errors.Is(err, segment.ErrMisplaced) {
		return &failure.CorruptError{Segment: segment.Name(g.first), Expected: "its lines where its index says", Found: err.Error()}
	}
	return err
}

// may reports whether g may have a line with the wanted values. It is said
// without g's index, which costs a hundred times as much to load.
func (c *Ledger) may(g *sealedOrLive, wants []segment.Want) bool {
	s := &c.state
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if len(wants) == 0 || g.index != nil || g.partial {
		return true
	}
	v := g.values
	if v == nil {
		var err error
		if v, err = readSidecar(c.fs, g.first, func(r io.ReaderAt, size int64) (*segment.Values, error) {
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
func (c *Ledger) rebuild(g *sealedOrLive) (*segment.Index, error) {
	f, err := c.fs.Open(segment.Name(g.first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x := segment.NewIndex(g.first)
	var fields record.Fields
	var fault *failure.CorruptError
	err = segment.Each(f, 0, g.head.Size, func(offset int64, line []byte) bool {
		if err := record.Scan(line, &fields); err != nil {
			fault = &failure.CorruptError{Expected: "an event in the stored form", Found: err.Error()}
		} else {
			fault = addTo(x, line, &fields)
		}
		if fault != nil {
			fault.Segment, fault.Line, fault.Offset = segment.Name(g.first), int(x.Head().Count)+1, offset
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
	c.writeIndex(x)
	return x, nil
}

// writeIndex puts a segment's sidecar beside it. It is a cache: a failure costs
// time at the next opening and nothing else.
func (c *Ledger) writeIndex(x *segment.Index) {
	first := x.Head().First
	data, err := x.Encode()
	if err == nil {
		err = replaceFile(c.fs, segment.IndexName(first), io.NopCloser(bytes.NewReader(data)), int64(len(data)))
	}
	if err != nil {
		c.errors.Add("index")
		c.log.Warn("audit index not written; it will be built again when needed", "segment", segment.Name(first), "error", err)
	}
}
