package ledger_test

import (
	"testing"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// What queries cost in memory does not grow with the log.
func TestIndexesInMemoryAreBounded(t *testing.T) {
	c := openChain(t, "", &ledger.Options{SegmentSize: 400, FS: vfstest.New()})
	saved := appendN(t, c, 2*ledger.MaxIndexes)
	if n := len(ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"claude-code"}}})); n != len(saved) {
		t.Errorf("%d events found, want %d", n, len(saved))
	}
	for _, e := range saved {
		if _, err := c.Get(t.Context(), e.ID); err != nil {
			t.Error(err)
		}
	}
	if n := c.LoadedIndexes(); n > ledger.MaxIndexes {
		t.Errorf("%d indexes in memory", n)
	}
}

// A query loads no index of a segment that has none of the wanted values.
func TestQueryPassesOverSegmentsWithoutTheirIndex(t *testing.T) {
	fs := vfstest.New()
	opts := &ledger.Options{SegmentSize: 400, FS: fs}
	c := openChain(t, "", opts)
	saved := appendN(t, c, 2*ledger.MaxIndexes)
	rare := event(0)
	rare.Agent = "rare"
	want, err := c.Append(t.Context(), rare)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 2*ledger.MaxIndexes)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	for name, q := range map[string]ledger.Query{
		"absent":       {Filter: ledger.Filter{Agent: []string{"nobody"}}},
		"one absent":   {Filter: ledger.Filter{Agent: []string{saved[0].Agent}, Tool: []string{"nothing"}}},
		"other fields": {Filter: ledger.Filter{Agent: []string{saved[0].Tool}}},
	} {
		if got := ids(t, c, q); len(got) > 0 || c.LoadedIndexes() > 0 {
			t.Errorf("%s: %d events, %d indexes in memory", name, len(got), c.LoadedIndexes())
		}
	}
	if got := ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"nobody", "rare"}}}); len(got) != 1 || got[0] != want.ID || c.LoadedIndexes() != 1 {
		t.Errorf("rare: %v, %d indexes in memory", got, c.LoadedIndexes())
	}
}

// A query that began before a pruning looks at segments that are gone. What it
// reads of them is not counted: nobody would ever take it off again.
func TestQueryThatOutlivesAPruningKeepsNoValues(t *testing.T) {
	fs := vfstest.New()
	opts := &ledger.Options{SegmentSize: 400, FS: fs}
	c := openChain(t, "", opts)
	appendN(t, c, 20)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	appendN(t, c, 1)
	first := true
	agents := []string{event(0).Agent, "nobody"}
	for _, err := range c.Query(t.Context(), ledger.Query{Filter: ledger.Filter{Agent: agents}}) {
		if err != nil {
			t.Fatal(err)
		}
		if !first {
			continue
		}
		first = false
		if _, err := c.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"nobody"}}})
	if counted, kept := c.KeptValues(); counted != kept {
		t.Errorf("%d bytes are counted, %d are kept", counted, kept)
	}
}
