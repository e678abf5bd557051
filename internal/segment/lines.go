package segment

import (
	"bytes"
	"fmt"
	"io"
	"sort"
)

// Lines gives the lines of a segment by their number within it, from 0. Lines
// asked for one after the other, in either direction, come from one read.
type Lines struct {
	view View
	r    io.ReaderAt
	buf  []byte
	ends []int // of the lines in buf, past their newline
	from int   // number of the first line in buf
	last int   // line asked for before
}

// NewLines reads r, the file that view describes.
func NewLines(r io.ReaderAt, view View) *Lines { return &Lines{view: view, r: r, last: -2} }

// Line returns line i without its newline; it is valid until the next call.
func (l *Lines) Line(i int) ([]byte, error) {
	if i < l.from || i >= l.from+len(l.ends) {
		groups := 1
		if i == l.last+1 || i == l.last-1 {
			groups = blockLines / groupLines
		}
		if err := l.load(i, groups); err != nil {
			return nil, err
		}
	}
	l.last = i
	start := 0
	if k := i - l.from; k > 0 {
		start = l.ends[k-1]
	}
	return l.buf[start : l.ends[i-l.from]-1], nil
}

func (l *Lines) load(i, groups int) error {
	at := i
	if i == l.last-1 { // backwards: the groups before this one, too
		at = max(0, i-(groups-1)*groupLines)
	}
	first, from, to := l.view.group(at, groups)
	n := int(to - from)
	if cap(l.buf) < n {
		l.buf = make([]byte, n)
	}
	l.buf, l.ends, l.from = l.buf[:n], l.ends[:0], first
	if _, err := l.r.ReadAt(l.buf, from); err != nil {
		return err
	}
	for pos := 0; pos < n; {
		k := bytes.IndexByte(l.buf[pos:], '\n')
		if k < 0 {
			break
		}
		pos += k + 1
		l.ends = append(l.ends, pos)
	}
	if i >= first+len(l.ends) {
		l.ends = l.ends[:0]
		return fmt.Errorf("line %d of %s is not where its index says", i+1, Name(l.view.First))
	}
	return nil
}

const idAt = len(`{"id":"`)

// ID returns the id of line i, or "" if it has none there.
func (l *Lines) ID(i int) (string, error) {
	line, err := l.Line(i)
	if err != nil || len(line) < idAt+26 {
		return "", err
	}
	return string(line[idAt : idAt+26]), nil
}

// Search returns the number of the first line whose id is not below id, or
// Count if there is none. Lines are sorted by id.
func (l *Lines) Search(id string) (int, error) {
	n := int(l.view.Count)
	if n == 0 || id > l.view.LastID {
		return n, nil
	}
	var failed error
	i := sort.Search(n, func(i int) bool {
		got, err := l.ID(i)
		if err != nil {
			failed = err
		}
		return got >= id
	})
	return i, failed
}

const eachBlock = 256 << 10

// Each calls fn for each line of r between the byte offsets from and to, both
// at the beginning of a line, until fn returns false. line has no newline and
// is valid during the call.
func Each(r io.ReaderAt, from, to int64, fn func(offset int64, line []byte) bool) error {
	buf := make([]byte, min(eachBlock, to-from))
	kept := 0 // bytes of an unfinished line at the beginning of buf
	for at := from; at < to; {
		if kept == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		n := int(min(int64(len(buf)-kept), to-at))
		if _, err := r.ReadAt(buf[kept:kept+n], at); err != nil {
			return err
		}
		at += int64(n)
		data := buf[:kept+n]
		for {
			k := bytes.IndexByte(data, '\n')
			if k < 0 {
				break
			}
			if !fn(at-int64(len(data)), data[:k]) {
				return nil
			}
			data = data[k+1:]
		}
		kept = copy(buf, data)
	}
	if kept > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Offset returns a known offset at or before line i, and the line there.
func (v *View) Offset(i int) (first int, offset int64) {
	first, offset, _ = v.group(i, 1)
	return first, offset
}
