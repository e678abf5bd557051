// Package tally counts: histograms and counters by name.
package tally

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

// Recorder takes observations.
type Recorder struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // float64 bits
}

// Observe counts v.
func (h *Recorder) Observe(v float64) {
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

// Read returns what was observed.
func (h *Recorder) Read() Histogram {
	out := Histogram{Sum: math.Float64frombits(h.sum.Load()), Buckets: make(map[float64]uint64, len(bounds))}
	for i := range h.buckets {
		out.Count += h.buckets[i].Load()
		if i < len(bounds) {
			out.Buckets[bounds[i]] = out.Count
		}
	}
	return out
}

// Counters counts by name.
type Counters struct {
	mu sync.Mutex
	n  map[string]uint64
}

func NewCounters(names ...string) Counters {
	n := make(map[string]uint64, len(names))
	for _, name := range names {
		n[name] = 0 // shown before the first of its kind, so that an alert can wait for it
	}
	return Counters{n: n}
}

func (c *Counters) Add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *Counters) Read() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
