package segment

import (
	"bytes"
	"slices"

	"github.com/rampartlog/rampart/internal/record"
)

// column tells which value of one field each line has, in a byte or two for a
// line and none where all have the same. To go over a whole segment's takes
// microseconds; bitmaps, one for each value, would take twice the place.
type column struct {
	numbers map[string]uint16 // of the values, in the order they came in
	counts  []uint32          // lines of each value, by number
	low     []byte            // of each line's number; nil while there is one value
	high    []byte            // nil while there are at most 256
}

// add says that the next line, of that number, has the value raw. It reports
// false when there are too many values.
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
		switch n { // what the lines before have is 0
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

// Want is the values of one field that a line may have.
type Want struct {
	Field  Field
	Values []string
}

// Selection is the lines that may have wanted values. It does not change as
// lines are added.
type Selection struct {
	terms []term // all hold of a line; the first is the rarest
	none  bool
}

// term is the wanted values of one field. Only what is appended to its column
// changes.
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

// Select returns the lines that may have one of the wanted values in each
// wanted field, or nil when that may be any line.
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
		case c.low == nil: // all lines have it
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

// IsEmpty reports whether it is known that there is no such line.
func (s *Selection) IsEmpty() bool { return s.none }

// Append appends those of the lines from up to, and without, to, in order.
func (s *Selection) Append(dst []int, from, to int) []int {
	if s.none {
		return dst
	}
	first, rest := &s.terms[0], s.terms[1:]
	for i := from; i < to; i++ {
		if len(first.numbers) == 1 { // over what has not even the low byte
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
