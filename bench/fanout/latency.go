//go:build linux

package fanout

import (
	"math"
	"math/bits"
	"time"
)

// latencies is a histogram whose buckets are at most 1/32 of their value wide.
type latencies struct {
	buckets [64 * 32]uint64
	n       uint64
}

func (l *latencies) add(d time.Duration) {
	l.buckets[bucket(uint64(max(d, 0)))]++
	l.n++
}

func bucket(v uint64) int {
	if v < 64 {
		return int(v)
	}
	e := bits.Len64(v) - 6 // v>>e is 32 to 63
	return e*32 + int(v>>e)
}

// top returns the largest value of bucket i.
func top(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	e := i/32 - 1
	return (uint64(i-e*32)+1)<<e - 1
}

// quantile returns the q-quantile in milliseconds, or NaN without values.
func (l *latencies) quantile(q float64) float64 {
	rank := uint64(math.Ceil(q * float64(l.n)))
	var seen uint64
	for i, n := range l.buckets {
		if seen += n; n > 0 && seen >= rank {
			return float64(top(i)) / 1e6
		}
	}
	return math.NaN()
}
