package ledger_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// hold keeps the committer busy with an append until release is called.
func hold(t *testing.T, c *chain) (release func()) {
	t.Helper()
	held, let := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := c.appendChecked(context.Background(), event(0), func() { close(held); <-let })
		done <- err
	}()
	<-held
	return func() {
		close(let)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// The context limits the wait for a turn: nothing is stored then. Once an append
// has its turn, by itself or in the committer's hands, its outcome is reported
// whatever the context says.
func TestContextLimitsTheWaitForATurnAlone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := memChain(t, vfstest.New())
			ctx, cancel := context.WithCancel(t.Context())
			want := uint64(1)
			release := func() {}
			if !alone { // another writer makes it wait for the committer
				release = hold(t, c)
				want++
			}
			taken := make(chan error, 1)
			let := make(chan struct{})
			go func() {
				_, err := c.appendChecked(ctx, event(1), func() { <-let })
				taken <- err
			}()
			synctest.Wait()
			release()
			synctest.Wait()
			waiting := make(chan error, 1)
			go func() {
				_, err := c.Append(ctx, event(2))
				waiting <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-waiting; !errors.Is(err, context.Canceled) {
				t.Errorf("alone %t: waiting for a turn: %v", alone, err)
			}
			close(let)
			if err := <-taken; err != nil {
				t.Errorf("alone %t: taken: %v", alone, err)
			}
			if n := c.Stats().Events; n != want {
				t.Errorf("alone %t: %d events, want %d", alone, n, want)
			}
		})
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openChain(t, "", &ledger.Options{FS: vfstest.New()})
		release := hold(t, c)
		large := event(1)
		large.Decision.Message = strings.Repeat("x", 1<<20-1000)
		const n = 70
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if _, err := c.Append(t.Context(), large); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if q := c.QueuedBytes(); q > ledger.MaxQueued || q < ledger.MaxQueued-1<<20 {
			t.Errorf("%d bytes wait", q)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Append(ctx, large); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a full queue: %v", err)
		}
		release()
		wg.Wait()
		if got := c.Stats().Events; got != n+1 {
			t.Errorf("%d events", got)
		}
	})
}

func TestCloseFinishesWhatWasAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memChain(t, vfstest.New())
		release := hold(t, c)
		admitted := make(chan error, 1)
		go func() {
			_, err := c.Append(t.Context(), event(1))
			admitted <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		synctest.Wait()
		if _, err := c.Append(t.Context(), event(2)); !errors.Is(err, failure.ErrClosed) {
			t.Errorf("after Close began: %v", err)
		}
		release()
		if err := errors.Join(<-admitted, <-closed); err != nil {
			t.Error(err)
		}
	})
}

// SyncInterval acknowledges before the disk has it, and syncs within the
// interval.
func TestSyncIntervalMakesDurableWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		opts := &ledger.Options{Sync: ledger.SyncInterval, SyncEvery: 5 * time.Second, FS: fs}
		c := openChain(t, "", opts)
		saved := appendN(t, c, 2)
		survive := func() int {
			again, err := open("", &ledger.Options{FS: fs.Recover(vfstest.Lost, 0)})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			return int(again.Stats().Events)
		}
		if n := survive(); n != 0 {
			t.Errorf("%d events are durable already", n)
		}
		<-time.After(6 * time.Second)
		if n := survive(); n != len(saved) {
			t.Errorf("%d of %d events are durable after the interval", n, len(saved))
		}
		fs.FailSync(1, errDisk, false)
		appendN(t, c, 1)
		<-time.After(6 * time.Second)
		if err := c.Err(); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("after a failed sync: %v", err)
		}
	})
}

// What queries cost in memory does not grow with the log.
func TestIndexesInMemoryAreBounded(t *testing.T) {
	c := openChain(t, "", &ledger.Options{SegmentSize: 400, FS: vfstest.New()})
	saved := appendN(t, c, 2*ledger.MaxIndexes)
	if n := len(ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"claude-code"}}})); n != len(saved) {
		t.Errorf("%d events found, want %d", n, len(saved))
	}
	for _, e := range saved {
		if _, err := c.Get(t.Context(), e.ID); err != nil {
			t.Error(err)
		}
	}
	if n := c.LoadedIndexes(); n > ledger.MaxIndexes {
		t.Errorf("%d indexes in memory", n)
	}
}

// A query for values that a segment does not have loads none of its index.
func TestQueryPassesOverSegmentsWithoutTheirIndex(t *testing.T) {
	fs := vfstest.New()
	opts := &ledger.Options{SegmentSize: 400, FS: fs}
	c := openChain(t, "", opts)
	saved := appendN(t, c, 2*ledger.MaxIndexes)
	rare := event(0)
	rare.Agent = "rare"
	want, err := c.Append(t.Context(), rare)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 2*ledger.MaxIndexes)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	for name, q := range map[string]ledger.Query{
		"absent":       {Filter: ledger.Filter{Agent: []string{"nobody"}}},
		"one absent":   {Filter: ledger.Filter{Agent: []string{saved[0].Agent}, Tool: []string{"nothing"}}},
		"other fields": {Filter: ledger.Filter{Agent: []string{saved[0].Tool}}},
	} {
		if got := ids(t, c, q); len(got) > 0 || c.LoadedIndexes() > 0 {
			t.Errorf("%s: %d events, %d indexes in memory", name, len(got), c.LoadedIndexes())
		}
	}
	if got := ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"nobody", "rare"}}}); len(got) != 1 || got[0] != want.ID || c.LoadedIndexes() != 1 {
		t.Errorf("rare: %v, %d indexes in memory", got, c.LoadedIndexes())
	}
}

// A query that began before a pruning looks at segments that are gone. What it
// reads of them is not counted: nobody would ever let go of it.
func TestQueryThatOutlivesAPruningKeepsNoValues(t *testing.T) {
	fs := vfstest.New()
	opts := &ledger.Options{SegmentSize: 400, FS: fs}
	c := openChain(t, "", opts)
	appendN(t, c, 20)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	appendN(t, c, 1)
	first := true
	agents := []string{event(0).Agent, "nobody"}
	for _, err := range c.Query(t.Context(), ledger.Query{Filter: ledger.Filter{Agent: agents}}) {
		if err != nil {
			t.Fatal(err)
		}
		if !first {
			continue
		}
		first = false
		if _, err := c.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	ids(t, c, ledger.Query{Filter: ledger.Filter{Agent: []string{"nobody"}}})
	if counted, kept := c.KeptValues(); counted != kept {
		t.Errorf("%d bytes are counted, %d are kept", counted, kept)
	}
}

// A server may recover from a panic in a request: the log then says that it
// failed, and closes.
func TestPanicInALoneWriteFailsTheLog(t *testing.T) {
	for when, panics := range map[string]struct {
		announce func([]ledger.Notice)
		check    func()
	}{
		"linked":  {check: func() { panic("linked") }},
		"durable": {announce: func([]ledger.Notice) { panic("durable") }},
	} {
		c, err := open("", &ledger.Options{FS: vfstest.New(), Announce: panics.announce})
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", when)
				}
			}()
			c.appendChecked(t.Context(), event(0), panics.check)
		}()
		if _, err := c.Append(t.Context(), event(1)); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("%s: append after a panic: %v", when, err)
		}
		if err := c.Close(); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("%s: close after a panic: %v", when, err)
		}
	}
}
