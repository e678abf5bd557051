package ledger

import (
	"slices"

	"github.com/rampartlog/rampart/internal/segment"
)

// walk gives the numbers of the lines of a segment that may be wanted, in one
// direction. It knows some in advance, so that neighbours are read together.
type walk struct {
	view         segment.View
	since, until int64
	from, to     int // lines, half open, that were not looked at
	backward     bool
	chosen       *segment.Selection // nil: all
	window       int                // lines to look at together
	lines        []int              // that may be wanted
	ahead        []int              // those of them that come next
}

// A window begins with what a page needs when all are wanted, and grows while
// few are.
const (
	minWindow = 64
	maxWindow = 4096
)

// next gives a line and some of those that come after it.
func (w *walk) next() (i int, more []int, ok bool) {
	for len(w.ahead) == 0 {
		if w.skip(); w.from >= w.to {
			return 0, nil, false
		}
		w.look()
	}
	i, w.ahead = w.ahead[0], w.ahead[1:]
	return i, w.ahead, true
}

// skip passes over what is not in time.
func (w *walk) skip() {
	for w.from < w.to {
		if w.backward {
			may, n := w.view.InTime(w.to-1, w.since, w.until, true)
			if may {
				return
			}
			w.to -= n
		} else {
			may, n := w.view.InTime(w.from, w.since, w.until, false)
			if may {
				return
			}
			w.from += n
		}
	}
}

// look takes a window off the lines that were not looked at.
func (w *walk) look() {
	if w.window = min(max(2*w.window, minWindow), maxWindow); w.chosen == nil {
		w.window = minWindow
	}
	n := min(w.window, w.to-w.from)
	from := w.from
	if w.backward {
		from = w.to - n
		w.to = from
	} else {
		w.from += n
	}
	w.lines = w.lines[:0]
	if w.chosen != nil {
		w.lines = w.chosen.Append(w.lines, from, from+n)
	} else {
		for i := range n {
			w.lines = append(w.lines, from+i)
		}
	}
	w.lines = slices.DeleteFunc(w.lines, func(i int) bool {
		may, _ := w.view.InTime(i, w.since, w.until, false)
		return !may
	})
	if w.backward {
		slices.Reverse(w.lines)
	}
	w.ahead = w.lines
}
