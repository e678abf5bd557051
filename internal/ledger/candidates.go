package ledger

import (
	"slices"

	"github.com/rampartlog/rampart/internal/segment"
)

// candidates yields, in one direction, the numbers of a segment's lines that may
// match. It looks ahead, so that neighbouring lines are read together.
type candidates struct {
	view         segment.View
	since, until int64
	from, to     int // the lines that were not looked at yet, half open
	backward     bool
	chosen       *segment.Selection // nil: all
	window       int                // lines to look at together
	lines        []int              // lines of the window that may match
	ahead        []int              // the part of lines that next has not returned yet
}

// A window begins at the size of a page, which is enough when all lines match, and
// grows while few do.
const (
	minWindow = 64
	maxWindow = 4096
)

// next returns a line, and some of the lines that come after it.
func (c *candidates) next() (i int, more []int, ok bool) {
	for len(c.ahead) == 0 {
		if c.skip(); c.from >= c.to {
			return 0, nil, false
		}
		c.look()
	}
	i, c.ahead = c.ahead[0], c.ahead[1:]
	return i, c.ahead, true
}

// skip passes over lines outside the time range.
func (c *candidates) skip() {
	for c.from < c.to {
		if c.backward {
			may, n := c.view.InTime(c.to-1, c.since, c.until, true)
			if may {
				return
			}
			c.to -= n
		} else {
			may, n := c.view.InTime(c.from, c.since, c.until, false)
			if may {
				return
			}
			c.from += n
		}
	}
}

// look takes the next window and selects its lines.
func (c *candidates) look() {
	if c.window = min(max(2*c.window, minWindow), maxWindow); c.chosen == nil {
		c.window = minWindow
	}
	n := min(c.window, c.to-c.from)
	from := c.from
	if c.backward {
		from = c.to - n
		c.to = from
	} else {
		c.from += n
	}
	c.lines = c.lines[:0]
	if c.chosen != nil {
		c.lines = c.chosen.Append(c.lines, from, from+n)
	} else {
		for i := range n {
			c.lines = append(c.lines, from+i)
		}
	}
	c.lines = slices.DeleteFunc(c.lines, func(i int) bool {
		may, _ := c.view.InTime(i, c.since, c.until, false)
		return !may
	})
	if c.backward {
		slices.Reverse(c.lines)
	}
	c.ahead = c.lines
}
