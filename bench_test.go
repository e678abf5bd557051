package rampart_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
)

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := openChain(b, b.TempDir(), nil)
			work := make(chan int)
			done := make(chan struct{})
			for range writers {
				go func() {
					defer func() { done <- struct{}{} }()
					for i := range work {
						if _, err := c.Append(context.Background(), event(i)); err != nil {
							b.Error(err)
						}
					}
				}()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				work <- i
			}
			close(work)
			for range writers {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkAppendAllWithoutSync(b *testing.B) {
	c := openChain(b, b.TempDir(), &rampart.AuditOptions{Sync: rampart.SyncNever})
	batch := make([]rampart.AuditEvent, 1000)
	for i := range batch {
		batch[i] = event(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.AppendAll(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
}

// filled returns a chain of n events: agent-1 made 1 %, deny is 0.1 %.
func filled(b *testing.B, n int) *rampart.AuditChain {
	b.Helper()
	c := openChain(b, b.TempDir(), &rampart.AuditOptions{Sync: rampart.SyncNever})
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
	for name, q := range map[string]rampart.Query{
		"newest":    {},
		"agent=1%":  {Filter: rampart.Filter{Agent: []string{"agent-1"}}},
		"deny=0.1%": {Filter: rampart.Filter{Action: []string{"deny"}}},
		"middle":    {Since: middle, Until: middle.Add(10 * time.Minute)},
		"absent":    {Filter: rampart.Filter{Agent: []string{"nobody"}}},
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

// The committer's share of it: a frame for each line, in memory.
func BenchmarkAnnounce(b *testing.B) {
	const n = 100
	bus := rampart.NewEventBus(nil)
	defer bus.Close()
	announce := bus.Announcer(n, sampleLine(b))
	b.ReportAllocs()
	for b.Loop() {
		announce()
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
}

// sampleLine is a stored line.
func sampleLine(tb testing.TB) []byte {
	tb.Helper()
	c := openChain(tb, tb.TempDir(), nil)
	appendN(tb, c, 1)
	return []byte(all(tb, c, rampart.Query{})[0])
}

// What publishing costs its caller does not depend on how many watch.
func BenchmarkPublish(b *testing.B) {
	line := []byte(`{"tool":"exec","request":{"command":"git status"}}`)
	for _, subscribers := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprintf("stalled=%d", subscribers), func(b *testing.B) {
			bus := rampart.NewEventBus(nil)
			defer bus.Close()
			ctx, cancel := context.WithCancel(b.Context())
			var began, ended sync.WaitGroup
			for range subscribers {
				began.Add(1)
				ended.Go(func() {
					for range bus.Subscribe(ctx, "") {
						began.Done()
						<-ctx.Done()
						return
					}
				})
			}
			for bus.Stats().Subscribers < subscribers {
				runtime.Gosched()
			}
			publish := func() {
				if err := bus.Publish(rampart.Event{Type: rampart.TypeAudit, ID: "1", Record: line}); err != nil {
					b.Fatal(err)
				}
			}
			publish()
			began.Wait()
			b.ReportAllocs()
			for b.Loop() {
				publish()
			}
			cancel()
			ended.Wait()
		})
	}
}
