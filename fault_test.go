package rampart_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

var errDisk = errors.New("input/output error")

func memChain(t testing.TB, fs *vfstest.FS) *rampart.AuditChain {
	t.Helper()
	return openChain(t, "", rampart.AuditOptions{}.WithSegmentSize(3000).WithFS(fs))
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

func TestFailedSyncIsFinalUntilReopened(t *testing.T) {
	for _, drop := range []bool{false, true} {
		fs := vfstest.New()
		c := memChain(t, fs)
		saved := appendN(t, c, 3)
		head := c.Head()
		fs.FailSync(1, errDisk, drop)
		if _, err := c.Append(t.Context(), event(3)); !errors.Is(err, rampart.ErrFailed) || !errors.Is(err, errDisk) {
			t.Fatalf("append: %v", err)
		}
		if _, err := c.Append(t.Context(), event(4)); !errors.Is(err, rampart.ErrFailed) || !errors.Is(c.Err(), rampart.ErrFailed) {
			t.Errorf("after the failure: %v, %v", err, c.Err())
		}
		if c.Head() != head || len(all(t, c, rampart.Query{})) != 3 {
			t.Error("what was not durable is visible")
		}
		if n := c.Stats().Errors["sync"]; n != 1 {
			t.Errorf("%d sync errors counted", n)
		}
		if err := c.Close(); !errors.Is(err, rampart.ErrFailed) {
			t.Errorf("close: %v", err)
		}
		again := memChain(t, fs.Recover(vfstest.Lost, 1))
		if d := cmp.Diff(plain(saved, rampart.Query{}), ids(t, again, rampart.Query{})); d != "" {
			t.Error(d)
		}
		appendN(t, again, 2)
	}
}

func TestFullDiskRefusesAndGoesOnWhenThereIsSpace(t *testing.T) {
	fs := vfstest.New()
	c := memChain(t, fs)
	want := plain(appendN(t, c, 3), rampart.Query{Ascending: true})
	fs.SetFull(1500)
	for range 2 {
		_, err := c.Append(t.Context(), event(3))
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, rampart.ErrFailed) {
			t.Fatalf("append: %v", err)
		}
	}
	if err := c.Err(); err != nil {
		t.Errorf("a full disk is not final: %v", err)
	}
	fs.SetFull(-1)
	want = append(want, plain(appendN(t, c, 9), rampart.Query{Ascending: true})...)
	if d := cmp.Diff(want, ids(t, c, rampart.Query{Ascending: true})); d != "" {
		t.Error(d)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(want, ids(t, memChain(t, fs.Recover(vfstest.Lost, 1)), rampart.Query{Ascending: true})); d != "" {
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
	if _, err := c.Append(t.Context(), event(1)); !errors.Is(err, rampart.ErrFailed) {
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
			if _, err := c.AppendAll(t.Context(), batch); !errors.Is(err, errDisk) || errors.Is(err, rampart.ErrFailed) {
				t.Fatal(err)
			}
			if n := len(all(t, memChain(t, fs.Recover(fate, seed)), rampart.Query{})); n != 2 {
				t.Fatalf("%s, seed %d: %d events, want 2", fate, seed, n)
			}
		}
	}
}

// Only SyncNever owned to this.
func TestPowerCutUnderSyncIntervalLosesOrIsRefused(t *testing.T) {
	refused := false
	for seed := range uint64(20) {
		fs := vfstest.New()
		appendN(t, openChain(t, "", rampart.AuditOptions{Sync: rampart.SyncInterval, SyncEvery: time.Hour}.WithFS(fs)), 10)
		c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithFS(fs.Recover(vfstest.Reordered, seed)))
		if err == nil {
			c.Close()
			continue
		}
		var corrupt *rampart.CorruptError
		if refused = errors.As(err, &corrupt); !refused {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("opened every time; say so in the doc of SyncInterval")
	}
}

// script is a workload whose every operation the sweeps below crash or fail
// at. It returns the ids that were acknowledged and those that were attempted,
// by their message, in order.
func script(t *testing.T, fs *vfstest.FS) (acked []string) {
	n := 0
	for range 3 {
		c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithSegmentSize(3000).WithFS(fs))
		if err != nil {
			return acked
		}
		for size := range 6 {
			var batch []rampart.AuditEvent
			for range size*size/3 + 1 {
				e := event(n)
				e.Decision.Message = fmt.Sprint(n)
				batch = append(batch, e)
				n++
			}
			saved, err := c.AppendAll(t.Context(), batch)
			if err != nil {
				n -= len(batch) // nothing of it may stay, and it is tried again
				continue
			}
			for _, e := range saved {
				acked = append(acked, e.Decision.Message)
			}
		}
		c.Close()
	}
	return acked
}

func messages(t *testing.T, c *rampart.AuditChain) (out []string) {
	t.Helper()
	for _, r := range all(t, c, rampart.Query{Ascending: true}) {
		e, err := rampart.Record(r).Event()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Decision.Message)
	}
	return out
}

// After a crash at any operation, with whatever the disk made of what was not
// synced: acknowledged ⊆ recovered, in order, nothing invented, it verifies,
// it goes on, and opening once more changes nothing.
func TestCrashAtEveryOperation(t *testing.T) {
	count := vfstest.New()
	script(t, count)
	for n := 1; n <= count.Ops(); n++ {
		for fate := vfstest.Lost; fate <= vfstest.Reordered; fate++ {
			for seed := uint64(0); seed < 3; seed++ {
				fs := vfstest.New()
				fs.CrashAt(n)
				acked := script(t, fs)
				after := fs.Recover(fate, seed)
				where := fmt.Sprintf("operation %d, fate %d, seed %d", n, fate, seed)
				c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithSegmentSize(3000).WithFS(after))
				if err != nil {
					t.Fatalf("%s: open: %v", where, err)
				}
				got := messages(t, c)
				if !isPrefix(acked, got) {
					t.Fatalf("%s: acknowledged %s, recovered %s", where, strings.Join(acked, " "), strings.Join(got, " "))
				}
				for i, m := range got {
					if m != fmt.Sprint(i) {
						t.Fatalf("%s: event %d is %s", where, i, m)
					}
				}
				appendN(t, c, 2)
				if r, err := c.Verify(t.Context()); err != nil || !r.OK() {
					t.Fatalf("%s: %+v %v", where, r, err)
				}
				if err := c.Close(); err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				before := after.Ops()
				again := memChain(t, after)
				if len(messages(t, again)) != len(got)+2 {
					t.Fatalf("%s: opened again: %d events, want %d", where, len(messages(t, again)), len(got)+2)
				}
				if after.Ops() > before+1 { // of the directory's sync
					t.Fatalf("%s: opening a closed log wrote to it", where)
				}
				if fate == vfstest.Lost || fate == vfstest.Kept {
					break // no seed in these
				}
			}
		}
	}
	t.Logf("%d operations", count.Ops())
}

// Each operation fails once in place of a crash: the error reaches its caller,
// nothing of the failed write is visible, and what was acknowledged is there
// after opening again.
func TestErrorAtEveryOperation(t *testing.T) {
	count := vfstest.New()
	script(t, count)
	for n := 1; n <= count.Ops(); n++ {
		for _, partial := range []bool{false, true} {
			fs := vfstest.New()
			fs.FailAt(n, errDisk, partial)
			acked := script(t, fs)
			c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithSegmentSize(3000).WithFS(fs.Recover(vfstest.Kept, 0)))
			if err != nil {
				t.Fatalf("operation %d: open: %v", n, err)
			}
			got := messages(t, c)
			// The outcome of a failed sync is not known: the write may be there.
			seen := map[string]bool{}
			for _, m := range got {
				seen[m] = true
			}
			for _, m := range acked {
				if !seen[m] {
					t.Fatalf("operation %d: acknowledged %s is gone: %v", n, m, got)
				}
			}
			if r, err := c.Verify(t.Context()); err != nil || !r.OK() {
				t.Fatalf("operation %d: %+v %v", n, r, err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A segment that a killed process had made, or had put in the place of one with
// a torn tail, and whose name was not yet durable, was written to as if it
// were: a power cut then took away all that had been acknowledged in it.
func TestKilledBeforeNamesAreDurable(t *testing.T) {
	// The last operation of the first life is a write that stays, torn; its two
	// events are those of an earlier Close.
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
			c, err := rampart.OpenAuditChain("", rampart.AuditOptions{}.WithSegmentSize(500).WithFS(fs))
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
				got := ids(t, memChain(t, next.Recover(fate, 1)), rampart.Query{Ascending: true})
				if len(got) < acked+2 || got[len(got)-1] != saved[1].ID {
					t.Fatalf("%s, operation %d, %v: %d events, want %d and these two more", name, n, fate, len(got), acked)
				}
			}
		}
	}
}
