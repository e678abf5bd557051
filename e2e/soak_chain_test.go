package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampartlog/rampart"
)

// line is what the comparison needs of a stored line.
type line struct {
	ID         string
	Agent      string
	Request    json.RawMessage
	ToolCallID string `json:"tool_call_id"`
	Decision   struct{ Action string }
	Approval   *struct {
		ID         string
		Status     rampart.ApprovalStatus
		ExpiresAt  time.Time `json:"expires_at"`
		ResolvedBy string    `json:"resolved_by"`
		Reason     string
	}
}

func lets(f *rampart.Filter, l *line) bool {
	return (len(f.Agent) == 0 || slices.Contains(f.Agent, l.Agent)) &&
		(len(f.Action) == 0 || slices.Contains(f.Action, l.Decision.Action))
}

// account is one comparison of the chain with what was seen, acknowledged and
// told outside.
type account struct {
	*world
	views  []*view
	agents map[string]*ledger
	before number            // of the line before
	by     string            // and its agent
	asked  map[string]line   // questions on the log, by id
	ended  map[string][]line // and what ended them
	calls  map[string]int    // questions of each tool call
}

// view is what the chain has of the events of a sight.
type view struct {
	*sight
	by     *watcher
	open   bool
	events int
	digest digest
}

// ledger is what the chain has of an agent.
type ledger struct {
	*agent
	batch  int
	times  int    // how often that batch is there
	latest digest // of ids and requests up to that batch, counted where it last stands
	before digest // of those before that batch
}

// compare goes once over the whole chain.
func (w *world) compare() {
	w.t.Helper()
	a := &account{world: w, agents: map[string]*ledger{}, asked: map[string]line{}, ended: map[string][]line{}, calls: map[string]int{}}
	for _, x := range w.watchers {
		for _, s := range x.sights {
			if s.events > 0 {
				a.views = append(a.views, &view{sight: s, by: x})
			}
		}
	}
	for _, g := range w.agents {
		a.agents[agentKinds[g.kind].name] = &ledger{agent: g}
	}
	segments, err := filepath.Glob(filepath.Join(w.archive, "*.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(segments)
	for _, s := range segments {
		data, err := os.ReadFile(s)
		if err != nil {
			w.t.Fatal(err)
		}
		first := true
		for raw := range bytes.Lines(data) {
			a.line(bytes.TrimSuffix(raw, []byte("\n")), first)
			first = false
			w.tally.add("on the log", 1)
		}
		w.tally.add("segments", 1)
	}
	a.close()
}

func (a *account) line(raw []byte, first bool) {
	var l line
	if err := json.Unmarshal(raw, &l); err != nil {
		a.t.Fatalf("%s: %v", raw, err)
	}
	position := positionOf(raw)
	for i := 0; i < len(a.views); i++ {
		v := a.views[i]
		switch {
		case v.open:
		case v.by.habit.all:
			// This watcher began where the log began then, which pruning moves.
			if v.open = position == v.first; v.open && !first {
				a.t.Errorf("%s: %s reads all from %s on, which is not the first of a segment", a.name, v.by.name, position)
			}
		default:
			v.open = position > v.after
		}
		if !v.open {
			continue
		}
		if lets(&v.by.filter, &l) {
			v.events++
			v.digest.add(raw)
		}
		if position >= v.last {
			a.see(v)
			a.views = slices.Delete(a.views, i, i+1)
			i--
		}
	}
	var n number
	if g := a.agents[l.Agent]; g != nil {
		if err := json.Unmarshal(l.Request, &n); err != nil {
			a.t.Fatalf("%s: %v", raw, err)
		}
	}
	if n.Batch > 0 || a.before.Place+1 < a.before.Of {
		a.appended(&l, n)
	}
	a.before, a.by = n, l.Agent
	if l.Approval != nil {
		if l.Approval.Status == rampart.Pending {
			a.asked[l.ID] = l
			a.calls[l.ToolCallID]++
		} else {
			a.ended[l.Approval.ID] = append(a.ended[l.Approval.ID], l)
		}
	}
}

// see compares what a watcher saw with what it should have seen.
func (a *account) see(v *view) {
	if v.events != v.sight.events || v.digest != v.sight.digest {
		a.t.Errorf("%s: %s saw %d events after %s up to %s, and the chain has %d; digests %x and %x",
			a.name, v.by.name, v.sight.events, v.after, v.last, v.events, v.sight.digest, v.digest)
	}
	if v.last < v.least {
		a.t.Errorf("%s: %s read all, up to %s, and not %s, which somebody had seen", a.name, v.by.name, v.last, v.least)
	}
}

// appended checks that an agent's batches are all there, in order and whole,
// none more often than it was tried.
func (a *account) appended(l *line, n number) {
	if rest := a.before.Place+1 < a.before.Of; rest || n.Place > 0 {
		if l.Agent != a.by || n != (number{a.before.Batch, a.before.Place + 1, a.before.Of}) {
			a.t.Errorf("%s: after event %+v of %s comes %+v of %s: an append is not whole", a.name, a.before, a.by, n, l.Agent)
			return
		}
	}
	g := a.agents[l.Agent]
	if n.Place == 0 {
		switch n.Batch {
		case g.batch:
			g.times++
		case g.batch + 1:
			a.tried(g)
			g.batch, g.times, g.before = n.Batch, 1, g.latest
		default:
			a.t.Errorf("%s: after batch %d of %s comes batch %d", a.name, g.batch, l.Agent, n.Batch)
		}
		g.latest = g.before
	}
	g.latest.add([]byte(l.ID))
	g.latest.add(l.Request)
}

func (a *account) tried(g *ledger) {
	if tries := max(1, g.tries[g.batch]); g.times > tries {
		a.t.Errorf("%s: batch %d of %s is on the log %d times, and was sent %d times", a.name, g.batch, agentKinds[g.kind].name, g.times, tries)
	}
}

// close compares what the whole chain adds up to.
func (a *account) close() {
	for _, v := range a.views {
		a.t.Errorf("%s: %s saw %s, which is not on the chain", a.name, v.by.name, v.last)
	}
	for name, g := range a.agents {
		a.tried(g)
		if g.batch != g.acknowledged || g.latest != g.saved {
			a.t.Errorf("%s: the chain has %d batches of %s, of which %d were acknowledged; digests %x and %x", a.name, g.batch, name, g.acknowledged, g.latest, g.saved)
		}
	}
	a.approvals()
}

func (a *account) approvals() {
	now := time.Now()
	for id, q := range a.asked {
		switch ends := a.ended[id]; {
		case len(ends) > 1, len(ends) == 1 && ends[0].ID < id:
			a.t.Errorf("%s: approval %s has %d endings: %+v", a.name, id, len(ends), ends)
		case len(ends) == 0 && (!a.queue.held[id] || now.After(q.Approval.ExpiresAt)):
			a.t.Errorf("%s: approval %s has no ending and was to expire at %v", a.name, id, q.Approval.ExpiresAt)
		case len(ends) == 1 && a.queue.held[id]:
			a.t.Errorf("%s: approval %s, which nobody answered, ended: %+v", a.name, id, ends[0])
		}
		if tries := a.queue.tries[q.ToolCallID]; a.calls[q.ToolCallID] > tries {
			a.t.Errorf("%s: tool call %s asked %d times, and is on the log %d times", a.name, q.ToolCallID, tries, a.calls[q.ToolCallID])
		}
	}
	for id := range a.ended {
		if _, ok := a.asked[id]; !ok {
			a.t.Errorf("%s: approval %s ended and was never asked for", a.name, id)
		}
	}
	for id, call := range a.queue.asked {
		if a.asked[id].ToolCallID != call {
			a.t.Errorf("%s: approval %s was acknowledged for %s, and is not on the log", a.name, id, call)
		}
	}
	for id, told := range a.queue.told {
		if ends := a.ended[id]; len(ends) != 1 || ends[0].Approval.Status != told.Status ||
			ends[0].Approval.ResolvedBy != told.ResolvedBy || ends[0].Approval.Reason != told.Reason ||
			told.Status != rampart.Expired && told.ResolvedBy != person {
			a.t.Errorf("%s: who waited for %s was told %s by %s, and the chain has %+v", a.name, id, told.Status, told.ResolvedBy, ends)
		}
	}
}
