package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
)

const (
	// Lines that are asked for together come from one read if the gap between
	// them is at most maxGap bytes: a system call costs as much as copying some
	// 30 KB.
	maxGap  = 16 << 10
	maxRead = 64 << 10 // bytes of one such read; a group of eight long lines may exceed it
)

// ErrMisplaced means that the segment has no line where its index says: either
// the segment or the index is not as it was written.
var ErrMisplaced = errors.New("a line is not where the index says")

// Lines gives the lines of a segment by their number within it, from 0.
type Lines struct {
	view  View
	r     io.ReaderAt
	buf   []byte // bytes of the file from offset at
	at    int64
	group int    // the group of lines that text holds; -1 for none
	text  []byte // part of buf
	ends  []int  // offsets in text behind each line's newline
}

// idle holds Lines with their buffers: a new buffer for each query would be
// half of all that the query allocates.
var idle = sync.Pool{New: func() any { return new(Lines) }}

// NewLines reads r, the file that view describes.
func NewLines(r io.ReaderAt, view View) *Lines {
	l := idle.Get().(*Lines)
	*l = Lines{view: view, r: r, buf: l.buf[:0], group: -1, ends: l.ends[:0]}
	return l
}

// Release gives l back for reuse. Neither l nor a line from it may be used afterwards.
func (l *Lines) Release() {
	if cap(l.buf) > maxRead {
		l.buf = nil
	}
	*l = Lines{buf: l.buf, ends: l.ends}
	idle.Put(l)
}

// Line returns line i without its newline; it is valid until the next call. next
// are the lines that the caller will ask for after it: Line reads them ahead
// where one larger read is cheaper.
func (l *Lines) Line(i int, next ...int) ([]byte, error) {
	if g := i / groupLines; g != l.group {
		if err := l.load(g, next); err != nil {
			return nil, err
		}
	}
	k := i % groupLines
	if k >= len(l.ends) {
		return nil, fmt.Errorf("%w: line %d of %s", ErrMisplaced, i+1, Name(l.view.First))
	}
	start := 0
	if k > 0 {
		start = l.ends[k-1]
	}
	return l.text[start : l.ends[k]-1], nil
}

func (l *Lines) load(g int, next []int) error {
	l.group = -1
	from, to := l.view.group(g)
	if from < l.at || to > l.at+int64(len(l.buf)) {
		if err := l.read(from, to, next); err != nil {
			return err
		}
	}
	l.group, l.text, l.ends = g, l.buf[from-l.at:to-l.at], l.ends[:0]
	for pos := 0; len(l.ends) < groupLines; {
		k := bytes.IndexByte(l.text[pos:], '\n')
		if k < 0 {
			break
		}
		pos += k + 1
		l.ends = append(l.ends, pos)
	}
	return nil
}

func (l *Lines) read(from, to int64, next []int) error {
	for _, i := range next {
		f, t := l.view.group(i / groupLines)
		if max(f-to, from-t) > maxGap || max(to, t)-min(from, f) > maxRead {
			break
		}
		from, to = min(from, f), max(to, t)
	}
	n := int(to - from)
	l.at, l.buf = from, slices.Grow(l.buf[:0], n)[:n]
	_, err := l.r.ReadAt(l.buf, from)
	if err != nil {
		l.buf = l.buf[:0]
	}
	return err
}

const idAt = len(`{"id":"`)

// ID returns the id of line i, or "" if the line is too short to have one.
func (l *Lines) ID(i int) (string, error) {
	line, err := l.Line(i)
	if err != nil || len(line) < idAt+26 {
		return "", err
	}
	return string(line[idAt : idAt+26]), nil
}

// Search returns the number of the first line whose id is at least id, or Count
// if there is none. Lines are sorted by id.
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

// Offset returns the last known offset at or before line i, and the number of
// the line that begins there.
func (v *View) Offset(i int) (first int, offset int64) {
	offset, _ = v.group(i / groupLines)
	return i / groupLines * groupLines, offset
}
