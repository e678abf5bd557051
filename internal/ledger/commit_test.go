package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

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

// batchOf makes a batch of n events; those at the places given have an approval
// member.
func batchOf(t *testing.T, n int, approvals ...int) *ledger.Batch {
	t.Helper()
	b := &ledger.Batch{Records: make([]ledger.Record, n)}
	for i := range b.Records {
		e := record.Event{Timestamp: "2026-03-03T10:15:30Z", Agent: "claude-code", Tool: fmt.Sprint("tool ", i), Action: "allow"}
		if slices.Contains(approvals, i) {
			e.Approval = []byte(`{}`)
		}
		var err error
		if b.Records[i].Body, _, err = e.AppendBody(nil); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// A batch whose write failed was announced to nobody, and can be appended again
// as if it were a new one.
func TestBatchIsAppendedAgain(t *testing.T) {
	fs := vfstest.New()
	var announced []string
	c := openChain(t, "", &ledger.Options{FS: fs, Announce: func(n []ledger.Notice) {
		for _, n := range n {
			announced = append(announced, n.ID)
		}
	}})
	b := batchOf(t, 2)
	fs.SetFull(100)
	if err := c.Ledger.Append(t.Context(), b); !errors.Is(err, syscall.ENOSPC) || announced != nil {
		t.Fatalf("on a full disk: %v, announced %q", err, announced)
	}
	fs.SetFull(-1)
	if err := c.Ledger.Append(t.Context(), b); err != nil {
		t.Fatalf("once there is room: %v", err)
	}
	if want := []string{b.Records[0].ID, b.Records[1].ID}; !slices.Equal(announced, want) || !slices.Equal(ids(t, c, ledger.Query{Ascending: true}), want) {
		t.Errorf("announced %q, want %q, and the same in the log", announced, want)
	}
}

// Check runs at the head that the batch will follow. It can drop the batch, or
// some of its records, and those around it do not notice.
func TestCheck(t *testing.T) {
	refused := errors.New("no longer")
	synctest.Test(t, func(t *testing.T) {
		var announced []string
		c := openChain(t, "", &ledger.Options{FS: vfstest.New(), Announce: func(n []ledger.Notice) {
			for _, n := range n {
				announced = append(announced, n.ID)
			}
		}})
		let := make(chan struct{})
		var writes []uint64
		batches := []*ledger.Batch{batchOf(t, 1), batchOf(t, 2), batchOf(t, 3), batchOf(t, 1)}
		batches[0].Check = func(uint64) error { <-let; return nil } // holds the tail, so that the others come together
		batches[1].Check = func(w uint64) error { writes = append(writes, w); return refused }
		batches[2].Check = func(w uint64) error {
			writes = append(writes, w)
			batches[2].Records = batches[2].Records[1:]
			return nil
		}
		batches[3].Check = func(w uint64) error { writes = append(writes, w); return nil }
		errs := make([]error, len(batches))
		var wg sync.WaitGroup
		for i, b := range batches {
			wg.Go(func() { errs[i] = c.Ledger.Append(t.Context(), b) })
			synctest.Wait()
		}
		close(let)
		wg.Wait()
		if errs[0] != nil || errs[1] != refused || errs[2] != nil || errs[3] != nil {
			t.Errorf("errors %v, want only the second to be refused", errs)
		}
		want := []string{batches[0].Records[0].ID, batches[2].Records[0].ID, batches[2].Records[1].ID, batches[3].Records[0].ID}
		if !slices.Equal(announced, want) || !slices.Equal(ids(t, c, ledger.Query{Ascending: true}), want) {
			t.Errorf("announced %q, want %q, and the same in the log", announced, want)
		}
		if len(writes) != 3 || writes[0] != writes[1] || writes[1] != writes[2] {
			t.Errorf("writes %v, want one for all three", writes)
		}
	})
}

// The observer is told once for each write, of the lines that concern it, before
// they can be found.
func TestObserve(t *testing.T) {
	c := openChain(t, "", &ledger.Options{FS: vfstest.New()})
	if err := c.Ledger.Append(t.Context(), batchOf(t, 1, 0)); err != nil {
		t.Fatal(err)
	}
	var told [][]string
	seq, stop, err := c.Observe(t.Context(), func(lines [][]byte) {
		var tools []string
		for _, line := range lines {
			var f record.Fields
			if err := record.Scan(line, &f); err != nil {
				t.Error(err)
			}
			tools = append(tools, string(f.Tool))
			if got, err := c.Get(t.Context(), string(f.ID)); !errors.Is(err, failure.ErrNotFound) {
				t.Errorf("%s was found before the observer knew of it: %s, %v", f.ID, got, err)
			}
		}
		told = append(told, tools)
	})
	if err != nil || seq != 1 {
		t.Fatal(seq, err)
	}
	if _, _, err := c.Observe(t.Context(), nil); !errors.Is(err, failure.ErrInvalid) {
		t.Errorf("a second observer: %v", err)
	}
	for _, b := range []*ledger.Batch{batchOf(t, 2), batchOf(t, 4, 1, 3), batchOf(t, 1, 0)} {
		if err := c.Ledger.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	stop() // again
	if err := c.Ledger.Append(t.Context(), batchOf(t, 1, 0)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"tool 1", "tool 3"}, {"tool 0"}}, told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}
