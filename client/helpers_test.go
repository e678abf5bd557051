package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
	"github.com/rampartlog/rampart/internal/pipetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminToken = "admin-token-4f1c"
	agentToken = "agent-token-9b2e"
	otherToken = "other-token-77aa"
)

func testAuth() *rampart.Auth {
	return &rampart.Auth{AdminToken: adminToken, AgentTokens: map[string]string{"claude-code": agentToken, "codex": otherToken}}
}

// openRampart opens everything over the log in dir, and closes it when the test
// ends.
func openRampart(t testing.TB, dir string, opts rampart.Options) *rampart.Rampart {
	t.Helper()
	r, err := rampart.Open(dir, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func event(i int) rampart.AuditEvent {
	return rampart.AuditEvent{
		Timestamp: time.Date(2026, 3, 3, 10, 15, 30, i, time.UTC),
		Agent:     "claude-code", Session: "myapp/main", Tool: "exec",
		Request:  json.RawMessage(fmt.Sprintf(`{"command":"git status","n":%d}`, i)),
		Decision: rampart.Decision{Action: "allow", MatchedPolicies: []string{"allow-git"}, EvaluationTimeUS: 8, Message: "git command allowed"},
	}
}

// oversize is an event that is too long for a message of the stream.
func oversize() rampart.AuditEvent {
	e := event(0)
	e.Request = []byte(`{"x":"` + strings.Repeat("x", 61<<10) + `"}`)
	return e
}

func appendOne(t testing.TB, c *rampart.AuditChain, e rampart.AuditEvent) rampart.AuditEvent {
	t.Helper()
	saved, err := c.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func appendN(t testing.TB, c *rampart.AuditChain, n int) (out []rampart.AuditEvent) {
	t.Helper()
	for i := range n {
		out = append(out, appendOne(t, c, event(i)))
	}
	return out
}

// all returns the stored lines that q selects.
func all(t testing.TB, c *rampart.AuditChain, q rampart.Query) (out []string) {
	t.Helper()
	for r, err := range c.Query(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(r))
	}
	return out
}

func lastEvent(t testing.TB, c *rampart.AuditChain) rampart.AuditEvent {
	t.Helper()
	lines := all(t, c, rampart.Query{Ascending: true})
	if len(lines) == 0 {
		t.Fatal("the log is empty")
	}
	return parsed(t, lines[len(lines)-1])
}

func parsed(t testing.TB, line string) rampart.AuditEvent {
	t.Helper()
	e, err := rampart.Record(line).Event()
	if err != nil {
		t.Fatal(err)
	}
	return e
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

// position returns the position after e.
func position(e rampart.AuditEvent) string { return e.ID + "." + e.Hash[:16] }

// Messages as the stream has them.

const approvalsFrame = "data: {\"type\":\"approvals\"}\n\n"

func connectedFrame(id string) string {
	return "data: {\"type\":\"connected\"}\nid: " + id + "\n\n"
}

func auditFrame(t testing.TB, c *rampart.AuditChain, e rampart.AuditEvent) string {
	t.Helper()
	line, err := c.Get(context.Background(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	return "data: {\"type\":\"audit\",\"event\":" + string(line) + "}\nid: " + position(e) + "\n\n"
}

func batchFrame(run, id string) string {
	return "data: {\"type\":\"audit_batch\",\"run_id\":\"" + run + "\"}\nid: " + id + "\n\n"
}

// remote is a server in memory whose handler can be exchanged. As a
// RoundTripper it sends requests to that server, and counts them and the bodies
// that nobody closes.
type remote struct {
	t         testing.TB
	transport *http.Transport
	log       bytes.Buffer // of the clients; read it only once they have ended
	opened    atomic.Int64 // requests for the stream
	bodies    atomic.Int64 // answers whose bodies are not closed

	mu      sync.Mutex
	handler http.Handler
}

func newRemote(t testing.TB, h http.Handler) *remote {
	t.Helper()
	l := pipetest.Listen(pipetest.Addr("127.0.0.1:9090"))
	r := &remote{t: t, handler: h, transport: &http.Transport{DialContext: l.Dial}}
	srv := &http.Server{Handler: r}
	go srv.Serve(l)
	t.Cleanup(func() {
		r.transport.CloseIdleConnections()
		srv.Close()
	})
	return r
}

func (r *remote) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if strings.HasSuffix(req.URL.Path, "/stream") {
		r.opened.Add(1)
	}
	r.mu.Lock()
	h := r.handler
	r.mu.Unlock()
	h.ServeHTTP(w, req)
}

func (r *remote) serve(h http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handler = h
}

func (r *remote) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.transport.RoundTrip(req)
	if err == nil {
		r.bodies.Add(1)
		resp.Body = &countedBody{ReadCloser: resp.Body, open: &r.bodies}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	open *atomic.Int64
	once sync.Once
}

func (b *countedBody) Close() error {
	b.once.Do(func() { b.open.Add(-1) })
	return b.ReadCloser.Close()
}

func (r *remote) client(token string) *client.Client {
	r.t.Helper()
	c, err := client.New("http://rampart/", &client.Options{
		Token: token, HTTP: &http.Client{Transport: r}, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// follower reads a client's events one after the other.
type follower struct {
	t    testing.TB
	next func() (rampart.Event, error, bool)
}

func (r *remote) follow(ctx context.Context, after string) *follower {
	next, stop := iter.Pull2(r.client(adminToken).Events(ctx, after))
	r.t.Cleanup(stop)
	return &follower{r.t, next}
}

// expect compares the next events, in the form of say, with those wanted.
func (f *follower) expect(want ...string) {
	f.t.Helper()
	for _, w := range want {
		e, err, ok := f.next()
		if err != nil || !ok || say(e) != w {
			f.t.Fatalf("got %s (%v, %v), want %s", say(e), err, ok, w)
		}
	}
}

func (f *follower) fails() error {
	f.t.Helper()
	e, err, _ := f.next()
	if err == nil {
		f.t.Fatalf("got %s, want an error", say(e))
	}
	if _, _, more := f.next(); more {
		f.t.Error("the error is not the last that comes")
	}
	return err
}

func (f *follower) witness(verdict rampart.Verdict, seen, resume string) {
	f.t.Helper()
	err := f.fails()
	var w *client.WitnessError
	if !errors.As(err, &w) || w.Verdict != verdict || w.Seen != seen || w.Resume != resume {
		f.t.Errorf("got %v (%+v), want the verdict %q, seen %s, resume %s", err, w, verdict, seen, resume)
	}
}

func say(e rampart.Event) string {
	if e.Type == rampart.TypeAudit {
		return "audit " + e.ID + " " + string(e.Record)
	}
	return strings.TrimSpace(fmt.Sprint(e.Type, " ", e.ID))
}

func connected(after string) string { return "connected " + after }

// audits returns stored events in the form of say.
func audits(t testing.TB, c *rampart.AuditChain, events ...rampart.AuditEvent) (out []string) {
	t.Helper()
	for _, e := range events {
		line, err := c.Get(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, "audit "+position(e)+" "+string(line))
	}
	return out
}
