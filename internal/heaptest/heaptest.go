// Package heaptest bounds what a call allocates, so that a few hostile bytes
// can't cost a host much. Only tests import it.
package heaptest

import (
	"runtime/metrics"
	"testing"
)

const (
	// perByte is how many bytes a parser may allocate for one byte of input,
	// garbage included: the map entry of an object's shortest member takes 40.
	perByte = 64
	// noise allows for allocations of other goroutines, and for those that the
	// runtime counts late.
	noise = 2 << 20
)

// Bound fails t if fn, which gets input bytes of input, allocates more than 64
// times as much plus 2 MiB. It calls fn up to three times.
func Bound(t testing.TB, input int, fn func()) {
	t.Helper()
	limit := uint64(input)*perByte + noise
	var took uint64
	for range 3 { // a fault allocates each time, other goroutines do not
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
