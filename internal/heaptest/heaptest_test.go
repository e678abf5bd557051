package heaptest_test

import (
	"testing"

	"github.com/rampartlog/rampart/internal/heaptest"
)

var sink []byte

// told is a testing.TB that only notes that the test failed.
type told struct {
	testing.TB
	failed bool
}

func (r *told) Helper()               {}
func (r *told) Errorf(string, ...any) { r.failed = true }

func TestBound(t *testing.T) {
	for size, want := range map[int]bool{1 << 10: false, 1 << 20: false, 8 << 20: true} {
		r := &told{TB: t}
		heaptest.Bound(r, 100, func() { sink = make([]byte, size) })
		if r.failed != want {
			t.Errorf("%d bytes: failed %v", size, r.failed)
		}
	}
	r := &told{TB: t}
	heaptest.Bound(r, 100, func() {
		for range 1 << 18 {
			sink = make([]byte, 32)
		}
	})
	if !r.failed {
		t.Error("many small ones pass")
	}
}
