package rampart_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestApprovalExpiryIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		_, a := memQueue(t, fs, &rampart.ApprovalOptions{TTL: time.Minute})
		p := request(t, a, question(1))
		// A failed expiry is three operations: the write, the cut after it and the
		// sync of the cut. The first two tries fail, and the one that Resolve makes.
		for i := range 3 {
			fs.FailAt(1+3*i, errDisk, false)
		}
		time.Sleep(time.Minute + 10*time.Millisecond)
		if got := statuses(a)[p.ID]; got != rampart.Pending {
			t.Errorf("with the expiry not recorded: %s", got)
		}
		_, err := a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "Resolve past the deadline while the disk fails", err, errDisk)
		got, err := a.Wait(t.Context(), p.ID)
		if err != nil || got.Status != rampart.Expired || time.Since(p.ExpiresAt) > time.Second {
			t.Errorf("%v after %v, %v", got.Status, time.Since(p.ExpiresAt), err)
		}
	})
}

// The deadline holds even while the expiry could not be recorded yet: an answer is
// refused, and the same call is asked anew.
func TestNothingIsAnsweredPastItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(t *testing.T) (*rampart.Approvals, rampart.Approval) {
			fs := vfstest.New()
			_, a := memQueue(t, fs, nil)
			p := request(t, a, question(1))
			fs.FailAt(1, errDisk, false)
			time.Sleep(time.Until(p.ExpiresAt) + time.Millisecond)
			if got := statuses(a)[p.ID]; got != rampart.Pending {
				t.Fatalf("it is %s", got)
			}
			return a, p
		}
		a, p := late(t)
		_, err := a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: "run_1", IDs: []string{p.ID}})
		wantErr(t, "ResolveAll of its id", err, rampart.ErrNotPending)
		if got, err := a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: "run_1"}); len(got) != 0 || err != nil {
			t.Errorf("ResolveAll of its run: %v, %v", got, err)
		}
		_, err = a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "Resolve", err, rampart.ErrNotPending)
		if got := statuses(a)[p.ID]; got != rampart.Expired {
			t.Errorf("then it is %s", got)
		}
		a, p = late(t)
		if again := request(t, a, question(1)); again.ID == p.ID || statuses(a)[p.ID] != rampart.Expired {
			t.Errorf("asked again: %s, before: %s", again.ID, statuses(a)[p.ID])
		}
	})
}

// The deadline holds by the clock, whether or not the timer has fired.
func TestResolveAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i, before := range []time.Duration{time.Nanosecond, 0} {
			_, a := memQueue(t, vfstest.New(), nil)
			p := request(t, a, question(i))
			time.Sleep(time.Until(p.ExpiresAt) - before)
			got, err := a.Resolve(t.Context(), p.ID, yes)
			if before > 0 && (err != nil || got.Status != rampart.Approved) {
				t.Errorf("before the deadline: %v, %v", got.Status, err)
			} else if before == 0 {
				wantErr(t, "at the deadline", err, rampart.ErrNotPending)
			}
		}
	})
}

// A later request with an earlier deadline must not wait for the first deadline.
func TestEarlierDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := memQueue(t, vfstest.New(), nil)
		request(t, a, question(1))
		synctest.Wait()
		q := question(2)
		q.TTL = time.Second
		p := request(t, a, q)
		got, err := a.Wait(t.Context(), p.ID)
		if err != nil || !got.ResolvedAt.Equal(p.ExpiresAt) {
			t.Errorf("expired at %v (%v), want %v", got.ResolvedAt, err, p.ExpiresAt)
		}
	})
}
