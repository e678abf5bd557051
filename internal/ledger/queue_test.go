//go:build pending

package rampart_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// hold keeps the committer busy with an append until release is called.
func hold(t *testing.T, c *rampart.AuditChain) (release func()) {
	t.Helper()
	held, let := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := c.AppendHooked(context.Background(), func([]rampart.AuditEvent) { close(held); <-let }, event(0))
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

// The context limits the wait for a turn: nothing is stored then. What the
// committer has taken is reported whatever the context says.
func TestContextLimitsTheWaitForATurnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memChain(t, vfstest.New())
		ctx, cancel := context.WithCancel(t.Context())
		taken := make(chan error, 1)
		let := make(chan struct{})
		go func() {
			_, err := c.AppendHooked(ctx, func([]rampart.AuditEvent) { <-let }, event(0))
			taken <- err
		}()
		synctest.Wait()
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Append(ctx, event(1))
			waiting <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting for a turn: %v", err)
		}
		close(let)
		if err := <-taken; err != nil {
			t.Errorf("taken: %v", err)
		}
		if n := c.Stats().Events; n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openChain(t, "", rampart.AuditOptions{}.WithFS(vfstest.New()))
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
		if q := c.QueuedBytes(); q > rampart.MaxQueued || q < rampart.MaxQueued-1<<20 {
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
		if _, err := c.Append(t.Context(), event(2)); !errors.Is(err, rampart.ErrClosed) {
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
		opts := rampart.AuditOptions{Sync: rampart.SyncInterval, SyncEvery: 5 * time.Second}.WithFS(fs)
		c := openChain(t, "", opts)
		saved := appendN(t, c, 2)
		survive := func() int {
			again, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithFS(fs.Recover(vfstest.Lost, 0)))
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
		if err := c.Err(); !errors.Is(err, rampart.ErrFailed) {
			t.Errorf("after a failed sync: %v", err)
		}
	})
}

// What queries cost in memory does not grow with the log.
func TestIndexesInMemoryAreBounded(t *testing.T) {
	c := openChain(t, "", rampart.AuditOptions{}.WithSegmentSize(400).WithFS(vfstest.New()))
	saved := appendN(t, c, 2*rampart.MaxIndexes)
	if n := len(ids(t, c, rampart.Query{Filter: rampart.Filter{Agent: []string{"claude-code"}}})); n != len(saved) {
		t.Errorf("%d events found, want %d", n, len(saved))
	}
	for _, e := range saved {
		if _, err := c.Get(t.Context(), e.ID); err != nil {
			t.Error(err)
		}
	}
	if n := c.LoadedIndexes(); n > rampart.MaxIndexes {
		t.Errorf("%d indexes in memory", n)
	}
}

// A query for values that a segment does not have loads none of its index.
func TestQueryPassesOverSegmentsWithoutTheirIndex(t *testing.T) {
	fs := vfstest.New()
	opts := rampart.AuditOptions{}.WithSegmentSize(400).WithFS(fs)
	c := openChain(t, "", opts)
	saved := appendN(t, c, 2*rampart.MaxIndexes)
	rare := event(0)
	rare.Agent = "rare"
	want, err := c.Append(t.Context(), rare)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 2*rampart.MaxIndexes)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	for name, q := range map[string]rampart.Query{
		"absent":       {Filter: rampart.Filter{Agent: []string{"nobody"}}},
		"one absent":   {Filter: rampart.Filter{Agent: []string{saved[0].Agent}, Tool: []string{"nothing"}}},
		"other fields": {Filter: rampart.Filter{Agent: []string{saved[0].Tool}}},
	} {
		if got := ids(t, c, q); len(got) > 0 || c.LoadedIndexes() > 0 {
			t.Errorf("%s: %d events, %d indexes in memory", name, len(got), c.LoadedIndexes())
		}
	}
	if got := ids(t, c, rampart.Query{Filter: rampart.Filter{Agent: []string{"nobody", "rare"}}}); len(got) != 1 || got[0] != want.ID || c.LoadedIndexes() != 1 {
		t.Errorf("rare: %v, %d indexes in memory", got, c.LoadedIndexes())
	}
}

// A query that began before a pruning looks at segments that are gone. What it
// reads of them is not counted: nobody would ever let go of it.
func TestQueryThatOutlivesAPruningKeepsNoValues(t *testing.T) {
	fs := vfstest.New()
	opts := rampart.AuditOptions{}.WithSegmentSize(400).WithFS(fs)
	c := openChain(t, "", opts)
	appendN(t, c, 20)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openChain(t, "", opts)
	appendN(t, c, 1)
	first := true
	agents := []string{event(0).Agent, "nobody"}
	for _, err := range c.Query(t.Context(), rampart.Query{Filter: rampart.Filter{Agent: agents}}) {
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
	ids(t, c, rampart.Query{Filter: rampart.Filter{Agent: []string{"nobody"}}})
	if counted, kept := c.KeptValues(); counted != kept {
		t.Errorf("%d bytes are counted, %d are kept", counted, kept)
	}
}

// A server may recover from a panic in a request: the log then says that it
// failed, and closes.
func TestPanicInALoneWriteFailsTheLog(t *testing.T) {
	c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithFS(vfstest.New()))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		c.AppendHooked(t.Context(), func([]rampart.AuditEvent) { panic("hook") }, event(0))
	}()
	if _, err := c.Append(t.Context(), event(1)); !errors.Is(err, rampart.ErrFailed) {
		t.Errorf("append after a panic: %v", err)
	}
	if err := c.Close(); !errors.Is(err, rampart.ErrFailed) {
		t.Errorf("close after a panic: %v", err)
	}
}
