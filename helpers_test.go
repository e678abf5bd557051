package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/logtest"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// openChain opens a chain that is closed and verified when the test ends.
func openChain(t testing.TB, dir string, opts *rampart.AuditOptions) *rampart.AuditChain {
	t.Helper()
	c, err := rampart.OpenAuditChain(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.Err() == nil {
			if r, err := c.Verify(context.Background()); err != nil || !r.OK() {
				t.Errorf("at the end of the test the log does not verify: %+v %v", r, err)
			}
		}
		if err := c.Close(); err != nil && !errors.Is(err, rampart.ErrFailed) {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

var errDisk = errors.New("input/output error")

func memChain(t testing.TB, fs *vfstest.FS) *rampart.AuditChain {
	t.Helper()
	return openChain(t, "", rampart.AuditOptions{}.WithSegmentSize(3000).WithFS(fs))
}

func event(i int) rampart.AuditEvent {
	return rampart.AuditEvent{
		Timestamp: time.Date(2026, 3, 3, 10, 15, 30, i, time.UTC),
		Agent:     "claude-code", Session: "myapp/main", Tool: "exec",
		Request:  json.RawMessage(fmt.Sprintf(`{"command":"git status","n":%d}`, i)),
		Decision: rampart.Decision{Action: "allow", MatchedPolicies: []string{"allow-git"}, EvaluationTimeUS: 8, Message: "git command allowed"},
	}
}

func appendN(t testing.TB, c *rampart.AuditChain, n int) []rampart.AuditEvent {
	t.Helper()
	var out []rampart.AuditEvent
	for i := range n {
		e, err := c.Append(t.Context(), event(i))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// varied fills c with events that differ in every indexed field, in batches,
// with timestamps that mostly rise.
func varied(t testing.TB, c *rampart.AuditChain, rnd *rand.Rand, n int) []rampart.AuditEvent {
	t.Helper()
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	at := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	var out []rampart.AuditEvent
	for len(out) < n {
		var batch []rampart.AuditEvent
		for range 1 + rnd.IntN(40) {
			at = at.Add(time.Duration(rnd.IntN(600)-60) * time.Second)
			e := event(len(out))
			e.Timestamp = at
			e.Agent = pick("claude-code", "codex", "a\"b\u2028", "gemini")
			e.Session = pick("", "x", "y/main")
			e.Tool = pick("exec", "read", "write")
			e.RunID = pick("", "run_1", "run_2")
			e.Decision.Action = pick("allow", "allow", "allow", "deny", "ask")
			batch = append(batch, e)
		}
		saved, err := c.AppendAll(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, saved...)
	}
	return out
}

func all(t testing.TB, c *rampart.AuditChain, q rampart.Query) []string {
	t.Helper()
	var out []string
	for r, err := range c.Query(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(r))
	}
	return out
}

// plain answers a query by a loop over all events.
func plain(events []rampart.AuditEvent, q rampart.Query) (ids []string) {
	in := func(v string, want []string) bool { return len(want) == 0 || slices.Contains(want, v) }
	for _, e := range events {
		if in(e.Agent, q.Agent) && in(e.Session, q.Session) && in(e.Tool, q.Tool) && in(e.Decision.Action, q.Action) && in(e.RunID, q.RunID) &&
			(q.Since.IsZero() || !e.Timestamp.Before(q.Since)) && (q.Until.IsZero() || e.Timestamp.Before(q.Until)) &&
			e.ID > q.After && (q.Before == "" || e.ID < q.Before) {
			ids = append(ids, e.ID)
		}
	}
	if !q.Ascending {
		slices.Reverse(ids)
	}
	return ids
}

func ids(t testing.TB, c *rampart.AuditChain, q rampart.Query) (ids []string) {
	t.Helper()
	for _, r := range all(t, c, q) {
		ids = append(ids, rampart.Record(r).ID())
	}
	return ids
}

// everyOf counts the intervals of Totals, with a loop over all events for each.
func everyOf(events []rampart.AuditEvent, since, until time.Time, every time.Duration) []rampart.Interval {
	out := []rampart.Interval{}
	for from := since; from.Before(until); from = from.Add(every) {
		i := rampart.Interval{From: from.UTC(), ByAction: map[string]uint64{}}
		for _, e := range events {
			if !e.Timestamp.Before(from) && e.Timestamp.Before(from.Add(every)) && e.Timestamp.Before(until) {
				i.Events++
				i.ByAction[e.Decision.Action]++
			}
		}
		out = append(out, i)
	}
	return out
}

// soon is after every event that a test appends.
func soon() time.Time { return time.Now().Add(time.Hour) }

func prune(t testing.TB, c *rampart.AuditChain, before time.Time) uint64 {
	t.Helper()
	n, err := c.Prune(context.Background(), before)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func verified(t testing.TB, c *rampart.AuditChain, anchors ...rampart.Anchor) rampart.Report {
	t.Helper()
	r, err := c.Verify(context.Background(), anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	adminToken = "admin-token-4f1c"
	agentToken = "agent-token-9b2e"
	otherToken = "other-token-77aa"
)

func testAuth() *rampart.Auth {
	return &rampart.Auth{AdminToken: adminToken, AgentTokens: map[string]string{"claude-code": agentToken, "codex": otherToken}}
}

// openRampart opens everything over a directory in memory.
func openRampart(t testing.TB, fs *vfstest.FS, opts rampart.Options) *rampart.Rampart {
	t.Helper()
	opts.Audit = *opts.Audit.WithSegmentSize(3000).WithFS(fs)
	r, err := rampart.Open("", &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// web is a handler and the token it is called with.
type web struct {
	t     testing.TB
	h     http.Handler
	token string
}

func newWeb(t testing.TB, auth *rampart.Auth) (*rampart.Rampart, *web) {
	t.Helper()
	r := openRampart(t, vfstest.New(), rampart.Options{Version: "1.2.3"})
	return r, &web{t, r.Handler(auth), adminToken}
}

func (w *web) as(token string) *web { return &web{w.t, w.h, token} }

// send sends a request with header name, value pairs.
func (w *web) send(method, target, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	req := httptest.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, req)
	return rec
}

// expect sends a request and compares the answer's status, and its body when
// one is given.
func (w *web) expect(status int, want, method, target, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := w.send(method, target, body, header...)
	if rec.Code != status {
		w.t.Errorf("%s %s %.200s: %d %.300s, want %d", method, target, body, rec.Code, rec.Body, status)
	} else if want != "" && strings.TrimSuffix(rec.Body.String(), "\n") != want {
		w.t.Errorf("%s %s: body (-want +got):\n%s", method, target, cmp.Diff(want, strings.TrimSuffix(rec.Body.String(), "\n")))
	}
	return rec
}

func lastEvent(t testing.TB, c *rampart.AuditChain) rampart.AuditEvent {
	t.Helper()
	for r, err := range c.Query(context.Background(), rampart.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Event()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Fatal("the log is empty")
	return rampart.AuditEvent{}
}

// newQueue returns a queue that is closed when the test ends.
func newQueue(t testing.TB, c *rampart.AuditChain, opts *rampart.ApprovalOptions) *rampart.Approvals {
	t.Helper()
	a, err := rampart.NewApprovals(context.Background(), c, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func memQueue(t testing.TB, fs *vfstest.FS, opts *rampart.ApprovalOptions) (*rampart.AuditChain, *rampart.Approvals) {
	t.Helper()
	c := memChain(t, fs)
	return c, newQueue(t, c, opts)
}

func question(i int) rampart.ApprovalRequest {
	return rampart.ApprovalRequest{
		Agent: "claude-code", Session: "myapp/main", RunID: "run_1", ToolCallID: fmt.Sprint("toolu_", i), Tool: "exec",
		Request: json.RawMessage(`{ "command": "rm -rf build" , "n": 1.0 }`), Message: "destructive",
		MatchedPolicies: []string{"ask-rm"}, Credential: "claude-code",
	}
}

func request(t testing.TB, a *rampart.Approvals, r rampart.ApprovalRequest) rampart.Approval {
	t.Helper()
	p, err := a.Request(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func statuses(a *rampart.Approvals) map[string]rampart.ApprovalStatus {
	out := map[string]rampart.ApprovalStatus{}
	for _, s := range []rampart.ApprovalStatus{rampart.Pending, rampart.Approved, rampart.Denied, rampart.Expired} {
		for _, p := range a.List(rampart.ApprovalFilter{Status: s}) {
			out[p.ID] = s
		}
	}
	return out
}

var (
	yes = rampart.Resolution{Status: rampart.Approved, Credential: "admin"}
	no  = rampart.Resolution{Status: rampart.Denied, Credential: "admin"}
)

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

const approvalsFrame = "data: {\"type\":\"approvals\"}\n\n"

func connectedFrame(id string) string {
	return "data: {\"type\":\"connected\"}\nid: " + id + "\n\n"
}

func auditFrame(t testing.TB, c *rampart.AuditChain, e rampart.AuditEvent) string {
	t.Helper()
	rec, err := c.Get(context.Background(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	return "data: {\"type\":\"audit\",\"event\":" + string(rec) + "}\nid: " + position(e) + "\n\n"
}

func auditFrames(t testing.TB, c *rampart.AuditChain, events []rampart.AuditEvent) []string {
	t.Helper()
	var out []string
	for _, e := range events {
		out = append(out, auditFrame(t, c, e))
	}
	return out
}

func batchFrame(run, id string) string {
	return "data: {\"type\":\"audit_batch\",\"run_id\":\"" + run + "\"}\nid: " + id + "\n\n"
}

// The files of a log, as others find and change them.
var (
	glob     = logtest.Glob
	segments = logtest.Segments
	files    = logtest.Files
	write    = logtest.Write
	edit     = logtest.Edit
)
