package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// kept is all that the browser keeps of the page.
const kept = `JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])`

// TestDashboardSignIn goes, as a newcomer does, to the address that the daemon
// printed.
func TestDashboardSignIn(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.append("git status", "allow")
	b := newBoard(t, d.url(""), d.token)
	b.goTo("/")
	b.until("the form shows", `location.pathname === '/dashboard/' && document.querySelector('#sign-in').checkVisibility() && document.body.dataset.state === 'signed-out'`)
	if shown := b.text("#sign-in-error"); shown != "" {
		t.Errorf("an error before anything was tried: %q", shown)
	}

	b.expects(`network: .* 401 `)
	wrong := strings.Repeat("wrong-", 8)
	b.fill("#sign-in [name=token]", wrong)
	b.click("#sign-in button:not([type=button])")
	b.wantPattern("#sign-in-error", "token")
	if keeps := eval[string](b, kept); strings.Contains(keeps, wrong) {
		t.Errorf("a token that is none is kept: %s", keeps)
	}

	b.signIn(d.token)
	b.newest(stored(t, d.lines()[0]).ID)
	if eval[bool](b, `document.querySelector('#sign-in').checkVisibility()`) {
		t.Error("the form still shows")
	}
	if eval[string](b, `JSON.stringify({...localStorage}) + document.cookie`) == "" || eval[bool](b, `(JSON.stringify({...localStorage}) + document.cookie).includes(`+js(d.token)+`)`) {
		t.Error("the token is kept for longer than the session")
	}

	b.do(chromedp.Reload())
	b.live()
	b.newest(stored(t, d.lines()[0]).ID)

	b.click("#sign-out")
	b.until("signed out", `document.body.dataset.state === 'signed-out' && document.querySelector('#sign-in').checkVisibility()`)
	if eval[bool](b, kept+`.includes(`+js(d.token)+`)`) {
		t.Error("the token is still kept")
	}
	if eval[bool](b, `document.documentElement.outerHTML.includes('git status')`) {
		t.Error("what the token gave to see is still in the page")
	}
	d.subscribed(0)
	b.do(chromedp.Reload())
	b.until("signed out", `document.body.dataset.state === 'signed-out' && document.querySelector('#sign-in').checkVisibility()`)
}

// TestDashboardSignInAsAgent gives an agent's token, which may not see the log.
func TestDashboardSignInAsAgent(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("agent-", 8)
	file := filepath.Join(t.TempDir(), "agents")
	if err := os.WriteFile(file, []byte("claude-code "+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, "-agent-token-file", file)
	b := newBoard(t, d.url(""), d.token)
	b.expects(`network: .* 403 `)
	b.goTo("/dashboard/")
	b.fill("#sign-in [name=token]", token)
	b.press(kb.Enter)
	b.wantPattern("#sign-in-error", "admin")
	if eval[string](b, `document.body.dataset.state`) != "signed-out" || eval[bool](b, kept+`.includes(`+js(token)+`)`) {
		t.Error("an agent's token is taken for the admin's")
	}
	b.signIn(d.token)
}

// TestDashboardNewTab opens a second tab, which gets the token from the first, and
// a third after both are closed, which has to ask for it.
func TestDashboardNewTab(t *testing.T) {
	t.Parallel()
	d := start(t)
	first := dashboard(t, d, "")
	second := first.another()
	second.goTo("/dashboard/#proof")
	second.live()

	second.click("#sign-out")
	for _, b := range []*board{first, second} {
		b.until("signed out in both", `document.body.dataset.state === 'signed-out'`)
	}
	third := first.another()
	third.goTo("/dashboard/")
	third.until("asked for the token", `document.body.dataset.state === 'signed-out' && document.querySelector('#sign-in').checkVisibility()`)
}
