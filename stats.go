package rampart

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
)

// Histogram counts observations, in the manner of Prometheus.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound to the number of observations at or below it
}

// bounds are in seconds: a sync on flash takes some hundred microseconds, on a
// busy disk some seconds.
var bounds = [...]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // float64 bits
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *histogram) read() Histogram {
	out := Histogram{Sum: math.Float64frombits(h.sum.Load()), Buckets: make(map[float64]uint64, len(bounds))}
	for i := range h.buckets {
		out.Count += h.buckets[i].Load()
		if i < len(bounds) {
			out.Buckets[bounds[i]] = out.Count
		}
	}
	return out
}

// AuditStats are figures of an [AuditChain] at one moment.
type AuditStats struct {
	Events   uint64 // that the log holds
	Pruned   Pruned // and those before them
	Segments int
	Bytes    int64 // of the segments, without their indexes
	Sync     SyncPolicy
	Torn     int64             // bytes of an unfinished write that opening cut off
	Appended uint64            // events since it was opened
	Errors   map[string]uint64 // since it was opened, by operation: write, sync, create, index, prune
	Append   Histogram         // seconds from the call of Append to its return
}

// Stats returns the chain's figures.
func (c *AuditChain) Stats() AuditStats {
	out := AuditStats{Sync: c.opts.Sync, Append: c.appends.read(), Errors: c.errors.read()}
	c.state.mu.RLock()
	segments := c.state.segments
	out.Pruned = c.state.dropped
	out.Events, out.Appended, out.Torn, out.Segments = c.state.seq-out.Pruned.Records, c.state.appended, c.state.torn, len(segments)
	c.state.mu.RUnlock()
	for _, g := range segments {
		h, _ := c.state.headOf(g)
		out.Bytes += h.Size
	}
	return out
}

// counters counts by name.
type counters struct {
	mu sync.Mutex
	n  map[string]uint64
}

func newCounters(names ...string) counters {
	n := make(map[string]uint64, len(names))
	for _, name := range names {
		n[name] = 0 // shown before the first of its kind, so that an alert can wait for it
	}
	return counters{n: n}
}

func (c *counters) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *counters) read() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
