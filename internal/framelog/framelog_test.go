package framelog_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rampartlog/rampart/internal/framelog"
)

const (
	kindPlain framelog.Kind = iota
	kindNumbered
)

func open(t *testing.T, chunks int) *framelog.Log {
	t.Helper()
	l := framelog.New(chunks * framelog.ChunkSize)
	t.Cleanup(l.Close)
	return l
}

// fill appends n frames of 1 KiB, numbered from the log's position.
func fill(l *framelog.Log, n int) {
	for range n {
		seq := l.Seq() + 1
		l.Append(fmt.Appendf(nil, "%-1023d\n", seq), kindNumbered, seq)
	}
}

// drain reads until there is nothing left and returns the bytes and the last position.
func drain(t *testing.T, r *framelog.Reader) (data []byte, seq uint64) {
	t.Helper()
	for {
		run, wait, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if wait != nil {
			return data, seq
		}
		data, seq = append(data, run.Bytes...), run.Seq
	}
}

func TestReadersGetEverythingOnceInOrder(t *testing.T) {
	l := open(t, 64)
	const readers, frames = 8, 2000
	var wg sync.WaitGroup
	for range readers {
		r := l.NewReader()
		wg.Go(func() {
			var seq uint64
			for seq < frames {
				run, wait, err := r.Next()
				if err != nil {
					t.Error(err)
					return
				}
				if wait != nil {
					<-wait
					continue
				}
				if run.After != seq {
					t.Errorf("a run begins at %d after one that ended at %d", run.After, seq)
				}
				for _, m := range run.Marks {
					seq++
					if want := fmt.Appendf(nil, "%-1023d\n", seq); m.Seq != seq || !bytes.HasPrefix(run.Bytes[m.Off-run.Base:], want) {
						t.Errorf("frame %d is not where its mark says", seq)
					}
				}
				if seq != run.Seq || run.Counts[kindNumbered] != uint64(len(run.Marks)) {
					t.Errorf("run to %d with %d marks says %d, %v", seq, len(run.Marks), run.Seq, run.Counts)
				}
			}
		})
	}
	for range frames {
		fill(l, 1)
		l.Wake()
	}
	wg.Wait()
}

func TestAttach(t *testing.T) {
	l := open(t, 4)
	l.Append([]byte("p\n"), kindPlain, 0)
	fill(l, 100)
	l.Append([]byte("q\n"), kindPlain, 0)
	fill(l, 100)
	l.Append([]byte("r\n"), kindPlain, 0)

	all, _ := func() ([]byte, uint64) {
		r := l.NewReader()
		if _, err := r.Attach(0); err != nil {
			t.Fatal(err)
		}
		return drain(t, r)
	}()
	for _, seq := range []uint64{0, 1, 63, 64, 99, 100, 101, 199} {
		r := l.NewReader()
		if wait, err := r.Attach(seq); wait != nil || err != nil {
			t.Fatalf("Attach(%d): %v, %v", seq, wait, err)
		}
		got, last := drain(t, r)
		want := all[bytes.Index(all, fmt.Appendf(nil, "%-1023d\n", seq+1)):]
		if !bytes.Equal(got, want) || last != 200 {
			t.Errorf("behind %d come %d bytes up to %d, want %d up to 200", seq, len(got), last, len(want))
		}
	}
	r := l.NewReader()
	if wait, err := r.Attach(200); wait != nil || err != nil {
		t.Fatal(wait, err)
	}
	if got, _ := drain(t, r); len(got) != 0 {
		t.Errorf("behind the newest position comes %q", got)
	}
}

func TestCountsAfterAttachAreOfWhatIsRead(t *testing.T) {
	l := open(t, 4)
	fill(l, 3)
	l.Append([]byte("p\n"), kindPlain, 0)
	fill(l, 1)
	l.Append([]byte("p\n"), kindPlain, 0)
	l.Append([]byte("p\n"), kindPlain, 0)
	r := l.NewReader()
	if _, err := r.Attach(2); err != nil {
		t.Fatal(err)
	}
	run, _, err := r.Next()
	if want := (framelog.Counts{kindPlain: 3, kindNumbered: 2}); err != nil || run.Counts != want {
		t.Errorf("counts %v (%v), want %v", run.Counts, err, want)
	}
}

func TestAttachAheadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := framelog.New(0)
		defer l.Close()
		r := l.NewReader()
		wait, err := r.Attach(2)
		if wait == nil || err != nil {
			t.Fatalf("attached behind a frame that is yet to come: %v", err)
		}
		fill(l, 2)
		l.Wake()
		<-wait
		if wait, err := r.Attach(2); wait != nil || err != nil {
			t.Errorf("still not attached: %v", err)
		}
	})
}

func TestWindowPassesAReader(t *testing.T) {
	l := open(t, 4)
	stalled := l.NewReader()
	fill(l, 1)
	run, _, err := stalled.Next()
	if err != nil {
		t.Fatal(err)
	}
	held := bytes.Clone(run.Bytes)
	fill(l, 6*64)
	if !bytes.Equal(run.Bytes, held) {
		t.Error("bytes that a reader holds were written over")
	}
	// The reader keeps its own chunk alive, to the chunk's end.
	if run, _, err := stalled.Next(); err != nil || run.Seq != 64 {
		t.Errorf("the rest of the reader's chunk ends at %d (%v), want 64", run.Seq, err)
	}
	if _, _, err := stalled.Next(); !errors.Is(err, framelog.ErrLagged) {
		t.Errorf("Next: %v, want ErrLagged", err)
	}
	oldest := l.Oldest()
	if _, err := stalled.Attach(oldest - 1); !errors.Is(err, framelog.ErrLagged) {
		t.Errorf("Attach(%d): %v, want ErrLagged", oldest-1, err)
	}
	if _, err := stalled.Attach(oldest); err != nil {
		t.Fatal(err)
	}
	if _, seq := drain(t, stalled); seq != l.Seq() {
		t.Errorf("read on to %d, want %d", seq, l.Seq())
	}
}

func TestStart(t *testing.T) {
	l := open(t, 2)
	for range 40 << 10 {
		l.Append([]byte("p\n\n\n"), kindPlain, 0)
	}
	r := l.NewReader()
	if !l.Start(1000) {
		t.Fatal("a log without positions cannot be started")
	}
	if _, err := r.Attach(999); !errors.Is(err, framelog.ErrLagged) {
		t.Errorf("Attach before the start: %v, want ErrLagged", err)
	}
	fill(l, 1)
	if run, _, err := r.Next(); err != nil || run.After != 1000 || run.Seq != 1001 {
		t.Errorf("first run (%d, %d], %v, want (1000, 1001]", run.After, run.Seq, err)
	}
	if l.Start(2000) {
		t.Error("a log with positions was started again")
	}
}

func TestCloseGivesOutWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := framelog.New(0)
		r := l.NewReader()
		_, wait, _ := r.Next()
		fill(l, 1)
		l.Close()
		<-wait
		if run, _, err := r.Next(); err != nil || run.Seq != 1 {
			t.Errorf("after Close: position %d, %v, want 1", run.Seq, err)
		}
		if _, _, err := r.Next(); !errors.Is(err, framelog.ErrClosed) {
			t.Errorf("at the end: %v, want ErrClosed", err)
		}
		l.Close()
	})
}

func TestAppendAllocatesOnlyChunks(t *testing.T) {
	l := open(t, 4)
	frame := make([]byte, 512)
	var seq uint64
	const chunk = framelog.ChunkSize / 512
	perChunk := testing.AllocsPerRun(20, func() {
		for range chunk {
			seq++
			l.Append(frame, kindNumbered, seq)
			l.Wake()
		}
	})
	if perChunk > 3 { // the chunk, its bytes, its marks
		t.Errorf("%v allocations for %d frames, want at most 3", perChunk, chunk)
	}
}
