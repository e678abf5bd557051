package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:9090", "localhost:9090", "ftp://x", "http://", "http://x/?token=s3cret", "http://x/#f", "http://x\n"} {
		_, err := client.New(base, nil)
		wantErr(t, base, err, rampart.ErrInvalid)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Error(err)
		}
	}
	_, err := client.New("http://x", &client.Options{Token: "s3cret\n"})
	if wantErr(t, "a token with its line break", err, rampart.ErrInvalid); strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestClientRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		exit := -1
		e := event(0)
		e.RunID, e.ToolCallID, e.Request = "r", "c", json.RawMessage(`{ "n" : 1.0, "big":12345678901234567890, "s":"\ud800<>" }`)
		e.Decision.Suggestions = []string{"a \"b\"\n"}
		e.Response = &rampart.Response{ExitCode: &exit, DurationMS: 5, Flags: []string{"f"}}
		id, err := site.client(adminToken).Record(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		local := appendOne(t, r.Chain, e)
		got := all(t, r.Chain, rampart.Query{Ascending: true})
		form := func(line string) string { return line[34:strings.Index(line, `"prev_hash"`)] }
		if got[0][7:33] != id || form(got[0]) != form(got[1]) || got[1][7:33] != local.ID {
			t.Errorf("over HTTP as %s\n%s\nby the chain\n%s", id, got[0], got[1])
		}

		before := time.Now().UTC()
		ids, err := site.client(agentToken).RecordAll(t.Context(), []rampart.AuditEvent{
			{Agent: "someone", Tool: "exec", Decision: rampart.Decision{Action: "allow"}},
			{Agent: "else", Tool: "exec", Decision: rampart.Decision{Action: "deny"}},
		})
		if err != nil || len(ids) != 2 {
			t.Fatal(ids, err)
		}
		saved := lastEvent(t, r.Chain)
		if saved.ID != ids[1] || saved.Agent != "claude-code" || string(saved.Request) != "{}" || !saved.Timestamp.Equal(before) {
			t.Errorf("stored %+v, want the id %s, the token's name, an empty object and the time of the call", saved, ids[1])
		}

		if ids, err := site.client(agentToken).RecordAll(t.Context(), nil); ids != nil || err != nil {
			t.Errorf("of no events: %v, %v", ids, err)
		}
		n := r.Chain.Stats().Events
		for name, bad := range map[string][]rampart.AuditEvent{
			"no tool":  {{Agent: "a", Decision: rampart.Decision{Action: "allow"}}},
			"request":  {event(0), {Agent: "a", Tool: "t", Request: json.RawMessage(`{"x":1}}`), Decision: rampart.Decision{Action: "allow"}}},
			"id":       {{ID: "x", Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "allow"}}},
			"approval": {{Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "approved"}, Approval: json.RawMessage(`{}`)}},
			"too many": make([]rampart.AuditEvent, 65537),
		} {
			_, err := site.client(adminToken).RecordAll(t.Context(), bad)
			wantErr(t, name, err, rampart.ErrInvalid)
			if name == "request" && !strings.HasPrefix(err.Error(), "rampart: invalid: event 2: request: ") {
				t.Errorf("it does not say which event is wrong, and how: %v", err)
			}
		}
		_, err = site.client("stale-token").Record(t.Context(), e)
		wantErr(t, "Record", err, rampart.ErrUnauthorized)
		if r.Chain.Stats().Events != n {
			t.Error("something was stored")
		}
	})
}

func TestClientQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		admin := site.client(adminToken)
		var events []rampart.AuditEvent
		for i := range 350 {
			e := event(i)
			e.Timestamp = e.Timestamp.Add(time.Duration(i) * time.Minute)
			e.Agent, e.Tool, e.RunID = fmt.Sprint("agent-", i%3), fmt.Sprint("tool/", i%5), []string{"", "a run", "b&c"}[i%3]
			e.Decision.Action = []string{"allow", "deny"}[i%2]
			events = append(events, e)
		}
		saved, err := r.Chain.AppendAll(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []rampart.Query{
			{},
			{Ascending: true},
			{Filter: rampart.Filter{Agent: []string{"agent-1", "agent-2"}, Action: []string{"deny"}}},
			{Filter: rampart.Filter{Tool: []string{"tool/3"}, Session: []string{"myapp/main"}}, Ascending: true},
			{Filter: rampart.Filter{RunID: []string{"b&c"}}},
			{Filter: rampart.Filter{Agent: []string{"nobody"}}},
			{Since: saved[100].Timestamp, Until: saved[300].Timestamp},
			{After: saved[10].ID, Before: saved[340].ID, Ascending: true},
			{After: saved[10].ID, Before: saved[200].ID},
		} {
			var got []string
			for line, err := range admin.Query(t.Context(), q) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(line))
			}
			if diff := cmp.Diff(all(t, r.Chain, q), got); diff != "" {
				t.Errorf("%+v (-want +got):\n%.1000s", q, diff)
			}
		}
		for range admin.Query(t.Context(), rampart.Query{}) {
			break
		}
		line, err := admin.Get(t.Context(), saved[7].ID)
		if want := all(t, r.Chain, rampart.Query{Ascending: true})[7]; err != nil || string(line) != want {
			t.Errorf("Get: %s, %v", line, err)
		}
		_, err = admin.Get(t.Context(), "../../status")
		wantErr(t, "Get of what is no id", err, rampart.ErrNotFound)

		fails := func(c *client.Client, q rampart.Query) (err error) {
			for _, err = range c.Query(t.Context(), q) {
			}
			return err
		}
		wantErr(t, "an empty value", fails(admin, rampart.Query{Filter: rampart.Filter{Agent: []string{""}}}), rampart.ErrInvalid)
		wantErr(t, "no id", fails(admin, rampart.Query{After: "x"}), rampart.ErrInvalid)
		wantErr(t, "an agent's token", fails(site.client(agentToken), rampart.Query{}), rampart.ErrUnauthorized)
	})
}

func TestClientTotalsAndDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		admin := site.client(adminToken)
		var saved []rampart.AuditEvent
		for i := range 30 {
			e := event(i)
			e.Timestamp = e.Timestamp.Add(time.Duration(i) * 2 * time.Hour)
			e.Agent, e.Decision.Action = fmt.Sprint("agent-", i%3), []string{"allow", "deny"}[i%2]
			saved = append(saved, appendOne(t, r.Chain, e))
		}
		for _, q := range []rampart.TotalsQuery{
			{},
			{Since: saved[3].Timestamp},
			{Until: saved[20].Timestamp},
			{Since: saved[3].Timestamp, Until: saved[20].Timestamp, Every: 90 * time.Minute},
		} {
			want, err := r.Chain.Totals(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := admin.Totals(t.Context(), q)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%+v: %v (-want +got):\n%s", q, err, diff)
			}
		}
		dates, err := admin.Dates(t.Context())
		if want := []string{"2026-03-05", "2026-03-04", "2026-03-03"}; err != nil || !slices.Equal(dates, want) {
			t.Errorf("dates %v, %v, want %v", dates, err, want)
		}
		for name, bad := range map[string]rampart.TotalsQuery{
			"intervals of an open range": {Every: time.Hour},
			"a negative interval":        {Since: saved[0].Timestamp, Until: saved[9].Timestamp, Every: -time.Hour},
		} {
			_, err := admin.Totals(t.Context(), bad)
			wantErr(t, name, err, rampart.ErrInvalid)
		}
		_, err = site.client(agentToken).Totals(t.Context(), rampart.TotalsQuery{})
		wantErr(t, "an agent's token", err, rampart.ErrUnauthorized)
	})
}

func TestClientApprovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		admin, agent := site.client(adminToken), site.client(agentToken)
		ctx := t.Context()

		q := question(1)
		q.TTL = 90*time.Second + time.Nanosecond
		asked, err := agent.RequestApproval(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.Approvals.Get(ctx, asked.ID)
		if err != nil || asked.Status != rampart.Pending || !asked.ExpiresAt.Equal(want.ExpiresAt) || want.ExpiresAt.Sub(want.CreatedAt) != 91*time.Second {
			t.Fatalf("asked %+v, stands %+v, %v", asked, want, err)
		}
		event := lastEvent(t, r.Chain)
		if !slices.Equal(event.Decision.MatchedPolicies, q.MatchedPolicies) || event.Decision.Message != q.Message || want.ToolCallID != q.ToolCallID {
			t.Errorf("the event: %+v", event)
		}
		sum, err := rampart.RequestSHA256(q.Request)
		if err != nil || sum != want.RequestSHA256 {
			t.Errorf("RequestSHA256: %s, %v, want %s", sum, err, want.RequestSHA256)
		}
		if again, err := agent.RequestApproval(ctx, q); err != nil || again.ID != asked.ID {
			t.Errorf("asked twice: %+v, %v", again, err)
		}
		list, err := admin.ListApprovals(ctx, rampart.Pending)
		want.ToolCallID, want.Credential = "", "" // the server does not tell them
		if diff := cmp.Diff([]rampart.Approval{want}, list); err != nil || diff != "" {
			t.Errorf("listed: %v (-want +got):\n%s", err, diff)
		}

		waited := make(chan rampart.Approval, 1)
		go func() {
			a, err := agent.WaitApproval(ctx, asked.ID)
			if err != nil {
				t.Error(err)
			}
			waited <- a
		}()
		time.Sleep(80 * time.Second) // longer than the server lets one request wait
		resolved, err := admin.ResolveApproval(ctx, asked.ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann", Reason: "fine"})
		if diff := cmp.Diff(rampart.Approval{ID: asked.ID, Status: rampart.Approved}, resolved); err != nil || diff != "" {
			t.Fatalf("resolved: %v (-want +got):\n%s", err, diff)
		}
		if a := <-waited; a.Status != rampart.Approved || a.ResolvedBy != "ann" || a.Reason != "fine" || a.RequestSHA256 != sum {
			t.Errorf("waited for %+v", a)
		}
		_, err = admin.ResolveApproval(ctx, asked.ID, no)
		wantErr(t, "a second answer", err, rampart.ErrNotPending)
		_, err = admin.ResolveApproval(ctx, asked.ID, rampart.Resolution{})
		wantErr(t, "no verdict", err, rampart.ErrInvalid)
		_, err = agent.ResolveApproval(ctx, asked.ID, yes)
		wantErr(t, "an agent's answer", err, rampart.ErrUnauthorized)
		want, err = r.Approvals.Get(ctx, asked.ID)
		if err != nil {
			t.Fatal(err)
		}
		want.ToolCallID, want.Credential = "", ""
		for name, c := range map[string]*client.Client{"admin": admin, "agent": agent} {
			got, err := c.GetApproval(ctx, asked.ID)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s gets %v (-want +got):\n%s", name, err, diff)
			}
		}
		_, err = site.client(otherToken).GetApproval(ctx, asked.ID)
		wantErr(t, "another agent's approval", err, rampart.ErrNotFound)
		_, err = site.client(otherToken).WaitApproval(ctx, asked.ID)
		wantErr(t, "another agent's approval", err, rampart.ErrNotFound)

		var pending []string
		for i := range 3 {
			a, err := agent.RequestApproval(ctx, question(10+i))
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, a.ID)
		}
		bulk := rampart.BulkResolution{Resolution: rampart.Resolution{Status: rampart.Denied, ResolvedBy: "ann"}, RunID: "run_1", IDs: pending[:2]}
		ids, err := admin.ResolveApprovals(ctx, bulk)
		if err != nil || !slices.Equal(ids, pending[:2]) {
			t.Errorf("bulk: %v, %v", ids, err)
		}
		_, err = admin.ResolveApprovals(ctx, bulk)
		wantErr(t, "bulk again", err, rampart.ErrNotPending)
		bulk.IDs = []string{}
		_, err = admin.ResolveApprovals(ctx, bulk)
		wantErr(t, "bulk of none", err, rampart.ErrInvalid)
		bulk.IDs, bulk.Status = nil, rampart.Approved
		if ids, err = admin.ResolveApprovals(ctx, bulk); err != nil || !slices.Equal(ids, pending[2:]) {
			t.Errorf("the rest: %v, %v", ids, err)
		}
		if a, err := agent.WaitApproval(ctx, pending[0]); err != nil || a.Status != rampart.Denied {
			t.Errorf("%+v, %v", a, err)
		}
		if denied, err := admin.ListApprovals(ctx, rampart.Denied); err != nil || len(denied) != 2 {
			t.Errorf("denied: %d, %v", len(denied), err)
		}

		for name, bad := range map[string]rampart.ApprovalRequest{
			"no object":   {Agent: "a", Tool: "t", Request: json.RawMessage(`{"a":1},"agent":"admin"`)},
			"not UTF-8":   {Agent: "a", Tool: "t", Message: "\xff"},
			"too long":    {Agent: "a", Tool: "t", TTL: 1000 * time.Hour},
			"no such TTL": {Agent: "a", Tool: "t", TTL: -time.Hour},
		} {
			_, err := admin.RequestApproval(ctx, bad)
			wantErr(t, name, err, rampart.ErrInvalid)
		}
		_, err = rampart.RequestSHA256(json.RawMessage(`{"a":1,"a":2}`))
		wantErr(t, "RequestSHA256", err, rampart.ErrInvalid)
	})
}

// A restart of the server does not end the wait, and is never taken for an answer.
func TestClientWaitsAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := t.TempDir()
		r := openRampart(t, fs, rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		p := request(t, r.Approvals, question(1))
		go func() {
			time.Sleep(10 * time.Second)
			site.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
			r.Close()
			time.Sleep(time.Minute)
			r = openRampart(t, fs, rampart.Options{})
			site.serve(r.Handler(testAuth()))
			time.Sleep(time.Minute)
			if _, err := r.Approvals.Resolve(context.Background(), p.ID, no); err != nil {
				t.Error(err)
			}
		}()
		a, err := site.client(agentToken).WaitApproval(t.Context(), p.ID)
		if err != nil || a.Status != rampart.Denied {
			t.Errorf("%+v, %v", a, err)
		}

		p = request(t, r.Approvals, question(2))
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		_, err = site.client(agentToken).WaitApproval(ctx, p.ID)
		wantErr(t, "until the context is done", err, context.DeadlineExceeded)
		a, err = site.client(agentToken).WaitApproval(t.Context(), p.ID)
		if err != nil || a.Status != rampart.Expired {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// A redirected POST is answered with the list of approvals, which is no approval.
func TestClientApprovalThatIsRedirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := openRampart(t, t.TempDir(), rampart.Options{}).Handler(testAuth())
		site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return
			}
			api.ServeHTTP(w, r)
		}))
		a, err := site.client(adminToken).RequestApproval(t.Context(), rampart.ApprovalRequest{Tool: "exec"})
		if err == nil {
			t.Errorf("asked: %+v", a)
		}
		site.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/v1/approvals", http.StatusFound)
				return
			}
			api.ServeHTTP(w, r)
		}))
		if a, err := site.client(adminToken).ResolveApproval(t.Context(), "01KD3V5F2R7WQX9Z4M8N6B1C0A", yes); err == nil {
			t.Errorf("resolved: %+v", a)
		}
	})
}

// The Timeout of a host's http.Client does not limit the time that a person takes.
func TestClientWaitsLongerThanRequestsMayTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		p := request(t, r.Approvals, question(1))
		c, err := client.New("http://rampart/", &client.Options{
			Token: agentToken, HTTP: &http.Client{Transport: site, Timeout: 5 * time.Second}, Logger: slog.New(slog.NewTextHandler(&site.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		answered := time.Now().Add(100 * time.Second)
		time.AfterFunc(100*time.Second, func() {
			if _, err := r.Approvals.Resolve(context.Background(), p.ID, yes); err != nil {
				t.Error(err)
			}
		})
		if a, err := c.WaitApproval(t.Context(), p.ID); err != nil || a.Status != rampart.Approved || time.Since(answered) > time.Second {
			t.Errorf("%+v, %v, %v after the answer", a, err, time.Since(answered))
		}
		if site.log.String() != "" {
			t.Errorf("logged: %s", &site.log)
		}
		site.serve(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
		began := time.Now()
		if _, err := c.Status(t.Context()); err == nil || time.Since(began) != 5*time.Second {
			t.Errorf("another call: %v after %v", err, time.Since(began))
		}
	})
}

func TestClientVerifiesAndAsksForTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{Version: "1.2.3"})
		admin := newRemote(t, r.Handler(testAuth())).client(adminToken)
		saved := appendN(t, r.Chain, 20)
		want, err := r.Chain.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []rampart.Anchor{{}, {ID: saved[3].ID, Hash: saved[3].Hash}, {ID: saved[3].ID}} {
			got, err := admin.Verify(t.Context(), a)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%+v: %v (-want +got):\n%s", a, err, diff)
			}
		}
		lie := rampart.Anchor{ID: saved[3].ID, Hash: saved[4].Hash}
		want, err = r.Chain.Verify(t.Context(), lie)
		if err != nil {
			t.Fatal(err)
		}
		got, err := admin.Verify(t.Context(), lie)
		if diff := cmp.Diff(want, got); err != nil || diff != "" || got.Verdict != rampart.VerdictTruncated {
			t.Errorf("of an anchor that lies beside: %v (-want +got):\n%s", err, diff)
		}
		_, err = admin.Verify(t.Context(), rampart.Anchor{ID: "x"})
		wantErr(t, "Verify", err, rampart.ErrInvalid)

		s, err := admin.Status(t.Context())
		if err != nil || s.Version != "1.2.3" || s.Events != 20 || s.Head != r.Chain.Head() || s.Sync != rampart.SyncAlways || s.LastVerify == nil || s.LastVerify.OK {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func TestClientSaysWhatTheServerSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(status int, body string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, body)
			}
		}
		for name, c := range map[string]struct {
			h    http.HandlerFunc
			want error
			says string
		}{
			"the server's words": {answer(400, `{"error":"limit is a whole number"}`), rampart.ErrInvalid, "rampart: invalid: GET /v1/status: 400 Bad Request: limit is a whole number"},
			"a full queue":       {answer(503, `{"error":"rampart: limit reached: 3 approvals wait"}`), rampart.ErrLimit, "503 Service Unavailable: 3 approvals wait"},
			"a lost log":         {answer(503, `{"error":"rampart: audit log failed: disk"}`), rampart.ErrFailed, "disk"},
			"a proxy's page":     {answer(502, `<h1>Bad Gateway</h1>`), nil, "rampart: GET /v1/status: 502 Bad Gateway"},
			"no JSON":            {answer(200, `<h1>Hello</h1>`), nil, "Rampart server"},
			"half an answer":     {answer(200, `{"version":"1`), io.ErrUnexpectedEOF, "cut off"},
			"nothing": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil,
				"rampart: GET /v1/status: no whole answer within 1m0s"},
			"half, then nothing": {func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, `{"ver`)
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}, nil, "no whole answer within 1m0s"},
			"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, io.EOF, "http://rampart/v1/status"},
		} {
			site := newRemote(t, c.h)
			_, err := site.client(adminToken).Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.says) || c.want != nil && !errors.Is(err, c.want) || strings.Contains(err.Error(), adminToken) {
				t.Errorf("%s: %v, want it to say %q", name, err, c.says)
			}
			if n := site.bodies.Load(); n != 0 {
				t.Errorf("%s: a body is left open", name)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newRemote(t, answer(200, "{}")).client(adminToken).Status(ctx)
		wantErr(t, "a context that is done", err, context.Canceled)
	})
}

// A TTL of less than a second below zero became 0, hence the server's default.
func TestRequestApprovalRefusesANegativeTTL(t *testing.T) {
	r := openRampart(t, t.TempDir(), rampart.Options{})
	c := newRemote(t, r.Handler(testAuth())).client(agentToken)
	for _, ttl := range []time.Duration{-1, -time.Hour} {
		q := question(1)
		q.TTL = ttl
		_, err := c.RequestApproval(t.Context(), q)
		wantErr(t, ttl.String(), err, rampart.ErrInvalid)
	}
	if n := r.Approvals.Stats().Created; n != 0 {
		t.Errorf("%d approvals were asked for", n)
	}
}
