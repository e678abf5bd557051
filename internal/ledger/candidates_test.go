package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// TestCandidatesAgreeWithALoop takes random windows of a segment, in both
// directions, and asks each line by itself whether it may match.
func TestCandidatesAgreeWithALoop(t *testing.T) {
	const lines = 10_000 // beyond the largest window of a query
	rnd := rand.New(rand.NewPCG(1, 2))
	x := segment.NewIndex(1)
	prev := ledger.ZeroHash
	var f record.Fields
	start := time.Date(2026, 3, 3, 10, 0, 0, 0, time.UTC)
	for i := range lines {
		e := record.Event{
			Timestamp: start.Add(time.Duration(i/50*60) * time.Second).Format(time.RFC3339),
			Agent:     fmt.Sprint("a", rnd.IntN(3)), Tool: fmt.Sprint("t", rnd.IntN(1000)), Action: "allow",
		}
		body, _, err := e.AppendBody(nil)
		if err != nil {
			t.Fatal(err)
		}
		var line []byte
		line, prev = record.AppendLine(nil, fmt.Sprintf("01KD3V5F2R7WQX9Z4M8N%06d", i), body, &prev)
		if err := record.Scan(line, &f); err != nil {
			t.Fatal(err)
		}
		if err := x.Add(line, &f); err != nil {
			t.Fatal(err)
		}
	}
	view := x.View()
	for name, wants := range map[string][]segment.Want{
		"all":       nil,
		"many":      {{Field: segment.Agent, Values: []string{"a0", "a2"}}},
		"few":       {{Field: segment.Tool, Values: []string{"t7"}}},
		"few of it": {{Field: segment.Agent, Values: []string{"a1"}}, {Field: segment.Tool, Values: []string{"t7", "t8"}}},
	} {
		var chosen *segment.Selection
		if wants != nil {
			chosen = x.Select(wants)
		}
		found := 0
		for range 100 {
			from, to := rnd.IntN(lines+1), rnd.IntN(lines+1)
			from, to = min(from, to), max(from, to)
			since := start.Unix() + rnd.Int64N(lines/50*60)
			until := since + rnd.Int64N(lines/50*60)
			if rnd.IntN(3) == 0 {
				since, until = 0, 1<<40
			}
			backward := rnd.IntN(2) == 0
			var want []int
			for i := from; i < to; i++ {
				may, _ := view.InTime(i, since, until, false)
				if may && (chosen == nil || len(chosen.Append(nil, i, i+1)) > 0) {
					want = append(want, i)
				}
			}
			if backward {
				slices.Reverse(want)
			}
			var got []int
			next := ledger.Candidates(view, since, until, from, to, backward, chosen)
			for i, more, ok := next(); ok; i, more, ok = next() {
				if at := len(got); at < len(want) && !slices.Equal(more, want[at+1:min(at+1+len(more), len(want))]) {
					t.Fatalf("%s: after line %d it looks ahead to %v", name, i, more)
				}
				got = append(got, i)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s, lines %d to %d, backward %t: %d lines, want %d", name, from, to, backward, len(got), len(want))
			}
			found += len(got)
		}
		if found == 0 {
			t.Errorf("%s: no line was ever found", name)
		}
	}
}
