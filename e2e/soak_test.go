package e2e_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/rampartlog/rampart"
)

// TestSoak lets agents append and ask, a person answer, and watchers of every
// kind come, go, stall and resume, while the daemon is ended and started again.
// At the end everything that anybody saw, was promised or was told must be what
// the chain says.
//
// RAMPART_SOAK is how long that goes on, at a moderate rate, with an outage each
// minute. A second daemon under the same load is never ended, so that its growth
// shows. Without RAMPART_SOAK there are three short rounds, bounded by counts.
func TestSoak(t *testing.T) {
	var length time.Duration
	if s := os.Getenv("RAMPART_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil || length < round {
			t.Fatalf("RAMPART_SOAK=%q: want a duration of a minute or more, such as 10m", s)
		}
	}
	descriptors := openDescriptors(t)

	ended := newWorld(t, "ended each round", length, "-keep", "2m")
	worlds := []*world{ended}
	rounds := 3
	if length > 0 {
		worlds = append(worlds, newWorld(t, "never ended", length))
		rounds = int(length / round)
	}
	var appending, asking, watching sync.WaitGroup
	for _, w := range worlds {
		w.begin(&appending, &asking, &watching)
	}
	var own []figures
	for n := 1; n <= rounds && !t.Failed(); n++ {
		if length > 0 {
			const samples = 12
			for range samples {
				ended.rest(1.0 / samples)
				for _, w := range worlds[1:] {
					w.samples = append(w.samples, w.figures())
				}
				own = append(own, ownFigures(t))
			}
		} else {
			ended.tally.wait(ended.load, func(count map[string]int) bool {
				return count["acknowledged"] >= n*roundEvents && count["held"] > 0
			})
		}
		for _, w := range worlds {
			w.note()
		}
		if n < rounds && !t.Failed() {
			ended.outage(n)
			ended.tally.add("halves", 1)
			ended.back()
			ended.tally.add("halves", 1)
		}
	}

	for _, w := range worlds {
		w.unload()
	}
	appending.Wait()
	asking.Wait()
	for _, w := range worlds {
		if !t.Failed() {
			w.catchUp()
		}
	}
	for _, w := range worlds {
		w.leave()
	}
	watching.Wait()
	for _, w := range worlds {
		w.end()
	}
	for _, w := range worlds {
		t.Logf("\n%s\n%s", w.table(), w.sums())
		flat(t, w.name, w.samples)
	}
	flat(t, "this test", own)
	if !t.Failed() {
		left(t, descriptors)
	}
}

// begin starts everything that goes on around a daemon. Agents begin once the
// watchers are connected.
func (w *world) begin(appending, asking, watching *sync.WaitGroup) {
	w.idle = w.figures()
	w.queue = newQueue()
	w.watchers = watchersOf(w)
	for _, x := range w.watchers {
		watching.Go(func() { x.by(x) })
	}
	watching.Go(w.human)
	w.back()
	for kind := range agentKinds {
		a := newAgent(w, kind)
		w.agents = append(w.agents, a)
		appending.Go(a.run)
	}
	for i := range askerCount {
		asking.Go(newAsker(w, i).run)
	}
	w.tally.add("halves", 2)
}

// back waits until the watchers that do nothing but read have a stream in the
// daemon's present life.
func (w *world) back() {
	for _, x := range w.watchers {
		if x.habit.plain() && w.watching.Err() == nil && !w.t.Failed() {
			x.until("has a stream", func(_ *sight, opened int) bool { return opened >= w.lives })
		}
	}
}

// note takes the figures at the end of a round.
func (w *world) note() {
	f := w.figures()
	if len(f.faults) > 0 {
		w.fail("the daemon counts what must not be: %q", f.faults)
	}
	status, err := w.admin.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.rows = append(w.rows, row{f, w.tally.get("acknowledged"), status.Segments, w.lives - 1})
	if w.lives > 1 { // every daemon at the same age
		w.samples = append(w.samples, f)
	}
}

// catchUp appends a last event for each filter and waits until every watcher has its own.
func (w *world) catchUp() {
	var last []rampart.AuditEvent
	for _, x := range w.watchers {
		e := rampart.AuditEvent{Agent: "end", Tool: "end", Decision: rampart.Decision{Action: "allow"}}
		if f := x.filter; len(f.Agent) > 0 {
			e.Agent = f.Agent[0]
		}
		if f := x.filter; len(f.Action) > 0 {
			e.Decision.Action = f.Action[0]
		}
		last = append(last, e)
	}
	ids, err := w.admin.RecordAll(w.t.Context(), last)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, x := range w.watchers {
		if !x.habit.fresh && !x.habit.never {
			x.until("gets to the end", func(s *sight, _ int) bool { return s.last > ids[i] })
		}
	}
}

// end stops the daemon, once it is as it was before anybody came, and compares.
func (w *world) end() {
	w.t.Helper()
	if w.t.Failed() {
		return
	}
	w.settled()
	pending, err := w.admin.ListApprovals(w.t.Context(), rampart.Pending)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range pending {
		if !w.queue.held[a.ID] {
			w.t.Errorf("%s: at the end approval %s, %q, is pending", w.name, a.ID, a.Message)
		}
	}
	if len(pending) != len(w.queue.held) {
		w.t.Errorf("%s: at the end %d approvals are pending, want %d", w.name, len(pending), len(w.queue.held))
	}
	w.stop()
	w.keep()
	var anchors []rampart.Anchor
	for _, position := range w.seen() {
		id, hash, _ := strings.Cut(position, ".")
		anchors = append(anchors, rampart.Anchor{ID: id, Hash: hash})
	}
	report, err := rampart.VerifyChain(w.t.Context(), os.DirFS(w.archive), anchors...)
	if err != nil || !report.OK() {
		w.t.Errorf("%s: the whole chain: %v %+v %v", w.name, report.Verdict, report.Fault, err)
	}
	w.compare()
	wanted := []string{"acknowledged", "asked", "answered at once", "visits", "stalls", "approved", "denied", "expired"}
	for _, what := range wanted {
		if w.tally.get(what) == 0 {
			w.t.Errorf("%s: %s: none", w.name, what)
		}
	}
	if w.tally.get("segments") < 2 {
		w.t.Errorf("%s: no segment was sealed", w.name)
	}
	if w.length > 0 {
		w.wantPace()
	}
}

// wantPace checks what only comes about in minutes. A watcher that took ten
// kilobytes a second, all the time, was disconnected after half a minute.
func (w *world) wantPace() {
	w.t.Helper()
	last := w.rows[len(w.rows)-1]
	if w.lives > 5 && last.pruned == 0 {
		w.t.Errorf("%s: nothing was pruned", w.name)
	}
	if w.lives > 1 {
		return
	}
	if last.cutOff == 0 {
		w.t.Errorf("%s: of those that never read none was cut off", w.name)
	}
	for _, x := range w.watchers {
		if (x.habit.plain() || x.habit.creep > 0) && x.opened != 1 {
			w.t.Errorf("%s: %s needed %d streams, though it always took some bytes and the daemon was never ended", w.name, x.name, x.opened)
		}
	}
}

// sums is what happened in all, and what each watcher saw.
func (w *world) sums() string {
	var out bytes.Buffer
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, what := range slices.Sorted(maps.Keys(w.tally.n)) {
		if what != "halves" {
			fmt.Fprintf(t, "%s\t%d\t\n", what, w.tally.n[what])
		}
	}
	for _, x := range w.watchers {
		events, pieces := 0, 0
		for _, s := range x.sights {
			events += s.events
			pieces += min(s.events, 1)
		}
		fmt.Fprintf(t, "%s\t%d events in %d pieces, %d streams\t\n", x.name, events, pieces, x.opened)
	}
	t.Flush()
	return out.String()
}

// left wants the watchers and askers to have left nothing in this process.
func left(t *testing.T, descriptors float64) {
	t.Helper()
	var stacks bytes.Buffer
	httpClient.CloseIdleConnections()
	for deadline := time.Now().Add(patience); ; {
		stacks.Reset()
		pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		s := stacks.String()
		if n := strings.Count(s, "rampart.(*Client)") + strings.Count(s, "sse/v2.(*Client)"); n == 0 && openDescriptors(t) <= descriptors {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%.0f descriptors are open, and %.0f were before; goroutines:\n%s", openDescriptors(t), descriptors, s)
		}
	}
}
