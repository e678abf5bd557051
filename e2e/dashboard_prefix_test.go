package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rampartlog/rampart"
	pages "github.com/rampartlog/rampart/dashboard"
)

// tour goes through everything for which the page needs its server.
func (b *board) tour(record func(event string) string, ask func() string) {
	b.t.Helper()
	b.newest(record(event("git status", "allow")))
	b.newest(record(event("rm -rf /", "deny")))
	id := ask()
	b.show("approvals")
	b.click(card(id) + " button.deny")
	b.wantStatus(id, "denied")
	b.show("history")
	b.ranged("2026-03-01", "2026-03-31")
	b.wantPattern("#total", `\b2\b`)
	b.wantChecked(4)
	b.click("#verify")
	b.until("it is whole", `document.querySelector('#verify-result').dataset.ok === 'true'`)
	b.wantCalm()
}

// TestDashboardBehindProxy is under a prefix that a proxy strips.
func TestDashboardBehindProxy(t *testing.T) {
	t.Parallel()
	d := start(t)
	for _, prefix := range []string{"", "/some/prefix"} {
		g := newGateway(t, d, prefix)
		b := newBoard(t, g.origin, d.token)
		b.goTo(prefix + "/")
		b.until("the daemon led to its page", `location.pathname === `+js(prefix+"/dashboard/"))
		if prefix == "" {
			continue
		}
		b.signIn(d.token)
		b.tour(func(e string) string { return d.record(e)[0] }, func() string { return d.ask("git push", "", 600) })
	}
}

// TestDashboardHostSession has the page in a host whose own session lets it in.
func TestDashboardHostSession(t *testing.T) {
	t.Parallel()
	r, err := rampart.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	const token = "the-token-of-this-host"
	const secret = "the-session-of-this-person"
	mux := http.NewServeMux()
	mux.Handle("/v1/", r.Handler(&rampart.Auth{Authenticate: func(r *http.Request) (rampart.Credential, error) {
		if c, err := r.Cookie("session"); err == nil && c.Value == secret || r.Header.Get("Authorization") == "Bearer "+token {
			return rampart.Credential{Name: "ann", Scope: rampart.ScopeAdmin}, nil
		}
		return rampart.Credential{}, rampart.ErrUnauthorized
	}}))
	mux.Handle("/dashboard/", pages.Handler(&pages.Options{HostSession: true}))
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/dashboard/", http.StatusSeeOther)
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	d := &daemon{t: t, address: server.Listener.Addr().String(), token: token}
	b := newBoard(t, server.URL, secret)
	b.goTo("/login")
	b.live()
	b.tour(func(e string) string { return d.record(e)[0] }, func() string { return d.ask("git push", "", 600) })
	if eval[bool](b, `document.querySelector('#sign-in').checkVisibility() || document.querySelector('#sign-out').checkVisibility()`) {
		t.Error("it has a sign-in of its own")
	}

	// A person whose session is over is told so.
	b.expects(`network: .* 401 `)
	eval[bool](b, `fetch('/logout').then(() => true)`)
	b.click("#verify")
	b.until("signed out", `document.querySelector('#outside').checkVisibility()`)
}

// TestDashboardElsewhere has the page at another path of a host, and the API at
// another path as well.
func TestDashboardElsewhere(t *testing.T) {
	t.Parallel()
	r, err := rampart.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	const token = "the-token-of-this-host"
	mux := http.NewServeMux()
	api := r.Handler(&rampart.Auth{AdminToken: token})
	mux.Handle("/internal/rampart/v1/", http.StripPrefix("/internal/rampart", api))
	mux.Handle("/ops/agents/{$}", pages.Handler(&pages.Options{API: "/internal/rampart/v1/"}))
	mux.Handle("/ops/agents/", pages.Handler(&pages.Options{API: "/internal/rampart/v1/"}))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	d := &daemon{t: t, address: server.Listener.Addr().String(), token: token}
	d.prefix = "/internal/rampart"
	b := newBoard(t, server.URL, token)
	b.goTo("/ops/agents/")
	b.signIn(token)
	b.tour(func(e string) string { return d.record(e)[0] }, func() string { return d.ask("git push", "", 600) })
}
