//go:build !race

// Allocations are counted without the race detector, under which a sync.Pool
// drops a part of what it is given.

package rampart_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/rampartlog/rampart"
)

func TestPublishAllocatesOnlyMemory(t *testing.T) {
	b := newBus(t, nil)
	line := bytes.Repeat([]byte("x"), 400)
	const perChunk = 64 << 10 / 476
	if n := testing.AllocsPerRun(20, b.Announcer(perChunk, line)); n > 4 { // a chunk, its bytes, its marks; now and then more marks
		t.Errorf("%v allocations for %d messages, want no more than a chunk's", n, perChunk)
	}
}

// A query allocates the lines that it gives out, since their caller may keep them,
// and hardly anything else.
func TestQueryAllocatesItsLines(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	appendN(t, c, 500)
	for name, q := range map[string]rampart.Query{
		"all":       {},
		"ascending": {Ascending: true},
		"agent":     {Filter: rampart.Filter{Agent: []string{"claude-code"}}},
	} {
		few, many := allocsOfQuery(t, c, q, 100), allocsOfQuery(t, c, q, 500)
		if perLine := (many - few) / 400; perLine > 1.01 {
			t.Errorf("%s: %v allocations for each line, want 1", name, perLine)
		}
		if fixed := few - 100; fixed > 30 {
			t.Errorf("%s: %v allocations whatever it finds, want 30 at most", name, fixed)
		}
	}
}

func allocsOfQuery(t *testing.T, c *rampart.AuditChain, q rampart.Query, n int) float64 {
	t.Helper()
	return testing.AllocsPerRun(10, func() {
		left := n
		for _, err := range c.Query(context.Background(), q) {
			if err != nil {
				t.Fatal(err)
			}
			if left--; left == 0 {
				return
			}
		}
		t.Fatalf("%d lines are missing", left)
	})
}

// An append allocates the event's timestamp and body when they are encoded, and its
// id and hash when they are given back.
func TestAppendAllocates(t *testing.T) {
	c := openChain(t, t.TempDir(), &rampart.AuditOptions{Sync: rampart.SyncNever})
	const n = 1000
	events := make([]rampart.AuditEvent, n)
	for i := range events {
		events[i] = event(i)
	}
	perEvent := testing.AllocsPerRun(10, func() {
		if _, err := c.AppendAll(context.Background(), events); err != nil {
			t.Fatal(err)
		}
	}) / n
	if perEvent > 4.1 {
		t.Errorf("%v allocations for each event, want 4", perEvent)
	}
}
