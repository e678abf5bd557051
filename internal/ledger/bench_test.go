package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/ledger"
)

// filled returns a chain of n events: agent-1 made 1 %, deny is 0.1 %.
func filled(b *testing.B, n int) *chain {
	b.Helper()
	c := openChain(b, b.TempDir(), &ledger.Options{Sync: ledger.SyncNever})
	for at := 0; at < n; {
		var batch []rampart.AuditEvent
		for range 1000 {
			e := event(at)
			e.Timestamp = time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC).Add(time.Duration(at) * time.Millisecond * 100)
			e.Agent = fmt.Sprint("agent-", at%100)
			if at%1000 == 0 {
				e.Decision.Action = "deny"
			}
			batch = append(batch, e)
			at++
		}
		if _, err := c.AppendAll(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

func BenchmarkQuery(b *testing.B) {
	const n = 200_000
	c := filled(b, n)
	middle := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC).Add(n / 2 * 100 * time.Millisecond)
	for name, q := range map[string]ledger.Query{
		"newest":    {},
		"agent=1%":  {Filter: ledger.Filter{Agent: []string{"agent-1"}}},
		"deny=0.1%": {Filter: ledger.Filter{Action: []string{"deny"}}},
		"middle":    {Since: middle, Until: middle.Add(10 * time.Minute)},
		"absent":    {Filter: ledger.Filter{Agent: []string{"nobody"}}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k := 0
				for _, err := range c.Query(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					if k++; k == 50 {
						break
					}
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	const n = 200_000
	c := filled(b, n)
	b.SetBytes(c.Stats().Bytes)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := c.Verify(b.Context()); err != nil || !r.OK() {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}
