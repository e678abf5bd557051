// Package tally counts: observations in a histogram, and occurrences by name.
package tally

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
)

// Histogram has the fields of rampart.Histogram, which is made of it.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// bounds are in seconds: a sync on flash takes some hundred microseconds, on a
// busy disk some seconds.
var bounds = [...]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Recorder makes a [Histogram]. Its methods may be called concurrently, and its
// zero value is ready.
type Recorder struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // float64 bits
}

// Observe counts an observation of v seconds.
func (r *Recorder) Observe(v float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	r.buckets[i].Add(1)
	for {
		old := r.sum.Load()
		if r.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Read returns what was observed so far.
func (r *Recorder) Read() Histogram {
	out := Histogram{Sum: math.Float64frombits(r.sum.Load()), Buckets: make(map[float64]uint64, len(bounds))}
	for i := range r.buckets {
		out.Count += r.buckets[i].Load()
		if i < len(bounds) {
			out.Buckets[bounds[i]] = out.Count
		}
	}
	return out
}

// Counters counts by name. Its methods may be called concurrently.
type Counters struct {
	mu sync.Mutex
	n  map[string]uint64
}

// NewCounters returns counters that show the names before the first of their
// kind is counted, so that an alert can wait for it.
func NewCounters(names ...string) Counters {
	n := make(map[string]uint64, len(names))
	for _, name := range names {
		n[name] = 0
	}
	return Counters{n: n}
}

// Add counts one of that name.
func (c *Counters) Add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

// Read returns a copy of the counts.
func (c *Counters) Read() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
