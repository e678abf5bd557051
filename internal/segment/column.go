package segment

import (
	"bytes"
	"slices"

	"github.com/rampartlog/rampart/internal/record"
)

// column holds the value that one field has in each line. Each distinct value
// has a number; a line takes one or two bytes for it, or none while all lines
// have the same value. Searching the column of a whole segment takes
// microseconds; bitmaps, one for each value, would take twice the space.
type column struct {
	numbers map[string]uint16 // value to its number, from 0 in order of first use
	counts  []uint32          // how many lines have each value, by number
	low     []byte            // low byte of each line's number; nil while there is one value
	high    []byte            // high byte; nil while there are at most 256 values
}

// add records that line, which must be the next one, has the value raw. It
// reports false when there are too many values.
func (c *column) add(raw []byte, line int) bool {
	// A value with escapes is kept as its text, so that a filter finds it
	// however the event spelled it.
	key := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		key = []byte(record.Text(raw))
	}
	key = key[:min(len(key), maxKey)]
	n, ok := c.numbers[string(key)]
	if !ok {
		if len(c.counts) == maxValues {
			return false
		}
		n = uint16(len(c.counts))
		c.numbers[string(key)] = n
		c.counts = append(c.counts, 0)
		switch n { // all lines before this one have 0 in the new byte
		case 1:
			c.low = make([]byte, line)
		case 256:
			c.high = make([]byte, line)
		}
	}
	c.counts[n]++
	if c.low != nil {
		c.low = append(c.low, byte(n))
	}
	if c.high != nil {
		c.high = append(c.high, byte(n>>8))
	}
	return true
}

// Want is a condition: the field must have one of the values.
type Want struct {
	Field  Field
	Values []string
}

// Selection is the set of lines that may meet some conditions. It does not
// change as lines are added.
type Selection struct {
	terms []term // a line must meet all of them; the first is the rarest
	none  bool
}

// term is the condition on one field. It shares the column's arrays: their
// first bytes never change, later lines are only appended.
type term struct {
	low, high []byte
	numbers   []uint16
	lines     int
}

func (t *term) has(i int) bool {
	n := uint16(t.low[i])
	if t.high != nil {
		n |= uint16(t.high[i]) << 8
	}
	return slices.Contains(t.numbers, n)
}

// Select returns the lines that may meet all of wants, or nil when any line may.
func (x *Index) Select(wants []Want) *Selection {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := &Selection{}
	for _, w := range wants {
		c := x.columns[w.Field]
		if c == nil {
			continue
		}
		t := term{low: c.low, high: c.high}
		for _, v := range w.Values {
			if n, ok := c.numbers[v[:min(len(v), maxKey)]]; ok {
				t.numbers = append(t.numbers, n)
				t.lines += int(c.counts[n])
			}
		}
		switch {
		case len(t.numbers) == 0:
			return &Selection{none: true}
		case c.low == nil: // all lines have the wanted value
		case len(s.terms) > 0 && t.lines < s.terms[0].lines:
			s.terms = slices.Insert(s.terms, 0, t)
		default:
			s.terms = append(s.terms, t)
		}
	}
	if len(s.terms) == 0 {
		return nil
	}
	return s
}

// IsEmpty reports whether it is certain that no line meets the conditions.
func (s *Selection) IsEmpty() bool { return s.none }

// Append appends the selected lines among from, …, to-1, in order.
func (s *Selection) Append(dst []int, from, to int) []int {
	if s.none {
		return dst
	}
	first, rest := &s.terms[0], s.terms[1:]
	for i := from; i < to; i++ {
		if len(first.numbers) == 1 { // skip lines whose low byte already differs
			k := bytes.IndexByte(first.low[i:to], byte(first.numbers[0]))
			if k < 0 {
				break
			}
			i += k
		}
		if first.has(i) && !slices.ContainsFunc(rest, func(t term) bool { return !t.has(i) }) {
			dst = append(dst, i)
		}
	}
	return dst
}
