package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// heldFS makes files whose writes wait while turn is full.
type heldFS struct {
	*vfstest.FS
	turn   chan struct{} // a mutex that a synctest bubble sees waiting
	writes int           // how many have begun
}

func (f *heldFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return heldFile{file, f}, err
}

func (f *heldFS) OpenWrite(name string) (vfs.File, error) {
	file, err := f.FS.OpenWrite(name)
	return heldFile{file, f}, err
}

type heldFile struct {
	vfs.File
	fs *heldFS
}

func (f heldFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.writes++
	f.fs.turn <- struct{}{}
	defer func() { <-f.fs.turn }()
	return f.File.WriteAt(p, off)
}

// heldQueue returns a queue whose log's next write waits until release is called.
// All changes until then are made in one write, after the held one.
func heldQueue(t *testing.T, opts *rampart.ApprovalOptions) (c *rampart.AuditChain, a *rampart.Approvals, fs *heldFS, hold func() (release func())) {
	t.Helper()
	fs = &heldFS{FS: vfstest.New(), turn: make(chan struct{}, 1)}
	c = openChain(t, "", rampart.AuditOptions{}.WithFS(fs))
	return c, newQueue(t, c, opts), fs, func() func() {
		fs.turn <- struct{}{}
		done := make(chan error, 1)
		go func() {
			_, err := c.Append(context.Background(), event(0))
			done <- err
		}()
		synctest.Wait()
		return func() {
			<-fs.turn
			if err := <-done; err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
	}
}

// A change does not wait until others are durable: changes that come together are
// made durable together.
func TestChangesShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, fs, hold := heldQueue(t, nil)
		release := hold()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { request(t, a, question(i)) })
		}
		synctest.Wait()
		release()
		wg.Wait()
		if n := len(a.List(rampart.ApprovalFilter{})); n != 20 || fs.writes != 2 {
			t.Errorf("%d approvals in %d writes, want 20 in 2", n, fs.writes)
		}
	})
}

// Of several answers in one write the first wins, and the log has no other.
func TestAnswersInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, _, hold := heldQueue(t, nil)
		p := request(t, a, question(1))
		release := hold()
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				if i == 3 {
					_, errs[i] = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: no, RunID: p.RunID, IDs: []string{p.ID}})
				} else {
					_, errs[i] = a.Resolve(t.Context(), p.ID, []rampart.Resolution{yes, no, yes}[i])
				}
			})
			synctest.Wait()
		}
		release()
		wg.Wait()
		if errs[0] != nil {
			t.Error(errs[0])
		}
		for i, err := range errs[1:] {
			wantErr(t, fmt.Sprint("answer ", i+2), err, rampart.ErrNotPending)
		}
		if n := len(all(t, c, rampart.Query{Filter: rampart.Filter{Action: []string{rampart.ActionApproved, rampart.ActionDenied}}})); n != 1 {
			t.Errorf("%d answers on the log, want 1", n)
		}
	})
}

// Somebody who denies all of a run is not put off by what ends meanwhile.
func TestAllOfARunInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, fs, hold := heldQueue(t, nil)
		var p []rampart.Approval
		for i := range 4 {
			q := question(i)
			q.TTL = time.Minute
			if i == 3 {
				q.TTL = time.Second
			}
			p = append(p, request(t, a, q))
		}
		before := fs.writes
		release := hold()
		var err error
		var all, exactly []rampart.Approval
		var notAll error
		var wg sync.WaitGroup
		wg.Go(func() { _, err = a.Resolve(t.Context(), p[0].ID, yes) })
		synctest.Wait()
		wg.Go(func() { all, _ = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: no, RunID: p[0].RunID}) })
		synctest.Wait()
		wg.Go(func() {
			exactly, notAll = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: p[0].RunID, IDs: []string{p[1].ID, p[2].ID}})
		})
		synctest.Wait()
		time.Sleep(2 * time.Second) // the deadline of the last one passes while they wait
		release()
		wg.Wait()
		if err != nil || len(all) != 2 || all[0].ID != p[1].ID || all[1].ID != p[2].ID || all[0].Status != rampart.Denied {
			t.Errorf("all of the run: %v (the one before: %v); want the second and the third, denied", all, err)
		}
		wantErr(t, "exactly those that were denied", notAll, rampart.ErrNotPending)
		if exactly != nil {
			t.Errorf("and nothing changes, but %v did", exactly)
		}
		if got, err := a.Get(t.Context(), p[3].ID); err != nil || got.Status != rampart.Expired {
			t.Errorf("past its deadline: %s, %v", got.Status, err)
		}
		if n := fs.writes - before; n > 3 {
			t.Errorf("%d writes, want the held one, theirs, and that of the expiry", n)
		}
	})
}

// A write that fails takes only its own changes with it: an answer that stood
// behind another one is given then.
func TestAnswerBehindOneThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, fs, hold := heldQueue(t, nil)
		p := request(t, a, question(1))
		release := hold()
		var first, second error
		var wg sync.WaitGroup
		wg.Go(func() { _, first = a.Resolve(t.Context(), p.ID, yes) })
		synctest.Wait()
		wg.Go(func() { _, second = a.Resolve(t.Context(), p.ID, no) })
		synctest.Wait()
		fs.FailAt(3, errDisk, true) // the held write and its sync come first
		release()
		wg.Wait()
		got, err := a.Get(t.Context(), p.ID)
		if !errors.Is(first, errDisk) || second != nil || err != nil || got.Status != rampart.Denied {
			t.Errorf("first: %v, second: %v, then %s, %v; want the disk's error, none, and denied", first, second, got.Status, err)
		}
	})
}

// The deadline counts when the answer would be appended, not when it was given.
func TestAnswerThatWaitsPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _, hold := heldQueue(t, nil)
		p := request(t, a, question(1))
		time.Sleep(time.Until(p.ExpiresAt) - time.Millisecond)
		release := hold()
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { _, err = a.Resolve(t.Context(), p.ID, yes) })
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		release()
		wg.Wait()
		wantErr(t, "an answer behind the deadline", err, rampart.ErrNotPending)
		if got, err := a.Get(t.Context(), p.ID); err != nil || got.Status != rampart.Expired {
			t.Errorf("%s, %v, want expired", got.Status, err)
		}
	})
}

// One call is asked about once, and the bound holds, also within one write.
func TestRequestsInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _, hold := heldQueue(t, &rampart.ApprovalOptions{MaxPending: 3})
		request(t, a, question(0))
		release := hold()
		ids, errs := make([]string, 6), make([]error, 6)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				var p rampart.Approval
				p, errs[i] = a.Request(t.Context(), question(1+i/2)) // each call twice
				ids[i] = p.ID
			})
			synctest.Wait()
		}
		release()
		wg.Wait()
		if errs[0] != nil || errs[2] != nil || ids[0] != ids[1] || ids[2] != ids[3] || ids[0] == ids[2] {
			t.Errorf("ids %q, errors %v; want one approval for each of the first two calls", ids, errs)
		}
		for _, err := range errs[4:] {
			wantErr(t, "a third call", err, rampart.ErrLimit)
		}
		if n := len(a.List(rampart.ApprovalFilter{})); n != 3 {
			t.Errorf("%d are pending, want 3", n)
		}
	})
}

func TestChainHasOneQueue(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), nil)
	_, err := rampart.NewApprovals(t.Context(), c, nil)
	wantErr(t, "a second queue", err, rampart.ErrInvalid)
	p := request(t, a, question(1)) // the refused second queue does the first no harm
	a.Close()
	b := newQueue(t, c, nil)
	a.Close() // the second Close of the first queue leaves the next one alone
	if _, err := b.Resolve(t.Context(), p.ID, yes); err != nil {
		t.Error(err)
	}
	if got, err := b.Get(t.Context(), p.ID); err != nil || got.Status != rampart.Approved {
		t.Errorf("%s, %v, want approved", got.Status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Close()
	if _, err := rampart.NewApprovals(ctx, c, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("rebuilding without time: %v", err)
	}
	newQueue(t, c, nil) // the queue that failed does not hold the chain
}

// The queue follows the log, whoever wrote to it.
func TestQueueFollowsForeignLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := memQueue(t, vfstest.New(), nil)
		foreign := func(member string) {
			t.Helper()
			e := event(0)
			e.Approval = json.RawMessage(member)
			if err := c.AppendAsQueue(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		asked := func() string {
			foreign(`{"status":"pending","expires_at":"` + time.Now().Add(time.Minute).UTC().Format(time.RFC3339) + `","credential":"n2","request_sha256":"00"}`)
			return c.Head().ID
		}
		id := asked()
		if p := a.List(rampart.ApprovalFilter{}); len(p) != 1 || p[0].ID != id || p[0].Credential != "n2" {
			t.Errorf("asked elsewhere: %v", p)
		}
		p := request(t, a, question(1))
		waited := make(chan rampart.Approval, 1)
		go func() {
			got, err := a.Wait(t.Context(), p.ID)
			if err != nil {
				t.Error(err)
			}
			waited <- got
		}()
		synctest.Wait()
		foreign(`{"id":"` + p.ID + `","status":"denied","resolved_by":"bob","credential":"n2"}`)
		if got := <-waited; got.Status != rampart.Denied || got.ResolvedBy != "bob" {
			t.Errorf("answered elsewhere: %s by %q", got.Status, got.ResolvedBy)
		}
		_, err := a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "a second answer", err, rampart.ErrNotPending)
		time.Sleep(time.Minute) // a request made elsewhere expires here
		synctest.Wait()
		if got, err := a.Get(t.Context(), id); err != nil || got.Status != rampart.Expired {
			t.Errorf("at its deadline: %s, %v", got.Status, err)
		}
		if st := a.Stats(); st.Created != 2 || st.Resolved[rampart.Denied] != 1 || st.Resolved[rampart.Expired] != 1 || st.Wait.Count != 2 {
			t.Errorf("figures: %+v", st)
		}
	})
}

// An approval line that the queue does not understand may have been a denial.
func TestQueueThatCannotFollowTakesNoChange(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), nil)
	p := request(t, a, question(1))
	e := event(0)
	e.Approval = json.RawMessage(`{"id":"` + p.ID + `","status":"vetoed"}`)
	if err := c.AppendAsQueue(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Resolve(t.Context(), p.ID, yes); !errors.Is(err, rampart.ErrFailed) || !strings.Contains(err.Error(), "vetoed") {
		t.Errorf("approved nevertheless: %v", err)
	}
	if _, err := a.Request(t.Context(), question(2)); !errors.Is(err, rampart.ErrFailed) || !strings.Contains(err.Error(), "vetoed") {
		t.Errorf("asked nevertheless: %v", err)
	}
	if _, err := c.Append(t.Context(), event(1)); err != nil {
		t.Errorf("the log goes on: %v", err)
	}
	a.Close()
	if _, err := rampart.NewApprovals(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "vetoed") {
		t.Errorf("opened again nevertheless: %v", err)
	}
}

// A server whose queue takes no change is not well.
func TestHealthOfAQueueThatCannotFollow(t *testing.T) {
	r := openRampart(t, vfstest.New(), rampart.Options{})
	health := func() int {
		rec := httptest.NewRecorder()
		r.Handler(nil).ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
		return rec.Code
	}
	if code := health(); code != 200 {
		t.Errorf("before: %d", code)
	}
	e := event(0)
	e.Approval = json.RawMessage(`{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","status":"vetoed"}`)
	if err := r.Chain.AppendAsQueue(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if code := health(); code != 503 {
		t.Errorf("after: %d, want 503", code)
	}
}

// What was asked is pending for the one who asked, however soon it ends.
func TestRequestReturnsWhatItOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _, hold := heldQueue(t, nil)
		for i := range 20 {
			release := hold()
			q := question(i)
			q.TTL = time.Millisecond
			done := make(chan rampart.Approval, 1)
			go func() { done <- request(t, a, q) }()
			synctest.Wait()
			time.Sleep(time.Second) // it expires in the moment when it is durable
			release()
			p := <-done
			if p.Status != rampart.Pending || p.ID == "" {
				t.Fatalf("asked for %s, which is %s", p.ID, p.Status)
			}
			synctest.Wait()
			got, err := a.Get(t.Context(), p.ID)
			got.Status, got.ResolvedAt = p.Status, p.ResolvedAt
			if diff := cmp.Diff(p, got); diff != "" || err != nil {
				t.Fatalf("%v (-opened +kept):\n%s", err, diff)
			}
		}
	})
}

// A disk that hangs holds up nobody who opens a queue for longer than ctx allows.
func TestNewApprovalsWaitsAsLongAsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, _, hold := heldQueue(t, nil)
		a.Close()
		release := hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := rampart.NewApprovals(ctx, c, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("on a disk that hangs: %v", err)
		}
		release()
		newQueue(t, c, nil)
	})
}
