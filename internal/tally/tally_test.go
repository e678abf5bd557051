package tally_test

import (
	"maps"
	"sync"
	"testing"

	"github.com/rampartlog/rampart/internal/tally"
)

func TestRecorder(t *testing.T) {
	var r tally.Recorder
	if h := r.Read(); h.Count != 0 || h.Sum != 0 || len(h.Buckets) == 0 {
		t.Errorf("of nothing: %+v", h)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, v := range []float64{0, 0.0001, 0.5, 10, 11} { // at a bound counts as below it
				r.Observe(v)
			}
		})
	}
	wg.Wait()
	h := r.Read()
	if h.Count != 40 || h.Sum < 172 || h.Sum > 172.01 {
		t.Errorf("%d observations of %v s, want 40 of 172.0008", h.Count, h.Sum)
	}
	for bound, want := range map[float64]uint64{0.0001: 16, 0.25: 16, 0.5: 24, 5: 24, 10: 32} {
		if h.Buckets[bound] != want {
			t.Errorf("%d at or below %v, want %d", h.Buckets[bound], bound, want)
		}
	}
}

func TestCounters(t *testing.T) {
	c := tally.NewCounters("write", "sync")
	if got := c.Read(); !maps.Equal(got, map[string]uint64{"write": 0, "sync": 0}) {
		t.Errorf("before the first: %v", got)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { c.Add("write"); c.Add("prune") })
	}
	wg.Wait()
	got := c.Read()
	if !maps.Equal(got, map[string]uint64{"write": 8, "sync": 0, "prune": 8}) {
		t.Errorf("got %v", got)
	}
	got["write"] = 0
	if c.Read()["write"] != 8 {
		t.Error("what Read returned is not a copy")
	}
}
