package ledger

import (
	"slices"

	"github.com/rampartlog/rampart/internal/segment"
)

// candidates gives the numbers of the lines of a segment that may be wanted, in
// one direction. It knows some in advance, so that neighbours are read together.
type candidates struct {
	view         segment.View
	since, until int64
	from, to     int // lines that were not looked at, half open
	backward     bool
	chosen       *segment.Selection // nil: all
	window       int                // lines to look at together
	lines        []int              // of the window, those that may be wanted
	ahead        []int              // those of lines that next has not given yet
}

// A window begins at the size of a page, which is enough when all lines are
// wanted, and grows while few are.
const (
	minWindow = 64
	maxWindow = 4096
)

// next gives a line, and some of those that come after it.
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

// skip passes over lines that are not in the time that is asked for.
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

// look takes a window of the lines that were not looked at.
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
