package framelog_test

import (
	"testing"

	"github.com/rampartlog/rampart/internal/framelog"
)

func BenchmarkAppend(b *testing.B) {
	l := framelog.New(16 << 20)
	defer l.Close()
	frame := make([]byte, 512)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		l.Append(frame, kindNumbered, seq)
		l.Wake()
	}
}

// A reader at the end gets one frame at a time; one that is behind, a chunk.
func BenchmarkNext(b *testing.B) {
	for name, frames := range map[string]int{"frame": 1, "chunk": framelog.ChunkSize / 512} {
		b.Run(name, func(b *testing.B) {
			l := framelog.New(0)
			defer l.Close()
			r := l.NewReader()
			frame := make([]byte, 512)
			var seq uint64
			for range frames {
				seq++
				l.Append(frame, kindNumbered, seq)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Attach(seq - uint64(frames)); err != nil {
					b.Fatal(err)
				}
				if run, _, err := r.Next(); err != nil || run.Seq != seq {
					b.Fatal(run.Seq, err)
				}
			}
		})
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	l := open(t, 2)
	r := l.NewReader()
	fill(l, 10)
	if n := testing.AllocsPerRun(100, func() {
		r.Attach(0)
		if run, _, err := r.Next(); err != nil || run.Seq != 10 {
			t.Fatal(run.Seq, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a run, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Next() }); n != 0 { // readers share one channel to wait on
		t.Errorf("%v allocations where there is nothing, want 0", n)
	}
}
