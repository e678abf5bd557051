package rampart_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
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
