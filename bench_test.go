package rampart_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

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

// The committer's share of the work: a frame for each line, in memory.
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
