package guard_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/guard"
	"github.com/rampartlog/rampart/internal/httpio"
)

const (
	adminToken = "admin-token-4f1c"
	agentToken = "agent-token-9b2e"
)

func config() guard.Config {
	return guard.Config{AdminToken: adminToken, AgentTokens: map[string]string{"claude-code": agentToken, "codex": "other-token-77aa"}}
}

func newGuard(t testing.TB, c guard.Config) *guard.Guard {
	t.Helper()
	g, err := guard.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// get is a request with header name, value pairs.
func get(target string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// on is r as it comes in on a local address.
func on(ip net.IP, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: ip, Port: 9090}))
}

// code is the status of an error, or 200.
func code(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 200
	}
	var refused *httpio.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%#v is no httpio.Error", err)
	}
	return refused.Code
}

func TestTokens(t *testing.T) {
	h := newGuard(t, config()).Require(guard.Admin, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(header ...string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, get("/?token="+adminToken, header...))
		return rec
	}
	const missing, wrong = "missing token", "wrong token"
	for _, c := range []struct {
		header string
		status int
		says   string
	}{
		{"Bearer " + adminToken, 200, ""},
		{"bearer " + adminToken, 200, ""},
		{"", 401, missing},
		{"Bearer", 401, missing},
		{"Bearer ", 401, missing},
		{"Basic YTpi", 401, missing},
		{adminToken, 401, missing},
		{"Bearer  " + adminToken, 401, wrong},
		{"Bearer x" + adminToken, 401, wrong},
		{"Bearer " + adminToken[1:], 401, wrong},
		{"Bearer " + strings.ToUpper(adminToken), 401, wrong},
		{"Bearer " + agentToken, 403, "admin token"},
	} {
		rec := send("Authorization", c.header)
		challenge := ""
		if c.status == 401 {
			challenge = `Bearer realm="rampart"`
		}
		if rec.Code != c.status || rec.Header().Get("WWW-Authenticate") != challenge || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("Authorization %q: %d %q %s, want %d %q %q", c.header, rec.Code, rec.Header().Get("WWW-Authenticate"), rec.Body, c.status, challenge, c.says)
		}
		if c.status != 200 && strings.Contains(rec.Body.String(), "-token-") {
			t.Errorf("Authorization %q: the answer shows a token: %s", c.header, rec.Body)
		}
	}
	if rec := send("Authorization", "Bearer "+adminToken, "Authorization", "Bearer x"); rec.Code != 401 {
		t.Errorf("two Authorization headers: %d", rec.Code)
	}
}

func TestAdmit(t *testing.T) {
	g := newGuard(t, config())
	hook := config()
	hook.Authenticate = func(r *http.Request) (guard.Credential, error) {
		if r.Header.Get("X-User")+r.Header.Get("X-Scope") == "" {
			return guard.Credential{}, errors.New("secret")
		}
		return guard.Credential{Name: r.Header.Get("X-User"), Scope: guard.Scope(r.Header.Get("X-Scope"))}, nil
	}
	hooked := newGuard(t, hook)
	const bearer = "Bearer "
	for _, c := range []struct {
		name string
		g    *guard.Guard
		r    *http.Request
		need guard.Scope
		want guard.Credential
		code int
	}{
		{"the admin", g, get("/", "Authorization", bearer+adminToken), guard.Agent, guard.Credential{Name: "admin", Scope: guard.Admin}, 200},
		{"an agent", g, get("/", "Authorization", bearer+agentToken), guard.Agent, guard.Credential{Name: "claude-code", Scope: guard.Agent}, 200},
		{"an agent on the stream", g, get("/", "Authorization", bearer+agentToken), guard.Stream, guard.Credential{Name: "claude-code", Scope: guard.Agent}, 403},
		{"a query token for the stream", g, get("/?token=" + adminToken), guard.Stream, guard.Credential{Name: "admin", Scope: guard.Admin}, 200},
		{"a query token for more", g, get("/?token=" + adminToken), guard.Agent, guard.Credential{}, 401},
		{"two query tokens", g, get("/?token=" + adminToken + "&token=" + adminToken), guard.Stream, guard.Credential{}, 401},
		{"a query token beside a wrong one", g, get("/?token="+adminToken, "Authorization", bearer+"x"), guard.Stream, guard.Credential{}, 401},
		{"nobody, of a guard without tokens", newGuard(t, guard.Config{}), get("/", "Authorization", bearer), guard.Agent, guard.Credential{}, 401},
		{"an agent by the host", hooked, get("/", "X-User", "bot", "X-Scope", "agent"), guard.Agent, guard.Credential{Name: "bot", Scope: guard.Agent}, 200},
		{"an agent without a name", hooked, get("/", "X-Scope", "agent"), guard.Agent, guard.Credential{Scope: guard.Agent}, 403},
		{"no scope by the host", hooked, get("/", "X-User", "guest"), guard.Agent, guard.Credential{Name: "guest"}, 403},
		{"a token, where the host asks", hooked, get("/", "Authorization", bearer+adminToken), guard.Agent, guard.Credential{}, 401},
	} {
		got, err := c.g.Admit(c.r, c.need)
		if code(t, err) != c.code || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v, %d", c.name, got, err, c.want, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: tells the host's reason: %v", c.name, err)
		}
	}
}
