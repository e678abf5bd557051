package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// world is a daemon and all that goes on around it during a soak.
type world struct {
	*daemon
	t      *testing.T
	name   string
	length time.Duration // of the soak; zero when it is counted
	base   string        // the daemon's URL
	key    string        // the admin's token
	http   *http.Client
	admin  *client.Client
	tally  tally

	archive  string // the segments as they were when the daemon last stood still
	agents   []*agent
	watchers []*watcher
	queue    queue
	idle     figures // before anything went on
	samples  []figures
	rows     []row

	load     context.Context // done once nothing more is to be appended or asked
	unload   context.CancelFunc
	watching context.Context // done once watchers are to go
	leave    context.CancelFunc

	mu    sync.Mutex
	lives int           // daemons so far, the one that is about to be started included
	up    chan struct{} // closed while it takes requests
}

func newWorld(t *testing.T, name string, length time.Duration, args ...string) *world {
	t.Helper()
	w := &world{t: t, name: name, length: length, http: &http.Client{Transport: &http.Transport{}}, archive: t.TempDir(), lives: 1, up: make(chan struct{})}
	w.load, w.unload = context.WithCancel(t.Context())
	w.watching, w.leave = context.WithCancel(t.Context())
	var tokens strings.Builder
	for _, name := range agentNames() {
		fmt.Fprintf(&tokens, "%s %s\n", name, tokenOf(name))
	}
	file := filepath.Join(t.TempDir(), "agents")
	if err := os.WriteFile(file, []byte(tokens.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.daemon = start(t, append(args, "-agent-token-file", file)...)
	w.base, w.key = "http://"+w.address, w.token
	w.admin = w.client(w.key)
	close(w.up)
	return w
}

func tokenOf(name string) string { return name + "-0123456789abcdef0123456789abcdef" }

func (w *world) client(token string) *client.Client {
	c, err := client.New(w.base, &client.Options{Token: token, HTTP: w.http})
	if err != nil {
		panic(err)
	}
	return c
}

// fail reports a fault and ends the soak.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(w.name+": "+format, args...)
	w.unload()
	w.leave()
}

// await waits until the daemon takes requests and returns which of its lives that is.
func (w *world) await() (life int) {
	for {
		w.mu.Lock()
		life, up := w.lives, w.up
		w.mu.Unlock()
		select {
		case <-up:
			return life
		case <-w.watching.Done():
			return life
		}
	}
}

// ended reports whether the daemon was ended after that life began: then an error is
// not the daemon's fault.
func (w *world) ended(life int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives > life || w.watching.Err() != nil
}

// insist calls do again for as long as the daemon's ends interrupt it. An error
// while nobody ended the daemon is a fault, upon which insist returns false.
func (w *world) insist(what string, do func() error) bool {
	for {
		life := w.await()
		err := do()
		switch {
		case err == nil:
			return true
		case !w.ended(life) || errors.Is(err, rampart.ErrInvalid) || errors.Is(err, rampart.ErrUnauthorized):
			w.fail("%s: %v", what, err)
			return false
		case w.watching.Err() != nil:
			return false
		}
	}
}

// outage ends the daemon, mostly without warning, and starts it again.
func (w *world) outage(n int) {
	w.t.Helper()
	seen := w.seen()
	w.mu.Lock()
	w.lives++
	w.up = make(chan struct{})
	w.mu.Unlock()
	if n%3 == 0 {
		w.stop()
	} else {
		w.kill()
	}
	w.keep()
	w.restart()
	w.mu.Lock()
	close(w.up)
	w.mu.Unlock()
	w.queue.survived(w)
	for name, position := range seen {
		id, hash, _ := strings.Cut(position, ".")
		report, err := w.admin.Verify(w.t.Context(), rampart.Anchor{ID: id, Hash: hash})
		// A watcher that was reading old events may have seen one that was pruned:
		// the comparison with the archive at the end checks that.
		if err != nil || !report.OK() && report.Verdict != rampart.VerdictPruned {
			w.fail("after the restart, what %s saw last, %s: %v %+v %v", name, position, report.Verdict, report.Fault, err)
		}
	}
}

// keep puts the segments into the archive, so that pruning takes nothing from
// what is compared. A recovered segment is another file than the one before. A
// segment that was closed properly is the same file, and grows in the archive.
func (w *world) keep() {
	w.t.Helper()
	segments, err := filepath.Glob(filepath.Join(w.home, ".rampart", "audit", "*.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range segments {
		kept := filepath.Join(w.archive, filepath.Base(s))
		os.Remove(kept)
		if err := os.Link(s, kept); err != nil {
			w.t.Fatal(err)
		}
	}
}

const (
	// round is the unit of a soak's course: the time between two outages. A counted
	// soak counts roundEvents acknowledged events in its place.
	round       = time.Minute
	roundEvents = 1000
)

// in returns a function that tells whether so many rounds have passed since.
func (w *world) in(rounds float64) (over func() bool) {
	if w.length > 0 {
		until := time.Now().Add(time.Duration(rounds * float64(round)))
		return func() bool { return time.Now().After(until) }
	}
	until := w.tally.get("acknowledged") + int(rounds*roundEvents)
	return func() bool { return w.tally.get("acknowledged") >= until }
}

// rest waits for so many rounds, or until there is no load any more.
func (w *world) rest(rounds float64) {
	if w.length > 0 {
		timer := time.NewTimer(time.Duration(rounds * float64(round)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.load.Done():
		}
		return
	}
	until := w.tally.get("acknowledged") + int(rounds*roundEvents)
	w.tally.wait(w.load, func(n map[string]int) bool { return n["acknowledged"] >= until })
}

// tally counts what happened, and lets callers wait for it.
type tally struct {
	mu      sync.Mutex
	n       map[string]int
	changed chan struct{} // closed by the next change, if somebody waits
}

func (t *tally) add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[string]int)
	}
	t.n[what] += n
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *tally) get(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[what]
}

// wait waits until cond holds, which is asked under the lock.
func (t *tally) wait(ctx context.Context, cond func(n map[string]int) bool) {
	for {
		t.mu.Lock()
		ok := cond(t.n)
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
