// Keeps cases 3, 5 to 8 and 19 of docs/durability.md: after a fault nothing acknowledged is lost, and nothing refused is back.

package ledger_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestFailedSyncIsFinalUntilReopened(t *testing.T) {
	for _, drop := range []bool{false, true} {
		fs := vfstest.New()
		c := memChain(t, fs)
		saved := appendN(t, c, 3)
		head := c.Head()
		fs.FailSync(1, errDisk, drop)
		if _, err := c.Append(t.Context(), event(3)); !errors.Is(err, failure.ErrFailed) || !errors.Is(err, errDisk) {
			t.Fatalf("append: %v", err)
		}
		if _, err := c.Append(t.Context(), event(4)); !errors.Is(err, failure.ErrFailed) || !errors.Is(c.Err(), failure.ErrFailed) {
			t.Errorf("after the failure: %v, %v", err, c.Err())
		}
		if c.Head() != head || len(all(t, c, ledger.Query{})) != 3 {
			t.Error("what was not durable is visible")
		}
		if n := c.Stats().Errors["sync"]; n != 1 {
			t.Errorf("%d sync errors counted", n)
		}
		if err := c.Close(); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("close: %v", err)
		}
		again := memChain(t, fs.Recover(vfstest.Lost, 1))
		if d := cmp.Diff(plain(saved, ledger.Query{}), ids(t, again, ledger.Query{})); d != "" {
			t.Error(d)
		}
		appendN(t, again, 2)
	}
}

func TestFullDiskRefusesAndGoesOnWhenThereIsSpace(t *testing.T) {
	fs := vfstest.New()
	c := memChain(t, fs)
	want := plain(appendN(t, c, 3), ledger.Query{Ascending: true})
	fs.SetFull(1500)
	for range 2 {
		_, err := c.Append(t.Context(), event(3))
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, failure.ErrFailed) {
			t.Fatalf("append: %v", err)
		}
	}
	if err := c.Err(); err != nil {
		t.Errorf("a full disk is not final: %v", err)
	}
	fs.SetFull(-1)
	want = append(want, plain(appendN(t, c, 9), ledger.Query{Ascending: true})...)
	if d := cmp.Diff(want, ids(t, c, ledger.Query{Ascending: true})); d != "" {
		t.Error(d)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(want, ids(t, memChain(t, fs.Recover(vfstest.Lost, 1)), ledger.Query{Ascending: true})); d != "" {
		t.Error(d)
	}
}

// A write that can't be taken back would stand where the next one goes.
func TestFailedCutIsFinal(t *testing.T) {
	fs := vfstest.New()
	c := memChain(t, fs)
	appendN(t, c, 1)
	fs.FailAt(1, errDisk, true)
	fs.FailAt(2, errDisk, false)
	if _, err := c.Append(t.Context(), event(1)); !errors.Is(err, failure.ErrFailed) {
		t.Error(err)
	}
}

// The cut after a failed write was not made durable: a power cut brought back
// events whose caller had been told that they are not in the log.
func TestRefusedWriteDoesNotComeBack(t *testing.T) {
	var batch []rampart.AuditEvent
	for i := range 8 {
		batch = append(batch, event(i))
	}
	for fate := vfstest.Lost; fate <= vfstest.Reordered; fate++ {
		for seed := range uint64(50) {
			fs := vfstest.New()
			c := memChain(t, fs)
			appendN(t, c, 2)
			fs.FailAt(1, errDisk, true)
			if _, err := c.AppendAll(t.Context(), batch); !errors.Is(err, errDisk) || errors.Is(err, failure.ErrFailed) {
				t.Fatal(err)
			}
			if n := len(all(t, memChain(t, fs.Recover(fate, seed)), ledger.Query{})); n != 2 {
				t.Fatalf("%s, seed %d: %d events, want 2", fate, seed, n)
			}
		}
	}
}

// Only the doc of SyncNever said that a power cut may leave a log which Open
// refuses.
func TestPowerCutUnderSyncIntervalLosesOrIsRefused(t *testing.T) {
	refused := false
	for seed := range uint64(20) {
		fs := vfstest.New()
		appendN(t, openChain(t, "", &ledger.Options{Sync: ledger.SyncInterval, SyncEvery: time.Hour, FS: fs}), 10)
		c, err := open("", &ledger.Options{FS: fs.Recover(vfstest.Reordered, seed)})
		if err == nil {
			c.Close()
			continue
		}
		var corrupt *failure.CorruptError
		if refused = errors.As(err, &corrupt); !refused {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("opened every time; say so in the doc of SyncInterval")
	}
}

// A killed process may leave a segment that it made, or put in the place of one
// with a torn tail, before the name was durable. The next process wrote to that
// segment, and a power cut then took away all that had been acknowledged in it.
func TestKilledBeforeNamesAreDurable(t *testing.T) {
	// In the first life two events are closed properly. Then a third is written,
	// and stays torn.
	torn := func() *vfstest.FS {
		fs := vfstest.New()
		c := memChain(t, fs)
		appendN(t, c, 2)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = memChain(t, fs)
		fs.FailAt(1, errDisk, true) // the write
		fs.FailAt(2, errDisk, true) // and its cut
		if _, err := c.Append(t.Context(), event(2)); err == nil {
			t.Fatal("appended")
		}
		return fs.Kill()
	}
	for name, begin := range map[string]func() *vfstest.FS{"new": vfstest.New, "torn": torn} {
		for n := 1; ; n++ {
			fs := begin()
			fs.CrashAt(n)
			c, err := open("", &ledger.Options{SegmentSize: 500, FS: fs})
			acked := 0
			for err == nil && acked < 3 { // each in a segment of its own
				if _, err = c.Append(t.Context(), event(acked)); err == nil {
					acked++
				}
			}
			if c != nil {
				c.Close()
			}
			if err == nil {
				break // all done in fewer operations
			}
			next := fs.Kill()
			saved := appendN(t, memChain(t, next), 2)
			for fate := vfstest.Lost; fate <= vfstest.Reordered; fate++ {
				got := ids(t, memChain(t, next.Recover(fate, 1)), ledger.Query{Ascending: true})
				if len(got) < acked+2 || got[len(got)-1] != saved[1].ID {
					t.Fatalf("%s, operation %d, %v: %d events, want %d and these two more", name, n, fate, len(got), acked)
				}
			}
		}
	}
}

// The log went on with an empty segment whose name a failed sync of the
// directory had lost: no later sync makes that name durable. The power cut after
// the next life took the segment away, with what had been acknowledged in it. So
// each operation fails once, the process is killed up to three operations later,
// the next process appends, and then the power goes.
func TestFaultThenKillThenPowerCut(t *testing.T) {
	live := func(fs *vfstest.FS) (acked []string) {
		for round := range 3 {
			c, err := open("", &ledger.Options{SegmentSize: 500, FS: fs})
			if err != nil {
				return acked
			}
			for range 3 {
				if e, err := c.Append(t.Context(), event(1)); err == nil {
					acked = append(acked, e.ID)
				}
			}
			if round > 0 {
				_, _ = c.Prune(t.Context(), soon())
			}
			_ = c.Close()
		}
		return acked
	}
	count := vfstest.New()
	live(count)
	for n := 1; n <= count.Ops(); n += min(every, 3) {
		for _, fail := range []func(fs *vfstest.FS){
			func(fs *vfstest.FS) { fs.FailAt(n, errDisk, false) },
			func(fs *vfstest.FS) { fs.FailDropping(n, errDisk) },
		} {
			for after := 1; after <= 3; after++ {
				fs := vfstest.New()
				fail(fs)
				fs.CrashAt(n + after)
				acked := live(fs)
				next := fs.Kill()
				saved := appendN(t, memChain(t, next), 1)
				for fate := vfstest.Lost; fate <= vfstest.Reordered; fate++ {
					c := memChain(t, next.Recover(fate, 1))
					for _, id := range append(acked, saved[0].ID) {
						if _, err := c.Get(t.Context(), id); err != nil && id > c.Stats().Pruned.LastID {
							t.Errorf("%s, operation %d, failed, %d later a kill, then %v: %v", fs.Op(n), n, after, fate, err)
						}
					}
				}
			}
		}
	}
}

// A segment that could be neither synced nor removed when it was made stood in
// the way of every later append, until the log was opened again.
func TestSegmentThatWasLeftOver(t *testing.T) {
	fs := vfstest.New()
	c := openChain(t, "", &ledger.Options{SegmentSize: 500, FS: fs})
	appendN(t, c, 2)
	fs.FailAt(2, errDisk, false) // its sync
	fs.FailAt(3, errDisk, false) // its removal
	if _, err := c.Append(t.Context(), event(2)); !errors.Is(err, errDisk) || errors.Is(err, failure.ErrFailed) {
		t.Fatal(err)
	}
	appendN(t, c, 3)
}

// A sync that fails at Close leaves lines that are not durable. The next opening
// must not take them for durable and build upon them.
func TestFailedSyncAtCloseLeavesNoMark(t *testing.T) {
	for _, drop := range []bool{false, true} {
		fs := vfstest.New()
		c, err := open("", &ledger.Options{Sync: ledger.SyncInterval, SyncEvery: time.Hour, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, c, 3)
		fs.FailSync(1, errDisk, drop)
		if err := c.Close(); !errors.Is(err, errDisk) {
			t.Fatalf("close: %v", err)
		}
		saved := appendN(t, memChain(t, fs), 1)
		if _, err := memChain(t, fs.Recover(vfstest.Lost, 1)).Get(t.Context(), saved[0].ID); err != nil {
			t.Errorf("dropped %v: %v", drop, err)
		}
	}
}
