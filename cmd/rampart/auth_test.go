package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// adminRoutes are the routes that an agent's token may not use.
var adminRoutes = []struct{ method, path, body string }{
	{"GET", "/v1/events/stream", ""},
	{"POST", "/v1/events/ticket", ""},
	{"GET", "/v1/audit/events", ""},
	{"GET", "/v1/audit/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", ""},
	{"GET", "/v1/audit/dates", ""},
	{"GET", "/v1/audit/stats", ""},
	{"GET", "/v1/audit/export", ""},
	{"GET", "/v1/audit/verify", ""},
	{"GET", "/v1/approvals", ""},
	{"POST", "/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", `{"approved":true}`},
	{"POST", "/v1/approvals/bulk-resolve", `{"run_id":"r","action":"approve"}`},
	{"GET", "/v1/status", ""},
	{"GET", "/metrics", ""},
}

// agentRoutes are the others.
var agentRoutes = []struct{ method, path, body string }{
	{"POST", "/v1/audit/events", event("claude-code", "ls")},
	{"POST", "/v1/approvals", `{"tool":"exec","agent":"claude-code","message":"m","command":"ls"}`},
	{"GET", "/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV", ""},
}

// publicRoutes need no token.
var publicRoutes = []struct{ method, path, body string }{
	{"GET", "/healthz", ""},
	{"GET", "/", ""},
	{"GET", "/dashboard", ""},
	{"GET", "/dashboard/", ""},
	{"GET", "/dashboard/main.js", ""},
	{"GET", "/dashboard/nothing", ""},
	{"POST", "/dashboard/", ""},
}

func TestNoTokenIs401(t *testing.T) {
	d := start(t)
	for _, route := range append(adminRoutes, agentRoutes...) {
		got := d.do("", route.method, route.path, route.body).want(http.StatusUnauthorized)
		if h := got.header.Get("WWW-Authenticate"); h != `Bearer realm="rampart"` {
			t.Errorf("%s %s: WWW-Authenticate: %s", route.method, route.path, h)
		}
		if !strings.Contains(got.fault(), "missing") {
			t.Errorf("%s %s does not say that the token is missing: %s", route.method, route.path, got.body)
		}
	}
}

func TestWrongTokenIs401AndNotEchoed(t *testing.T) {
	d := start(t)
	const wrong = "wrong-token-0123456789abcdef"
	for _, route := range append(adminRoutes, agentRoutes...) {
		got := d.do(wrong, route.method, route.path, route.body).want(http.StatusUnauthorized)
		if h := got.header.Get("WWW-Authenticate"); h != `Bearer realm="rampart"` {
			t.Errorf("%s %s: WWW-Authenticate: %s", route.method, route.path, h)
		}
		if strings.Contains(got.fault(), "missing") || strings.Contains(got.body, wrong) {
			t.Errorf("%s %s: %s", route.method, route.path, got.body)
		}
	}
	got := d.do("", "GET", "/v1/events/stream?token="+wrong, "").want(http.StatusUnauthorized)
	if strings.Contains(got.body, wrong) {
		t.Errorf("the answer echoes the token: %s", got.body)
	}
	if strings.Contains(d.out.String(), wrong) {
		t.Errorf("the log has the wrong token:\n%s", d.out)
	}
}

func TestAgentTokenIs403OnAdminRoutes(t *testing.T) {
	d := start(t)
	for _, route := range adminRoutes {
		d.do(claudeToken, route.method, route.path, route.body).want(http.StatusForbidden).fault()
	}
	d.do("", "GET", "/v1/events/stream?token="+claudeToken, "").want(http.StatusForbidden)
}

func TestAdminMayDoWhatAgentsMay(t *testing.T) {
	d := start(t)
	d.admin("POST", "/v1/audit/events", event("any-agent", "ls")).want(http.StatusCreated)
	if got := parse(t, d.lines()[0]).Agent; got != "any-agent" {
		t.Errorf("the admin's event is recorded as %s's", got)
	}
	d.admin("POST", "/v1/approvals", `{"tool":"exec","agent":"any-agent","message":"m","command":"ls"}`).want(http.StatusCreated)
}

func TestQueryTokenOpensTheStreamOnly(t *testing.T) {
	d := start(t)
	d.do("", "HEAD", "/v1/events/stream?token="+d.token, "").want(http.StatusOK)
	w := d.open("", "token="+d.token)
	w.types("connected")
	for _, route := range append(adminRoutes[1:], agentRoutes...) {
		d.do("", route.method, route.path+"?token="+d.token, route.body).want(http.StatusUnauthorized)
	}
}

func TestAgentsEventsCarryItsName(t *testing.T) {
	d := start(t)
	d.append(claudeToken, event("codex-cli", "ls"), event("claude-code", "pwd"))
	d.do(codexToken, "POST", "/v1/approvals", `{"tool":"exec","agent":"claude-code","message":"m","command":"id"}`).want(http.StatusCreated)
	var got []string
	for _, line := range d.lines() {
		got = append(got, parse(t, line).Agent)
	}
	if want := "claude-code claude-code codex-cli"; strings.Join(got, " ") != want {
		t.Errorf("agents on the log: %s, want %s", got, want)
	}
}

func TestAgentReadsOnlyItsOwnApprovals(t *testing.T) {
	d := start(t)
	id := d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","command":"ls"}`)
	d.do(claudeToken, "GET", "/v1/approvals/"+id, "").want(http.StatusOK)
	d.admin("GET", "/v1/approvals/"+id, "").want(http.StatusOK)
	if got := d.do(codexToken, "GET", "/v1/approvals/"+id, ""); got.status != http.StatusForbidden && got.status != http.StatusNotFound {
		t.Errorf("another agent's approval: status %d: %s", got.status, got.body)
	}
}

func TestForeignHostIs403OnEveryRoute(t *testing.T) {
	d := start(t, "-allow-host", "box.example")
	routes := append(append(adminRoutes, agentRoutes...), publicRoutes...)
	for _, route := range routes {
		d.admin(route.method, route.path, route.body, "Host", "evil.example").want(http.StatusForbidden)
	}
	address := strings.TrimPrefix(d.base, "http://")
	for _, line := range []string{"GET //healthz", "GET /v1/../healthz", "HEAD //metrics", "GET /", "GET /dashboard", "GET //dashboard/", "GET /dashboard/../x", "OPTIONS *"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", line)
		if got, err := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.1 403 ") {
			t.Errorf("%s: %.60q, %v", line, got, err)
		}
		conn.Close()
	}
	_, port, _ := strings.Cut(address, ":")
	for _, host := range []string{"localhost", "localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "box.example", "box.example:" + port} {
		d.do("", "GET", "/healthz", "", "Host", host).want(http.StatusOK)
	}
}

func TestOriginGetsCORSOnlyByName(t *testing.T) {
	d := start(t, "-allow-origin", "https://board.example")
	for origin, want := range map[string]string{
		"https://board.example": "https://board.example",
		"https://evil.example":  "",
		"null":                  "",
	} {
		got := d.admin("GET", "/v1/status", "", "Origin", origin)
		if h := got.header.Get("Access-Control-Allow-Origin"); h != want {
			t.Errorf("Origin %s: Access-Control-Allow-Origin %q, want %q", origin, h, want)
		}
	}
	preflight := d.do("", "OPTIONS", "/v1/approvals/bulk-resolve", "", "Origin", "https://board.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
	if preflight.status >= 300 || !strings.Contains(strings.ToLower(preflight.header.Get("Access-Control-Allow-Headers")), "authorization") {
		t.Errorf("a preflight of an allowed origin: status %d, %v", preflight.status, preflight.header)
	}
}

func TestCrossOriginChangeIsRefused(t *testing.T) {
	d := start(t, "-allow-origin", "https://board.example")
	post := func(headers ...string) reply {
		return d.admin("POST", "/v1/audit/events", event("a", "ls"), headers...)
	}
	post("Origin", "https://evil.example").want(http.StatusForbidden)
	post("Origin", "null").want(http.StatusForbidden)
	post("Sec-Fetch-Site", "cross-site").want(http.StatusForbidden)
	if n := len(d.lines()); n != 0 {
		t.Fatalf("%d events were stored", n)
	}
	post("Origin", "https://board.example", "Sec-Fetch-Site", "cross-site").want(http.StatusCreated)
	post("Origin", d.base, "Sec-Fetch-Site", "same-origin").want(http.StatusCreated)
}

func TestTokensStayOutOfEveryAnswer(t *testing.T) {
	d := start(t)
	w := d.open("", "token="+d.token)
	w.types("connected")
	d.append(claudeToken, event("claude-code", "ls"))
	w.audit()
	w.resp.Body.Close()
	for _, path := range []string{"/healthz", "/v1/status", "/metrics", "/v1/audit/events", "/v1/nothing?token=" + d.token} {
		body := d.admin("GET", path, "").body
		for _, secret := range []string{d.token, claudeToken} {
			if strings.Contains(body, secret) {
				t.Errorf("GET %s shows a token: %s", path, body)
			}
		}
	}
	_, _ = io.Copy(io.Discard, w.resp.Body)
}
