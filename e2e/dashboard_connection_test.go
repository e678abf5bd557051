package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantState waits until the connection is in that state, and says so in words.
func (b *board) wantState(state string) {
	b.t.Helper()
	b.until("the connection is "+state, `(e => e.dataset.state === `+js(state)+` && /\w/.test(e.textContent))(document.querySelector('#connection'))`)
}

// steady appends n events one by one, trying each until it is acknowledged, and
// says when it has appended all. If the daemon died over an event, nobody knows
// whether that event is on the log.
func (d *daemon) steady(n int) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			for {
				if _, err := d.send("POST", eventsPath, event(fmt.Sprint("steady ", i), "allow")); err == nil {
					break
				}
			}
		}
	}()
	return done
}

// TestDashboardThroughKills has the daemon killed while events are appended.
func TestDashboardThroughKills(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	b.expects(daemonIsDown)
	b.expects(`network: .* 401 .*stream`) // the daemon's tickets ended with it
	for range 3 {
		done := d.steady(100)
		before := len(d.lines())
		b.until("some have come", fmt.Sprintf(`document.querySelector('#rows').ariaRowCount > %d`, before+20))
		d.kill()
		b.wantState("reconnecting")
		d.restart()
		<-done
		b.live()
	}
	lines := d.lines()
	b.wantRows(newestFirst(t, lines))
	b.wantChecked(len(lines))
	b.wantCalm()
}

// TestDashboardLongOutage is away while more happens than it keeps in memory.
func TestDashboardLongOutage(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "")
	b.tall()
	d.record(numbered("before", 100)...)
	b.expects(daemonIsDown)
	g.serves(down)
	g.cut()
	b.wantState("reconnecting")
	d.record(numbered("meanwhile", 12_000)...)
	open := d.ask("git push", "", 600)
	g.serves(nil)
	b.click("#retry")
	b.live()
	b.wantText("#waiting", "1")
	b.wantFirst(newestFirst(t, d.lines())[:1000])

	// A shorter outage, after which the page takes in the events one by one.
	g.serves(down)
	g.cut()
	b.wantState("reconnecting")
	d.record(numbered("again", 1500)...)
	d.resolve(open, true, "bob")
	g.serves(nil)
	b.click("#retry")
	b.live()
	b.wantText("#waiting", "")
	b.wantFirst(newestFirst(t, d.lines())[:2000])
	b.wantCalm()
}

// TestDashboardAfterSleep has a connection that looks open and is dead, as after
// a sleep: nothing ends it, and nothing comes.
func TestDashboardAfterSleep(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "", clock)
	d.record(event("git status", "allow"))
	g.deafen()
	id := d.record(numbered("while asleep", 20)...)[19]
	b.skip(3600)
	b.newest(id)
	b.live()
	b.wantRows(newestFirst(t, d.lines()))
	b.newest(d.record(event("git log", "allow"))[0])
}

// TestDashboardSilence has nothing happen for hours. That is no reason for the page
// to open the stream again.
func TestDashboardSilence(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "", clock)
	opened := 0
	g.serves(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == streamPath {
			opened++
		}
		return false
	})
	const asked = `performance.getEntriesByType('resource').filter(e => e.name.endsWith('/v1/status')).length`
	for range 5 {
		before := eval[int](b, asked)
		b.skip(600)
		b.until("it has asked whether there was nothing to hear", fmt.Sprintf("%s > %d", asked, before))
	}
	b.newest(d.record(event("git log", "allow"))[0])
	b.wantState("live")
	g.serves(nil)
	if opened > 0 {
		t.Errorf("the stream was opened %d times more", opened)
	}
}

// TestDashboardStreamRefused has the stream refused, once for a while, and once
// because the ticket is not known any more.
func TestDashboardStreamRefused(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "")
	b.expects(`network: .* 503 .*stream`)
	b.expects(`network: .*net::ERR_INCOMPLETE_CHUNKED_ENCODING`)
	g.serves(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != streamPath {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"error":"too many streams"}`)
		return true
	})
	g.cut()
	b.wantState("refused")
	id := d.record(event("git log", "allow"))[0]
	g.serves(nil)
	b.live()
	b.newest(id)

	b.expects(`network: .* 401 .*stream`)
	refuse := true
	g.serves(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != streamPath || r.Method != "GET" || !refuse {
			return false
		}
		refuse = false
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"the token is wrong"}`)
		return true
	})
	g.cut()
	b.newest(d.record(event("git gc", "allow"))[0])
	b.live()
	b.wantRows(newestFirst(t, d.lines()))
}

// TestDashboardTokenChanged has the daemon come back with another token.
func TestDashboardTokenChanged(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#approvals")
	b.expects(daemonIsDown)
	b.expects(`network: .* 401 `)
	d.stop()
	if err := os.WriteFile(filepath.Join(d.home, ".rampart", "token"), []byte(strings.Repeat("another-", 8)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.restart()
	b.until("signed out", `document.body.dataset.state === 'signed-out' && document.querySelector('#sign-in').checkVisibility()`)
	b.wantPattern("#sign-in-error", `\w`)
	b.signIn(d.token)
	if hash := eval[string](b, `location.hash`); !strings.HasPrefix(hash, "#approvals") {
		t.Errorf("where one was is forgotten: %s", hash)
	}
}
