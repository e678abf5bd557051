package rampart_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
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

// storedForms are the log's lines, with what differs from run to run replaced.
func storedForms(t testing.TB, c *rampart.AuditChain, ids ...string) []string {
	t.Helper()
	times := regexp.MustCompile(`20\d\d-[0-9T:.-]+Z`)
	var out []string
	for _, line := range all(t, c, rampart.Query{Ascending: true}) {
		line = regexp.MustCompile(`^\{"id":"\w+"|,"prev_hash".*`).ReplaceAllString(line, "")
		for i, id := range ids {
			line = strings.ReplaceAll(line, id, fmt.Sprint("ID", i))
		}
		out = append(out, times.ReplaceAllString(line, "TIME"))
	}
	return out
}

func TestApprovalEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := memQueue(t, vfstest.New(), nil)
		sum := sha256.Sum256([]byte(`{"command":"rm -rf build","n":1.0}`))
		digest := hex.EncodeToString(sum[:])

		var p [3]rampart.Approval
		for i := range p {
			q := question(i)
			q.TTL = time.Minute
			p[i] = request(t, a, q)
		}
		want := rampart.Approval{
			ID: p[0].ID, Tool: "exec", Command: "rm -rf build", Request: json.RawMessage(`{"command":"rm -rf build","n":1.0}`),
			Agent: "claude-code", Session: "myapp/main", RunID: "run_1", Message: "destructive", Status: rampart.Pending,
			CreatedAt: p[0].CreatedAt, ExpiresAt: p[0].CreatedAt.Add(time.Minute), RequestSHA256: digest,
			ToolCallID: "toolu_0", Credential: "claude-code",
		}
		if diff := cmp.Diff(want, p[0]); diff != "" {
			t.Errorf("requested (-want +got):\n%s", diff)
		}
		got, err := a.Resolve(t.Context(), p[0].ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "kim", Credential: "admin", Reason: "<ok>"})
		if err != nil {
			t.Fatal(err)
		}
		want.Status, want.ResolvedAt, want.ResolvedBy, want.Reason = rampart.Approved, got.ResolvedAt, "kim", "<ok>"
		if diff := cmp.Diff(want, got); diff != "" || got.ResolvedAt.IsZero() {
			t.Errorf("resolved (-want +got):\n%s", diff)
		}
		if got, err := a.Resolve(t.Context(), p[1].ID, no); err != nil || got.Status != rampart.Denied || got.ResolvedBy != "admin" {
			t.Errorf("resolved_by without a name is %q (%v), want the credential's", got.ResolvedBy, err)
		}
		if got, err := a.Wait(t.Context(), p[2].ID); err != nil || got.Status != rampart.Expired {
			t.Errorf("after its deadline: %v, %v", got.Status, err)
		}

		ask := func(i int) string {
			return fmt.Sprintf(`,"timestamp":"TIME","agent":"claude-code","session":"myapp/main","run_id":"run_1","tool_call_id":"toolu_%d","tool":"exec",`+
				`"request":{"command":"rm -rf build","n":1.0},"decision":{"action":"ask","matched_policies":["ask-rm"],"evaluation_time_us":0,"message":"destructive"},`+
				`"approval":{"status":"pending","expires_at":"TIME","credential":"claude-code","request_sha256":"%s"}`, i, digest)
		}
		end := func(i int, request, action, approval string) string {
			return fmt.Sprintf(`,"timestamp":"TIME","agent":"claude-code","session":"myapp/main","run_id":"run_1","tool_call_id":"toolu_%d","tool":"exec",`+
				`"request":%s,"decision":{"action":"%s","matched_policies":[],"evaluation_time_us":0},"approval":%s`, i, request, action, approval)
		}
		lines := []string{
			ask(0), ask(1), ask(2),
			end(0, `{"action":"approval_resolved","approval_id":"ID0","resolution":"approved","resolved_by":"kim","credential":"admin","reason":"<ok>","request_sha256":"`+digest+`"}`,
				"approved", `{"id":"ID0","status":"approved","resolved_by":"kim","credential":"admin","reason":"<ok>"}`),
			end(1, `{"action":"approval_resolved","approval_id":"ID1","resolution":"denied","resolved_by":"admin","credential":"admin","request_sha256":"`+digest+`"}`,
				"denied", `{"id":"ID1","status":"denied","resolved_by":"admin","credential":"admin"}`),
			end(2, `{"action":"approval_expired","approval_id":"ID2"}`,
				"expired", `{"id":"ID2","status":"expired","resolved_by":"","credential":""}`),
		}
		if diff := cmp.Diff(lines, storedForms(t, c, p[0].ID, p[1].ID, p[2].ID)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		stats := a.Stats()
		if stats.Pending != 0 || stats.Created != 3 || stats.Wait.Count != 3 ||
			!cmp.Equal(stats.Resolved, map[rampart.ApprovalStatus]uint64{rampart.Approved: 1, rampart.Denied: 1, rampart.Expired: 1}) {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestApprovalCommand(t *testing.T) {
	_, a := memQueue(t, vfstest.New(), nil)
	for request, want := range map[string]string{
		`{"command":"git push"}`:                "git push",
		`{"command":["git","push"],"path":"x"}`: "git push",
		`{"Command":"x","path":"/etc/passwd"}`:  "/etc/passwd",
		`{"command":7,"path":"/etc"}`:           "/etc",
		`{"command":["git",7]}`:                 "",
		`{}`:                                    "",
	} {
		p, err := a.Request(t.Context(), rampart.ApprovalRequest{Agent: "a", Tool: "t", Request: json.RawMessage(request)})
		if err != nil || p.Command != want {
			t.Errorf("%s: command %q (%v), want %q", request, p.Command, err, want)
		}
	}
}

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

func TestApprovalsRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		c, a := memQueue(t, fs, nil)
		var p []rampart.Approval
		for i := range 5 {
			q := question(i)
			q.TTL = time.Duration(i+1) * time.Minute
			p = append(p, request(t, a, q))
		}
		for i, r := range []rampart.Resolution{yes, {Status: rampart.Denied, ResolvedBy: "kim", Credential: "admin", Reason: "no\ud7ff"}} {
			got, err := a.Resolve(t.Context(), p[i].ID, r)
			if err != nil {
				t.Fatal(err)
			}
			p[i] = got
		}
		if err := errors.Join(a.Close(), c.Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute) // past the deadline of p[2], at p[2:]

		c = memChain(t, fs)
		a = newQueue(t, c, nil)
		ended, err := a.Get(t.Context(), p[2].ID)
		if err != nil || ended.Status != rampart.Expired {
			t.Errorf("past its deadline while closed: %v, %v", ended.Status, err)
		}
		if diff := cmp.Diff(p[3:], a.List(rampart.ApprovalFilter{})); diff != "" {
			t.Errorf("pending (-before +after):\n%s", diff)
		}
		for i, s := range []rampart.ApprovalStatus{rampart.Approved, rampart.Denied} {
			if diff := cmp.Diff(p[i:i+1], a.List(rampart.ApprovalFilter{Status: s})); diff != "" {
				t.Errorf("%s (-before +after):\n%s", s, diff)
			}
		}
		if q := question(3); request(t, a, q).ID != p[3].ID {
			t.Error("a tool_call_id that is pending from before the restart makes a second approval")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := a.Wait(t.Context(), p[3].ID); err != nil || got.Status != rampart.Approved {
				t.Errorf("a waiter that came back: %v, %v", got.Status, err)
			}
		})
		synctest.Wait()
		if _, err := a.Resolve(t.Context(), p[3].ID, yes); err != nil {
			t.Error(err)
		}
		wg.Wait()
		got, err := a.Wait(t.Context(), p[4].ID)
		if err != nil || got.Status != rampart.Expired || !got.ResolvedAt.Equal(p[4].ExpiresAt) {
			t.Errorf("expiry after a restart: %v at %v (%v), want %v", got.Status, got.ResolvedAt, err, p[4].ExpiresAt)
		}
	})
}

// A host, or an agent with its token, can record a claim, which moves nothing.
func TestForgedApprovalEventsMoveNothing(t *testing.T) {
	fs := vfstest.New()
	c, a := memQueue(t, fs, nil)
	p := request(t, a, question(1))
	forged := event(1)
	forged.Decision.Action = "approved"
	forged.Request = json.RawMessage(`{"action":"approval_resolved","approval_id":"` + p.ID + `","resolution":"approved","resolved_by":"admin","approval":{"id":"` + p.ID + `","status":"approved"}}`)
	appendOne(t, c, forged)
	ask := event(2)
	ask.Decision.Action = "ask"
	claimed := appendOne(t, c, ask)
	forged.Approval = json.RawMessage(`{"id":"` + p.ID + `","status":"approved"}`)
	_, err := c.Append(t.Context(), forged)
	wantErr(t, "append with an approval member", err, rampart.ErrInvalid)

	check := func(a *rampart.Approvals) {
		t.Helper()
		if diff := cmp.Diff([]rampart.Approval{p}, a.List(rampart.ApprovalFilter{})); diff != "" {
			t.Errorf("pending (-want +got):\n%s", diff)
		}
		_, err := a.Get(t.Context(), claimed.ID)
		wantErr(t, "a claimed ask", err, rampart.ErrNotFound)
		_, err = a.Resolve(t.Context(), claimed.ID, yes)
		wantErr(t, "resolving a claimed ask", err, rampart.ErrNotFound)
	}
	check(a)
	if err := errors.Join(a.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	_, a = memQueue(t, fs, nil)
	check(a)
}

func TestFirstResolutionInTheLogWins(t *testing.T) {
	fs := vfstest.New()
	c, a := memQueue(t, fs, nil)
	p, later := request(t, a, question(1)), request(t, a, question(2))
	if _, err := a.Resolve(t.Context(), p.ID, no); err != nil {
		t.Fatal(err)
	}
	// A second answer, as if another process had decided on an older state of the log.
	second := event(0)
	second.Approval = json.RawMessage(`{"id":"` + p.ID + `","status":"approved","resolved_by":"bob","credential":"bob"}`)
	if err := c.AppendAsQueue(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	check := func(a *rampart.Approvals) {
		t.Helper()
		if got, err := a.Get(t.Context(), p.ID); err != nil || got.Status != rampart.Denied {
			t.Errorf("two endings in the log: %v, %v, want the first", got.Status, err)
		}
	}
	check(a)
	if _, err := a.Resolve(t.Context(), later.ID, no); err != nil { // the queue keeps one, and reads the other from the log
		t.Fatal(err)
	}
	for _, keep := range []int{10, 1} {
		a.Close()
		a = newQueue(t, c, rampart.ApprovalOptions{}.WithKeepEnded(keep))
		check(a)
	}
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

// Names did not count, and a resolver's name, unlike others, may be as long as an
// event.
func TestEndedApprovalsAreBoundedInBytes(t *testing.T) {
	_, a := memQueue(t, vfstest.New(), nil)
	by := strings.Repeat("x", 500_000)
	for i := range 140 {
		p := request(t, a, question(i))
		if _, err := a.Resolve(t.Context(), p.ID, rampart.Resolution{Status: rampart.Denied, ResolvedBy: by}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.List(rampart.ApprovalFilter{Status: rampart.Denied})) * len(by); n > 64<<20 {
		t.Errorf("%d bytes are kept", n)
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
