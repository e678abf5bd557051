// Package heaptest bounds what a call allocates, so that a few hostile bytes
// can't cost a host much. Only tests import it.
package heaptest

import (
	"runtime/metrics"
	"testing"
)

const (
	// perByte is what a parser may allocate for a byte of its input, garbage
	// included: a map's entry for the shortest member of an object takes 40.
	perByte = 64
	// noise is what the runtime has not counted yet, and what others in the
	// process may allocate meanwhile.
	noise = 2 << 20
)

// Bound fails t if fn, given that many bytes of input, allocates much more than
// that: 64 bytes for each and 2 MiB. fn may be called again.
func Bound(t testing.TB, input int, fn func()) {
	t.Helper()
	limit := uint64(input)*perByte + noise
	var took uint64
	for range 3 { // a fault allocates each time, others do so by chance
		before := allocated()
		fn()
		if took = allocated() - before; took <= limit {
			return
		}
	}
	t.Errorf("%d bytes of input made it allocate %d", input, took)
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
