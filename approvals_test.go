package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// The frames of an approval go out in this order (contract.md, "Approvals"), and
// whoever sees one finds the queue already changed.
func TestApprovalFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := newBus(t, nil)
		opts := rampart.AuditOptions{Bus: bus}
		c := openChain(t, "", opts.WithFS(vfstest.New()))
		a := newQueue(t, c, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var types []string
		var seen []rampart.ApprovalStatus
		var wg sync.WaitGroup
		wg.Go(func() {
			for e, err := range bus.Subscribe(ctx, "") {
				if err != nil {
					return
				}
				if e.Type == rampart.TypeAuditBatch && e.RunID != "run_1" {
					t.Errorf("audit_batch of run %q", e.RunID)
				}
				if e.Type == rampart.TypeAudit {
					event, err := e.Record.Event()
					if err != nil {
						t.Error(err)
					}
					id := event.ID
					if event.Decision.Action != "ask" {
						var member struct{ ID string }
						if err := json.Unmarshal(event.Approval, &member); err != nil {
							t.Error(err)
						}
						id = member.ID
					}
					p, err := a.Get(t.Context(), id)
					if err != nil {
						t.Error(err)
					}
					seen = append(seen, p.Status)
				}
				types = append(types, string(e.Type))
			}
		})
		step := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, types); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			types = nil
		}
		synctest.Wait()
		first := request(t, a, question(1))
		step("audit", "approvals")
		if _, err := a.Resolve(t.Context(), first.ID, yes); err != nil {
			t.Fatal(err)
		}
		step("audit", "approvals")
		short := question(2)
		short.TTL = time.Second
		request(t, a, short)
		time.Sleep(time.Second)
		step("audit", "approvals", "audit", "approvals")
		request(t, a, question(3))
		request(t, a, question(4))
		step("audit", "approvals", "audit", "approvals")
		if got, err := a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: no, RunID: "run_1"}); len(got) != 2 || err != nil {
			t.Fatal(got, err)
		}
		step("audit_batch", "approvals")
		if got, err := a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: no, RunID: "run_1"}); len(got) != 0 || err != nil {
			t.Fatal(got, err)
		}
		step()
		cancel()
		wg.Wait()
		want := []rampart.ApprovalStatus{rampart.Pending, rampart.Approved, rampart.Pending, rampart.Expired, rampart.Pending, rampart.Pending}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("status at the announcement (-want +got):\n%s", diff)
		}
	})
}

// A change that can't be made durable did not happen.
func TestApprovalsFailClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		bus := newBus(t, nil)
		opts := rampart.AuditOptions{Bus: bus}
		c := openChain(t, "", opts.WithFS(fs))
		a := newQueue(t, c, nil)
		p := request(t, a, question(1))
		var announced, woken atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for range bus.Subscribe(ctx, "") {
				if ctx.Err() == nil {
					announced.Add(1)
				}
			}
		})
		wg.Go(func() {
			if _, err := a.Wait(ctx, p.ID); err == nil {
				woken.Add(1)
			}
		})
		synctest.Wait()

		fs.FailAt(1, errDisk, true)
		_, err := a.Request(t.Context(), question(2))
		wantErr(t, "Request", err, errDisk)
		fs.FailAt(1, errDisk, true)
		_, err = a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "Resolve", err, errDisk)
		fs.FailAt(1, errDisk, true)
		_, err = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: "run_1"})
		wantErr(t, "ResolveAll", err, errDisk)
		fs.FailSync(1, errDisk, true)
		_, err = a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "Resolve with a failed sync", err, rampart.ErrFailed)

		synctest.Wait()
		if announced.Load() != 0 || woken.Load() != 0 {
			t.Errorf("%d messages and %d waiters woken", announced.Load(), woken.Load())
		}
		if diff := cmp.Diff([]rampart.Approval{p}, a.List(rampart.ApprovalFilter{})); diff != "" {
			t.Errorf("pending (-want +got):\n%s", diff)
		}
		cancel()
		wg.Wait()
	})
}

func TestConcurrentResolvesOneWins(t *testing.T) {
	_, a := memQueue(t, vfstest.New(), nil)
	for i := range 20 {
		p := request(t, a, question(i))
		var won atomic.Int32
		var wg sync.WaitGroup
		for j := range 8 {
			wg.Go(func() {
				r := yes
				if j%2 == 0 {
					r = no
				}
				var err error
				if j < 6 {
					_, err = a.Resolve(t.Context(), p.ID, r)
				} else {
					_, err = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: r, RunID: "run_1", IDs: []string{p.ID}})
				}
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, rampart.ErrNotPending) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d resolves won", won.Load())
		}
	}
}

func TestToolCallIsAskedOnce(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), nil)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { ids.Store(request(t, a, question(1)).ID, true) })
	}
	wg.Wait()
	if n := len(a.List(rampart.ApprovalFilter{})); n != 1 || len(all(t, c, rampart.Query{})) != 1 {
		t.Errorf("%d pending", n)
	}
	first := a.List(rampart.ApprovalFilter{})[0]
	if _, ok := ids.Load(first.ID); !ok {
		t.Error("callers were given another approval")
	}
	other := question(1)
	other.Agent = "codex"
	if request(t, a, other).ID == first.ID {
		t.Error("another agent's call is the same approval")
	}
	if _, err := a.Resolve(t.Context(), first.ID, no); err != nil {
		t.Fatal(err)
	}
	if request(t, a, question(1)).ID == first.ID {
		t.Error("a call that was answered is not asked again")
	}
	q := question(1)
	q.ToolCallID = ""
	if one, other := request(t, a, q), request(t, a, q); one.ID == other.ID {
		t.Error("calls without an id are one approval")
	}
}

func TestApprovalRequestRefused(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), nil)
	for name, change := range map[string]func(*rampart.ApprovalRequest){
		"negative TTL":   func(r *rampart.ApprovalRequest) { r.TTL = -1 },
		"30 days":        func(r *rampart.ApprovalRequest) { r.TTL = 30*24*time.Hour + 1 },
		"no tool":        func(r *rampart.ApprovalRequest) { r.Tool = "" },
		"no agent":       func(r *rampart.ApprovalRequest) { r.Agent = "" },
		"4 KiB":          func(r *rampart.ApprovalRequest) { r.Session = strings.Repeat("x", 4097) },
		"request: byte":  func(r *rampart.ApprovalRequest) { r.Request = json.RawMessage(`{"a":1,"a":2}`) },
		"request: byte ": func(r *rampart.ApprovalRequest) { r.Request = json.RawMessage(`[]`) },
		"credential":     func(r *rampart.ApprovalRequest) { r.Credential = "\xff" },
		"message":        func(r *rampart.ApprovalRequest) { r.Message = "\xff" },
	} {
		q := question(1)
		change(&q)
		_, err := a.Request(t.Context(), q)
		wantErr(t, name, err, rampart.ErrInvalid)
	}
	_, err := a.Request(t.Context(), rampart.ApprovalRequest{Agent: "a", Tool: "t", TTL: 31 * 24 * time.Hour})
	if err == nil || !strings.Contains(err.Error(), "30 days") {
		t.Errorf("the limit is not in %v", err)
	}
	for _, status := range []rampart.ApprovalStatus{"", rampart.Pending, rampart.Expired, "Approved", "allow"} {
		p := request(t, a, question(1))
		_, err := a.Resolve(t.Context(), p.ID, rampart.Resolution{Status: status, Credential: "admin"})
		wantErr(t, "Resolve with "+string(status), err, rampart.ErrInvalid)
		_, err = a.ResolveAll(t.Context(), rampart.BulkResolution{RunID: "run_1", Resolution: rampart.Resolution{Status: status}})
		wantErr(t, "ResolveAll with "+string(status), err, rampart.ErrInvalid)
	}
	if n := len(all(t, c, rampart.Query{})); n != 1 {
		t.Errorf("%d events, want the one question", n)
	}
	for _, o := range []rampart.ApprovalOptions{{TTL: -1}, {TTL: 31 * 24 * time.Hour}, {MaxPending: -1}} {
		_, err := rampart.NewApprovals(t.Context(), c, &o)
		wantErr(t, fmt.Sprintf("%+v", o), err, rampart.ErrInvalid)
	}
}

// The longest names still leave room for the event that ends the approval.
func TestLongestApprovalCanEnd(t *testing.T) {
	_, a := memQueue(t, vfstest.New(), nil)
	long := strings.Repeat("\x01", 4096)
	q := rampart.ApprovalRequest{Agent: long, Session: long, RunID: long, ToolCallID: long, Tool: long, Credential: long}
	p := request(t, a, q)
	if _, err := a.Resolve(t.Context(), p.ID, yes); err != nil {
		t.Error(err)
	}
}

func TestApprovalLimits(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), rampart.ApprovalOptions{MaxPending: 2}.WithKeepEnded(2))
	var p []rampart.Approval
	for i := range 6 {
		if i >= 2 {
			_, err := a.Request(t.Context(), question(i))
			wantErr(t, "beyond MaxPending", err, rampart.ErrLimit)
			got, err := a.Resolve(t.Context(), p[i-2].ID, no)
			if err != nil {
				t.Fatal(err)
			}
			p[i-2] = got
		}
		p = append(p, request(t, a, question(i)))
	}
	for _, name := range []string{"grown", "rebuilt"} {
		if name == "rebuilt" {
			a.Close()
			a = newQueue(t, c, rampart.ApprovalOptions{}.WithKeepEnded(2))
		}
		if diff := cmp.Diff(p[2:4], a.List(rampart.ApprovalFilter{Status: rampart.Denied})); diff != "" {
			t.Errorf("%s: kept in memory (-want +got):\n%s", name, diff)
		}
		got, err := a.Get(t.Context(), p[0].ID)
		if diff := cmp.Diff(p[0], got); diff != "" || err != nil {
			t.Errorf("%s: read from the log (-want +got): %v\n%s", name, err, diff)
		}
		if got, err := a.Wait(t.Context(), p[0].ID); err != nil || got.Status != rampart.Denied {
			t.Errorf("%s: waiting for it: %v, %v", name, got.Status, err)
		}
		_, err = a.Resolve(t.Context(), p[0].ID, yes)
		wantErr(t, name+": resolving it again", err, rampart.ErrNotPending)
	}
	for _, id := range []string{"", "x", "01ARZ3NDEKTSV4RRFFQ69G5FAV", all(t, c, rampart.Query{Filter: rampart.Filter{Action: []string{"denied"}}})[0][7:33]} {
		_, err := a.Get(t.Context(), id)
		wantErr(t, "Get of "+id, err, rampart.ErrNotFound)
		_, err = a.Wait(t.Context(), id)
		wantErr(t, "Wait for "+id, err, rampart.ErrNotFound)
	}
}

func TestResolveAll(t *testing.T) {
	c, a := memQueue(t, vfstest.New(), nil)
	var id []string
	for i, of := range []struct{ agent, session, run string }{
		{"a", "s", "r"}, {"a", "s", "r"}, {"b", "s", "r"}, {"a", "t", "r"}, {"a", "s", "other"}, {"a", "s", "r"},
	} {
		q := question(i)
		q.Agent, q.Session, q.RunID = of.agent, of.session, of.run
		id = append(id, request(t, a, q).ID)
	}
	if _, err := a.Resolve(t.Context(), id[5], no); err != nil {
		t.Fatal(err)
	}
	const unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	before := len(all(t, c, rampart.Query{}))
	for _, refused := range []struct {
		bulk rampart.BulkResolution
		want error
	}{
		{rampart.BulkResolution{}, rampart.ErrInvalid},
		{rampart.BulkResolution{RunID: "r", IDs: []string{}}, rampart.ErrInvalid},
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[0], id[0]}}, rampart.ErrInvalid},
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[0], id[5]}}, rampart.ErrNotPending},
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[0], id[4]}}, rampart.ErrNotPending},
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[0], unknown}}, rampart.ErrNotPending},
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[0]}, Agent: "b"}, nil},
		{rampart.BulkResolution{RunID: "r", Session: "nowhere"}, nil},
		{rampart.BulkResolution{RunID: "nowhere"}, nil},
	} {
		refused.bulk.Resolution = yes
		got, err := a.ResolveAll(t.Context(), refused.bulk)
		if !errors.Is(err, refused.want) || len(got) != 0 {
			t.Errorf("%+v: %v, %v, want %v", refused.bulk, got, err, refused.want)
		}
	}
	if n := len(all(t, c, rampart.Query{})); n != before || len(a.List(rampart.ApprovalFilter{})) != 5 {
		t.Fatalf("%d events were written, %v", n-before, statuses(a))
	}
	for _, taken := range []struct {
		bulk rampart.BulkResolution
		want []string
	}{
		{rampart.BulkResolution{RunID: "r", IDs: []string{id[1]}}, id[1:2]},
		{rampart.BulkResolution{RunID: "r", Agent: "a", Session: "s"}, id[0:1]},
		{rampart.BulkResolution{RunID: "r"}, id[2:4]},
	} {
		taken.bulk.Resolution = yes
		got, err := a.ResolveAll(t.Context(), taken.bulk)
		var ids []string
		for _, p := range got {
			if p.Status != rampart.Approved || p.ResolvedBy != "admin" {
				t.Errorf("%+v", p)
			}
			ids = append(ids, p.ID)
		}
		if err != nil || !slices.Equal(ids, taken.want) {
			t.Errorf("%+v: %v, %v, want %v", taken.bulk, ids, err, taken.want)
		}
	}
	if got := a.List(rampart.ApprovalFilter{}); len(got) != 1 || got[0].ID != id[4] {
		t.Errorf("still pending: %v", got)
	}
}

func TestApprovalsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := memQueue(t, vfstest.New(), nil)
		p := request(t, a, question(1))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := a.Wait(t.Context(), p.ID)
				wantErr(t, "Wait", err, rampart.ErrClosed)
			})
		}
		synctest.Wait()
		for range 2 {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		_, err := a.Request(t.Context(), question(2))
		wantErr(t, "Request", err, rampart.ErrClosed)
		_, err = a.Resolve(t.Context(), p.ID, yes)
		wantErr(t, "Resolve", err, rampart.ErrClosed)
		_, err = a.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: "run_1"})
		wantErr(t, "ResolveAll", err, rampart.ErrClosed)
		_, err = a.Get(t.Context(), p.ID)
		wantErr(t, "Get", err, rampart.ErrClosed)
		if n := len(all(t, c, rampart.Query{})); n != 1 {
			t.Errorf("closing wrote %d events", n-1)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := memQueue(t, vfstest.New(), nil)
		p := request(t, a, question(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Wait(ctx, p.ID)
		wantErr(t, "Wait", err, context.DeadlineExceeded)
		if got := statuses(a)[p.ID]; got != rampart.Pending {
			t.Errorf("then it is %s", got)
		}
	})
}
