//go:build !race

// Allocations are counted without the race detector, under which a sync.Pool
// drops a part of what it is given.

package ledger_test

import (
	"context"
	"testing"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/ledger"
)

func TestVerifyAllocatesBlocks(t *testing.T) {
	c := openChain(t, t.TempDir(), &ledger.Options{Sync: ledger.SyncNever})
	const n = 2000
	events := make([]rampart.AuditEvent, n)
	for i := range events {
		events[i] = event(i)
	}
	if _, err := c.AppendAll(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(10, func() {
		if r, err := c.Verify(context.Background()); err != nil || r.Events != n {
			t.Fatal(r, err)
		}
	})
	if allocs > 70 {
		t.Errorf("%v allocations for %d events, want 70 at most, none for each", allocs, n)
	}
}
