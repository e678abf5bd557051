package ledger_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
)

func TestConcurrentAppendsAreAllThereInOneOrder(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 20_000})
	const writers, each = 16, 40
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			last := ""
			for i := range each {
				saved, err := c.AppendAll(t.Context(), []rampart.AuditEvent{event(w*1000 + i), event(i)})
				if err != nil {
					t.Error(err)
					return
				}
				if saved[0].ID <= last || saved[1].PrevHash != saved[0].Hash {
					t.Errorf("out of order: %v after %s", saved, last)
				}
				last = saved[1].ID
				mu.Lock()
				acked[saved[0].ID], acked[saved[1].ID] = true, true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := all(t, c, ledger.Query{Ascending: true})
	if len(got) != 2*writers*each || len(acked) != len(got) {
		t.Errorf("%d stored, %d acknowledged, want %d", len(got), len(acked), 2*writers*each)
	}
	for _, r := range got {
		if !acked[rampart.Record(r).ID()] {
			t.Errorf("not acknowledged: %s", r)
		}
	}
	if d := cmp.Diff(lines(t, dir), got); d != "" {
		t.Error(d)
	}
}

func TestCancelledBeforeItsTurnStoresNothing(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Append(ctx, event(0)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := c.Stats().Events; n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestReopenGoesOnWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	var saved []rampart.AuditEvent
	for range 4 {
		c, err := open(dir, &ledger.Options{SegmentSize: 2000})
		if err != nil {
			t.Fatal(err)
		}
		if len(saved) > 0 {
			if want := (ledger.Anchor{ID: saved[len(saved)-1].ID, Hash: saved[len(saved)-1].Hash}); c.Head() != want {
				t.Errorf("head %v, want %v", c.Head(), want)
			}
		}
		saved = append(saved, appendN(t, c, 7)...)
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := c.Append(t.Context(), event(0)); !errors.Is(err, failure.ErrClosed) {
			t.Errorf("append after close: %v", err)
		}
		for _, err := range c.Query(t.Context(), ledger.Query{}) {
			if !errors.Is(err, failure.ErrClosed) {
				t.Errorf("query after close: %v", err)
			}
		}
	}
	c := openChain(t, dir, nil)
	for i, r := range all(t, c, ledger.Query{Ascending: true}) {
		if id := rampart.Record(r).ID(); id != saved[i].ID {
			t.Errorf("event %d is %s, want %s", i, id, saved[i].ID)
		}
		if i > 0 && (saved[i].ID <= saved[i-1].ID || saved[i].PrevHash != saved[i-1].Hash) {
			t.Errorf("event %d does not follow", i)
		}
	}
	if n := c.Stats().Events; n != 28 {
		t.Errorf("%d events", n)
	}
}
