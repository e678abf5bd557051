package rampart_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestNobodyGetsInWithoutAuth(t *testing.T) {
	for _, auth := range []*rampart.Auth{nil, {}} {
		_, w := newWeb(t, auth)
		for _, token := range []string{"", "x"} {
			w.as(token).expect(401, "", "GET", "/v1/status", "")
			w.as(token).expect(401, "", "HEAD", "/v1/events/stream?token=", "")
		}
	}
}

// Every route of contract.md, and who may use it.
func TestScopes(t *testing.T) {
	_, w := newWeb(t, testAuth())
	for _, route := range []string{
		"GET /v1/status", "POST /v1/events/ticket", "HEAD /v1/events/stream",
		"GET /v1/audit/events", "GET /v1/audit/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /v1/audit/dates",
		"GET /v1/audit/stats", "GET /v1/audit/export", "GET /v1/audit/verify",
		"GET /v1/approvals", "POST /v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", "POST /v1/approvals/bulk-resolve",
		"POST /v1/audit/events agent", "POST /v1/approvals agent", "GET /v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV agent",
	} {
		f := strings.Fields(route)
		w.as("").expect(401, "", f[0], f[1], "")
		w.as("x").expect(401, "", f[0], f[1], "")
		if rec := w.send(f[0], f[1], ""); rec.Code == 401 || rec.Code == 403 {
			t.Errorf("admin: %s: %d", route, rec.Code)
		}
		rec := w.as(agentToken).send(f[0], f[1], "")
		if may := len(f) == 3; may == (rec.Code == 403) || rec.Code == 401 {
			t.Errorf("agent: %s: %d", route, rec.Code)
		}
	}
	w.as("").expect(200, "", "GET", "/healthz", "")
}

func TestQueryTokenOpensTheStreamAlone(t *testing.T) {
	_, w := newWeb(t, testAuth())
	w.token = ""
	w.expect(200, "", "HEAD", "/v1/events/stream?token="+adminToken, "")
	w.expect(401, "", "HEAD", "/v1/events/stream?token=x", "")
	w.expect(401, "", "HEAD", "/v1/events/stream?token=x&token="+adminToken, "")
	w.expect(403, "", "HEAD", "/v1/events/stream?token="+agentToken, "")
	w.expect(200, "", "HEAD", "/v1/events/stream?token="+adminToken, "", "Authorization", "Basic YTpi")
	w.expect(401, "", "HEAD", "/v1/events/stream?token="+adminToken, "", "Authorization", "Bearer x")
	w.expect(401, "", "GET", "/v1/status?token="+adminToken, "")
	w.expect(401, "", "POST", "/v1/events/ticket?token="+adminToken, "")
}

func TestStreamThroughHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		site := newSite(t, w.h, nil)
		resp := site.do("GET", "?token="+adminToken+"&type=audit")
		want := http.Header{"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "X-Accel-Buffering": {"no"}}
		resp.Header.Del("Date")
		if diff := cmp.Diff(want, resp.Header); resp.StatusCode != 200 || diff != "" {
			t.Errorf("%s (-want +got):\n%s", resp.Status, diff)
		}
		watcher := site.watch("?type=audit", "Authorization", "Bearer "+adminToken)
		watcher.expect(connectedFrame("0"))
		request(t, r.Approvals, question(1))
		watcher.expect(auditFrame(t, r.Chain, lastEvent(t, r.Chain)))
	})
}

func TestAgentSpeaksForItselfAlone(t *testing.T) {
	r, w := newWeb(t, testAuth())
	agent, other := w.as(agentToken), w.as(otherToken)
	agent.expect(201, "", "POST", "/v1/audit/events", `{"agent":"codex","tool":"exec","decision":{"action":"allow"}}`)
	if e := lastEvent(t, r.Chain); e.Agent != "claude-code" {
		t.Errorf("an agent's event is by %q", e.Agent)
	}
	agent.expect(201, "", "POST", "/v1/approvals", `{"agent":"codex","tool":"exec","command":"ls"}`)
	p := r.Approvals.List(rampart.ApprovalFilter{})[0]
	if p.Agent != "claude-code" || p.Credential != "claude-code" {
		t.Errorf("an agent's approval is by %q with credential %q", p.Agent, p.Credential)
	}
	agent.expect(200, "", "GET", "/v1/approvals/"+p.ID, "")
	w.expect(200, "", "GET", "/v1/approvals/"+p.ID, "")
	for _, wait := range []string{"", "?wait=60s"} {
		rec := other.expect(404, "", "GET", "/v1/approvals/"+p.ID+wait, "")
		unknown := other.expect(404, "", "GET", "/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV"+wait, "")
		if got := strings.ReplaceAll(rec.Body.String(), p.ID, "01ARZ3NDEKTSV4RRFFQ69G5FAV"); got != unknown.Body.String() {
			t.Errorf("another agent's approval is told from one that is not there: %s", got)
		}
	}
	w.expect(201, "", "POST", "/v1/audit/events", `{"agent":"codex","tool":"exec","decision":{"action":"allow"}}`)
	if e := lastEvent(t, r.Chain); e.Agent != "codex" {
		t.Errorf("the admin's event is by %q", e.Agent)
	}
	w.expect(400, "", "POST", "/v1/audit/events", `{"tool":"exec","decision":{"action":"allow"}}`)
	w.expect(400, "", "POST", "/v1/approvals", `{"tool":"exec","command":"ls"}`)
	agent.expect(400, "", "POST", "/v1/audit/events", `{"tool":"exec","decision":{"action":"approved"},"approval":{"id":"`+p.ID+`","status":"approved"}}`)
	agent.expect(403, "", "POST", "/v1/approvals/"+p.ID+"/resolve", `{"approved":true}`)
	agent.expect(403, "", "POST", "/v1/approvals/bulk-resolve", `{"run_id":"r","action":"approve"}`)
	if got := r.Approvals.List(rampart.ApprovalFilter{}); len(got) != 1 {
		t.Errorf("pending: %v", got)
	}
}

func TestTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := newWeb(t, testAuth())
		rec := w.expect(200, "", "POST", "/v1/events/ticket", "")
		var ticket, expires string
		body := strings.NewReplacer(`"`, " ", ",", " ").Replace(rec.Body.String())
		if _, err := fmt.Sscanf(body, "{ token : %s expires_at : %s }", &ticket, &expires); err != nil {
			t.Fatal(rec.Body, err)
		}
		if at, err := time.Parse(time.RFC3339, expires); err != nil || !at.Equal(time.Now().Add(time.Hour)) || len(ticket) != 43 {
			t.Fatalf("ticket %q of %d characters, expires %v", ticket, len(ticket), at)
		}
		w.token = ""
		for range 2 {
			w.expect(200, "", "HEAD", "/v1/events/stream?token="+ticket, "")
		}
		w.expect(403, "", "GET", "/v1/approvals", "", "Authorization", "Bearer "+ticket)
		w.expect(403, "", "POST", "/v1/events/ticket", "", "Authorization", "Bearer "+ticket)
		w.expect(403, "", "POST", "/v1/audit/events", "{}", "Authorization", "Bearer "+ticket)
		time.Sleep(time.Hour - time.Nanosecond)
		w.expect(200, "", "HEAD", "/v1/events/stream?token="+ticket, "")
		time.Sleep(time.Nanosecond)
		w.expect(401, "", "HEAD", "/v1/events/stream?token="+ticket, "")
	})
}

func TestAuthenticateHook(t *testing.T) {
	auth := testAuth()
	auth.Authenticate = func(r *http.Request) (rampart.Credential, error) {
		switch user := r.Header.Get("X-User"); user {
		case "":
			return rampart.Credential{}, errors.New("no user " + r.Header.Get("Authorization"))
		case "root":
			return rampart.Credential{Name: user, Scope: rampart.ScopeAdmin}, nil
		case "bot":
			return rampart.Credential{Name: user, Scope: rampart.ScopeAgent}, nil
		case "nameless":
			return rampart.Credential{Scope: rampart.ScopeAgent}, nil
		}
		return rampart.Credential{}, nil
	}
	r, w := newWeb(t, auth)
	for user, status := range map[string]int{"": 401, "root": 200, "bot": 403, "guest": 403, "nameless": 403} {
		rec := w.send("GET", "/v1/status", "", "X-User", user)
		if rec.Code != status || strings.Contains(rec.Body.String(), "token-") {
			t.Errorf("user %q: %d %s, want %d", user, rec.Code, rec.Body, status)
		}
	}
	w.expect(403, "", "POST", "/v1/approvals", `{"tool":"exec","command":"ls"}`, "X-User", "nameless")
	w.expect(201, "", "POST", "/v1/approvals", `{"tool":"exec","command":"ls"}`, "X-User", "bot")
	if p := r.Approvals.List(rampart.ApprovalFilter{})[0]; p.Agent != "bot" {
		t.Errorf("by %q", p.Agent)
	}
	rec := w.expect(200, "", "POST", "/v1/events/ticket", "", "X-User", "root")
	ticket := strings.Split(rec.Body.String(), `"`)[3]
	w.as("").expect(200, "", "HEAD", "/v1/events/stream?token="+ticket, "")
}

// Every path is closed to foreign pages, also a path that no route has.
func TestHost(t *testing.T) {
	auth := testAuth()
	auth.AllowHosts = []string{"Rampart.example"}
	_, w := newWeb(t, auth)
	for host, want := range map[string]map[string]int{
		"localhost:9090":  {"/healthz": 200, "/v1/status": 200, "/v1/events/stream": 200, "/nowhere": 404},
		"rampart.example": {"/healthz": 200, "/v1/status": 200, "/v1/events/stream": 200, "/nowhere": 404},
		"evil.example":    {"/healthz": 403, "/v1/status": 403, "/v1/events/stream": 403, "/nowhere": 403},
	} {
		for path, status := range want {
			req := httptest.NewRequest("HEAD", path, nil)
			req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}))
			req.Host = host
			req.Header.Set("Authorization", "Bearer "+adminToken)
			rec := httptest.NewRecorder()
			if w.h.ServeHTTP(rec, req); rec.Code != status {
				t.Errorf("Host %q on %s: %d, want %d", host, path, rec.Code, status)
			}
		}
	}
}

func TestOrigin(t *testing.T) {
	auth := testAuth()
	auth.AllowOrigins = []string{"https://Board.example"}
	_, w := newWeb(t, auth)
	const own, allowed, foreign = "http://example.com", "https://board.example", "https://evil.example"
	const ask = `{"agent":"a","tool":"t","command":"ls"}`
	cors := func(rec *httptest.ResponseRecorder) http.Header {
		got := http.Header{}
		for k, v := range rec.Header() {
			if strings.HasPrefix(k, "Access-Control-") || k == "Vary" {
				got[k] = v
			}
		}
		return got
	}
	for _, c := range []struct {
		origin, site string
		post         int
		cors         http.Header
	}{
		{"", "", 201, http.Header{}},
		{own, "same-origin", 201, http.Header{}},
		{own, "", 201, http.Header{}},
		{allowed, "cross-site", 201, http.Header{"Access-Control-Allow-Origin": {allowed}, "Vary": {"Origin"}}},
		{foreign, "cross-site", 403, http.Header{}},
		{foreign, "", 403, http.Header{}},
		{"null", "", 403, http.Header{}},
		{"https://board.example.evil", "cross-site", 403, http.Header{}},
		{"http://board.example", "cross-site", 403, http.Header{}},
	} {
		header := []string{"Origin", c.origin, "Sec-Fetch-Site", c.site}
		post := w.expect(c.post, "", "POST", "/v1/approvals", ask, header...)
		get := w.expect(200, "", "GET", "/v1/approvals", "", header...)
		if diff := cmp.Diff(c.cors, cors(get)); diff != "" {
			t.Errorf("Origin %q (-want +got):\n%s", c.origin, diff)
		}
		if c.post == 201 && !cmp.Equal(c.cors, cors(post)) {
			t.Errorf("Origin %q: POST has %v", c.origin, cors(post))
		}
		preflight := w.as("").send("OPTIONS", "/v1/approvals", "", "Origin", c.origin, "Access-Control-Request-Method", "POST")
		if c.origin == allowed {
			want := http.Header{
				"Access-Control-Allow-Origin": {allowed}, "Vary": {"Origin"}, "Access-Control-Allow-Methods": {"GET, HEAD, POST"},
				"Access-Control-Allow-Headers": {"Authorization, Content-Type, Last-Event-ID"},
			}
			if diff := cmp.Diff(want, cors(preflight)); preflight.Code != 204 || diff != "" {
				t.Errorf("preflight: %d (-want +got):\n%s", preflight.Code, diff)
			}
		} else if preflight.Code != 405 || len(cors(preflight)) != 0 {
			t.Errorf("preflight of %q: %d %v", c.origin, preflight.Code, cors(preflight))
		}
	}
}

func TestAuthValidate(t *testing.T) {
	if err := testAuth().Validate(); err != nil {
		t.Error(err)
	}
	for name, auth := range map[string]*rampart.Auth{
		"agent named admin": {AgentTokens: map[string]string{"admin": "t"}},
		"agent of no name":  {AgentTokens: map[string]string{"": "t"}},
		"empty token":       {AgentTokens: map[string]string{"a": ""}},
		"shared token":      {AgentTokens: map[string]string{"a": "secret", "b": "secret"}},
		"the admin's token": {AdminToken: "secret", AgentTokens: map[string]string{"a": "secret"}},
		"token with space":  {AdminToken: "secret secret"},
		"token with break":  {AgentTokens: map[string]string{"a": "secret\n"}},
		"origin with path":  {AllowOrigins: []string{"https://a.example/"}},
		"origin of no host": {AllowOrigins: []string{"*"}},
	} {
		err := auth.Validate()
		wantErr(t, name, err, rampart.ErrInvalid)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: shows the token: %v", name, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: Handler takes it", name)
				}
			}()
			(&rampart.Rampart{}).Handler(auth)
		}()
	}
}

func TestNoTokenInLogs(t *testing.T) {
	var log strings.Builder
	fs := vfstest.New()
	r := openRampart(t, fs, rampart.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	w := &web{t, r.Handler(testAuth()), adminToken}
	fs.FailSync(1, errDisk, true)
	w.expect(503, "", "POST", "/v1/approvals?token="+adminToken, `{"agent":"a","tool":"t","command":"ls"}`)
	w.expect(503, "", "POST", "/v1/audit/events?token="+adminToken, `{"agent":"a","tool":"t","decision":{"action":"allow"}}`)
	r.Close()
	w.expect(503, "", "GET", "/v1/audit/events?token="+adminToken, "")
	w.expect(503, "", "GET", "/v1/events/stream?token="+adminToken, "")
	if log.Len() == 0 || strings.Contains(log.String(), adminToken) {
		t.Errorf("log:\n%s", log.String())
	}
}

// A host's own routes get the same checks as the library's.
func TestRequire(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("served")) })
	w := &web{t, testAuth().Require(rampart.ScopeAdmin, served), adminToken}
	w.expect(200, "served", "GET", "/metrics", "")
	w.expect(403, "", "POST", "/metrics", "", "Origin", "http://evil.example")
	w.as(agentToken).expect(403, "", "GET", "/metrics", "")
	for _, token := range []string{"", "wrong"} {
		rec := w.as(token).expect(401, "", "GET", "/metrics?token="+adminToken, "")
		if got := rec.Header().Get("WWW-Authenticate"); got != `Bearer realm="rampart"` {
			t.Errorf("WWW-Authenticate %q", got)
		}
	}
	(&web{t, (*rampart.Auth)(nil).Require(rampart.ScopeAdmin, served), adminToken}).expect(401, "", "GET", "/metrics", "")
}

// What is public is still closed to foreign pages.
func TestRefuseForeign(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("served")) })
	auth := testAuth()
	auth.AllowHosts, auth.AllowOrigins = []string{"box.example"}, []string{"https://board.example"}
	h := auth.RefuseForeign(served)
	w := &web{t, h, ""}
	w.expect(200, "served", "GET", "/dashboard/", "")
	w.expect(200, "served", "GET", "/dashboard/", "", "Origin", "http://evil.example")
	w.expect(200, "served", "POST", "/dashboard/", "", "Origin", "https://board.example")
	w.expect(403, "", "POST", "/dashboard/", "", "Origin", "http://evil.example")
	w.expect(403, "", "POST", "/dashboard/", "", "Sec-Fetch-Site", "cross-site")
	for host, status := range map[string]int{"localhost:9090": 200, "box.example": 200, "evil.example": 403, "127.0.0.1.evil.example": 403} {
		req := httptest.NewRequest("GET", "http://"+host+"/dashboard/", nil)
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, req); rec.Code != status {
			t.Errorf("Host %s: %d, want %d", host, rec.Code, status)
		}
	}
	(&web{t, (*rampart.Auth)(nil).RefuseForeign(served), ""}).expect(200, "served", "GET", "/dashboard/", "")
}
