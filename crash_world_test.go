// What the crash tests hold a log against, to keep cases 1 to 13 and 19 of docs/durability.md.

package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// world is what those who use a log know of it. Whatever the log shows, while it is
// open and after each opening, is compared with that.
type world struct {
	log       []known                     // events that are on the log for certain, pruned ones included; event n is log[n-1]
	maybe     []attempt                   // writes that may be on the log: nobody was told
	pruned    uint64                      // how many of log were pruned
	prunable  uint64                      // how many the last pruning may have dropped at most
	pruning   bool                        // the last pruning ended with an error, or not at all
	approvals map[string]rampart.Approval // as the queue last showed them to somebody
	readers   []*reader
	waiters   []*waiter
	decoded   map[string]rampart.AuditEvent
}

type known struct {
	key            string
	id, hash, line string // empty until it was seen
}

// attempt is a write of which nobody was told whether it succeeded.
type attempt struct {
	keys     []string
	anyOrder bool
	visible  bool // the write may be on the log before the next opening
	found    int  // how many of keys were found; recovery keeps the beginning of a write
}

// reader is a subscriber, across all lives of the log.
type reader struct {
	name string
	from int             // index in the log of the first event that the reader is given
	at   string          // the reader's position
	seen []rampart.Event // the events with a position
	err  error
	stop func()
}

// waiter waits for an approval's end.
type waiter struct {
	id     string
	answer rampart.Approval
	err    error
}

func (w *world) fork() *world {
	v := *w
	v.log, v.maybe = slices.Clone(w.log), slices.Clone(w.maybe)
	v.approvals = maps.Clone(w.approvals)
	v.readers, v.waiters = nil, nil
	for _, rd := range w.readers {
		v.readers = append(v.readers, &reader{name: rd.name, from: rd.from, at: rd.at, seen: slices.Clip(rd.seen)})
	}
	for _, wt := range w.waiters {
		v.waiters = append(v.waiters, &waiter{id: wt.id, answer: wt.answer})
	}
	return &v
}

func (w *world) ack(key string, saved rampart.AuditEvent) {
	w.log = append(w.log, known{key: key, id: saved.ID, hash: saved.Hash})
}

func (w *world) decode(line string) rampart.AuditEvent {
	e, ok := w.decoded[line]
	if !ok {
		e, _ = rampart.Record(line).Event() // a line that can't be decoded has no key
		w.decoded[line] = e
	}
	return e
}

// member is the approval member of an event.
type member struct {
	ID         string                 `json:"id"`
	Status     rampart.ApprovalStatus `json:"status"`
	ExpiresAt  time.Time              `json:"expires_at"`
	Credential string                 `json:"credential"`
	SHA256     string                 `json:"request_sha256"`
	ResolvedBy string                 `json:"resolved_by"`
	Reason     string                 `json:"reason"`
}

func memberOf(e rampart.AuditEvent) (m member) {
	if e.Approval != nil {
		_ = json.Unmarshal(e.Approval, &m)
	}
	return m
}

func endKey(id string, status rampart.ApprovalStatus) string {
	return fmt.Sprintf("end %s %s", id, status)
}

// keyOf names an event by what whoever appended it knew of it.
func keyOf(e rampart.AuditEvent) string {
	if m := memberOf(e); m.ID != "" {
		return endKey(m.ID, m.Status)
	}
	if e.Agent == "rampart" && e.Tool == "prune" {
		return "prune"
	}
	return e.Decision.Message
}

// take reports whether event e may be on the log though nobody was told so.
func (w *world) take(e rampart.AuditEvent, reopened bool) bool {
	key := keyOf(e)
	for i := range w.maybe {
		a := &w.maybe[i]
		if !a.visible && !reopened {
			continue
		}
		if j := slices.Index(a.keys[a.found:], key); j == 0 || j > 0 && a.anyOrder {
			a.keys = slices.Clone(a.keys)
			a.keys[a.found+j], a.keys[a.found] = a.keys[a.found], key
			a.found++
			return true
		}
	}
	// An approval that has passed its deadline ends without any call.
	ends := memberOf(e)
	if ends.Status != rampart.Expired {
		return false
	}
	due := false
	for _, k := range w.log {
		if k.id == ends.ID {
			due = !time.Now().Before(memberOf(w.decode(k.line)).ExpiresAt)
		} else if strings.HasPrefix(k.key, "end "+ends.ID) {
			return false
		}
	}
	return due
}

// match holds the log's lines against what is known, and learns from them.
func (w *world) match(lines []string, dropped rampart.Pruned, reopened bool) error {
	if n := dropped.Records; n != w.pruned && !(reopened && w.pruning && n > w.pruned && n <= w.prunable) {
		return fmt.Errorf("%d events are pruned; %d were said to be, at most %d may", n, w.pruned, w.prunable)
	}
	if n := dropped.Records; n > 0 && (dropped.LastID != w.log[n-1].id || dropped.LastHash != w.log[n-1].hash) {
		return fmt.Errorf("pruned up to %+v, which is not event %d, %+v", dropped, n, w.log[n-1])
	}
	for i, line := range lines {
		at := int(dropped.Records) + i
		if at < len(w.log) && w.log[at].line == line {
			continue
		}
		e := w.decode(line)
		k := known{keyOf(e), e.ID, e.Hash, line}
		if at == len(w.log) {
			if !w.take(e, reopened) {
				return fmt.Errorf("event %d is %q, which nobody appended, or who did was told that it is not there", at+1, k.key)
			}
			w.log = append(w.log, k)
			continue
		}
		was := w.log[at]
		if k.key != was.key || was.line != "" || was.id != "" && k.id != was.id || was.hash != "" && k.hash != was.hash {
			return fmt.Errorf("event %d is %s, want %+v", at+1, line, was)
		}
		w.log[at] = k
	}
	if n := int(dropped.Records) + len(lines); n < len(w.log) {
		return fmt.Errorf("%d events are on the log; of the %d that were acknowledged %q is missing", n, len(w.log), w.log[n].key)
	}
	if reopened {
		w.maybe, w.pruned, w.pruning = nil, dropped.Records, false
	}
	return nil
}

// fold makes the approvals from the log's lines, with nothing of the library.
func (w *world) fold(lines []string) map[string]rampart.Approval {
	out := map[string]rampart.Approval{}
	for _, line := range lines {
		if !strings.Contains(line, `"approval":{`) {
			continue
		}
		e := w.decode(line)
		m := memberOf(e)
		if m.ID == "" {
			var request struct{ Command string }
			_ = json.Unmarshal(e.Request, &request)
			out[e.ID] = rampart.Approval{
				ID: e.ID, Tool: e.Tool, Command: request.Command, Request: e.Request, Agent: e.Agent, Session: e.Session, RunID: e.RunID,
				Message: e.Decision.Message, Status: rampart.Pending, CreatedAt: e.Timestamp, ExpiresAt: m.ExpiresAt,
				RequestSHA256: m.SHA256, ToolCallID: e.ToolCallID, Credential: m.Credential,
			}
		} else if p := out[m.ID]; p.Status == rampart.Pending {
			p.Status, p.ResolvedAt, p.ResolvedBy, p.Reason = m.Status, e.Timestamp, m.ResolvedBy, m.Reason
			out[m.ID] = p
		}
	}
	return out
}

// holds checks all that r shows: the log, the queue, and that it agrees with
// whatever anybody saw before.
func (w *world) holds(r *rampart.Rampart, reopened bool) error {
	var lines []string
	for line, err := range r.Chain.Query(context.Background(), rampart.Query{Ascending: true}) {
		if err != nil {
			return fmt.Errorf("query: %w", err)
		}
		lines = append(lines, string(line))
	}
	if err := w.match(lines, r.Chain.Stats().Pruned, reopened); err != nil {
		return err
	}
	is := w.fold(lines)
	pending := 0
	for id, want := range is {
		got, err := r.Approvals.Get(context.Background(), id)
		if err != nil {
			return fmt.Errorf("approval %s: %w", id, err)
		}
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("approval %s is\n%+v; by the log it is\n%+v", id, got, want)
		}
		if want.Status == rampart.Pending {
			pending++
		}
	}
	if got := r.Approvals.List(rampart.ApprovalFilter{}); len(got) != pending {
		return fmt.Errorf("%d approvals are pending, %d by the log", len(got), pending)
	}
	for _, wt := range w.waiters {
		if wt.answer.ID != "" {
			w.approvals[wt.id] = wt.answer
		}
	}
	for id, had := range w.approvals {
		now, ok := is[id]
		switch {
		case !ok && id <= r.Chain.Stats().Pruned.LastID && had.Status != rampart.Pending:
		case !ok:
			return fmt.Errorf("approval %s, %s, is gone", id, had.Status)
		case had.Status == rampart.Pending && now.Status != rampart.Pending:
			w.approvals[id] = now // its end is on the log, where match allowed it
		case !reflect.DeepEqual(now, had):
			return fmt.Errorf("approval %s is\n%+v; somebody had\n%+v", id, now, had)
		}
	}
	return w.seenIsThere()
}

// seenIsThere checks that each reader saw the log's own lines, in order, none
// left out and none twice.
func (w *world) seenIsThere() error {
	place := make(map[string]int, len(w.log))
	for i, k := range w.log {
		place[k.id] = i
	}
	for _, rd := range w.readers {
		last := rd.from - 1
		for _, e := range rd.seen {
			id, hash, _ := strings.Cut(e.ID, ".")
			at, ok := place[id]
			if !ok || !strings.HasPrefix(w.log[at].hash, hash) {
				return fmt.Errorf("reader %q saw %s, which is not on the log", rd.name, e.ID)
			}
			if e.Type == rampart.TypeAudit && string(e.Record) != w.log[at].line {
				return fmt.Errorf("reader %q saw %s, the log has %s", rd.name, e.Record, w.log[at].line)
			}
			if e.Type == rampart.TypeAuditBatch {
				for last+1 < at && strings.HasPrefix(w.log[last+1].key, "end ") {
					last++
				}
			}
			if at != last+1 {
				return fmt.Errorf("reader %q was given event %d after event %d", rd.name, at+1, last+1)
			}
			last = at
		}
	}
	return nil
}

// caughtUp checks that each reader was given all there is.
func (w *world) caughtUp() error {
	for _, rd := range w.readers {
		id, _, _ := strings.Cut(rd.at, ".")
		if rd.err != nil {
			return fmt.Errorf("reader %q, after %s: %w", rd.name, rd.at, rd.err)
		}
		if len(w.log) > 0 && id != w.log[len(w.log)-1].id {
			return fmt.Errorf("reader %q is at %s of %d events", rd.name, rd.at, len(w.log))
		}
	}
	return nil
}

// follow has the readers go on where they were.
func (w *world) follow(r *rampart.Rampart) {
	for _, rd := range w.readers {
		rd.follow(r)
	}
}

func (rd *reader) follow(r *rampart.Rampart) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	rd.err, rd.stop = nil, func() { cancel(); <-done }
	go func() {
		defer close(done)
		for e, err := range r.Bus.Subscribe(ctx, rd.at) {
			switch {
			case err != nil:
				rd.err = err
			case e.ID != "":
				rd.at, rd.seen = e.ID, append(rd.seen, e)
			}
		}
	}()
}

// wait has the waiters wait that have no answer yet.
func (w *world) wait(r *rampart.Rampart) {
	for _, wt := range w.waiters {
		if wt.answer.ID == "" {
			wt.wait(r)
		}
	}
}

func (wt *waiter) wait(r *rampart.Rampart) {
	wt.err = nil
	go func() {
		if got, err := r.Approvals.Wait(context.Background(), wt.id); err != nil {
			wt.err = err
		} else {
			wt.answer = got
		}
	}()
}

// leave ends the readers, which keep what they saw.
func (w *world) leave() {
	for _, rd := range w.readers {
		rd.stop()
	}
}

// anchors are each reader's position, and the newest event that somebody was told
// of.
func (w *world) anchors() (out []rampart.Anchor) {
	note := func(id, hash string) {
		if id != "" {
			out = append(out, rampart.Anchor{ID: id, Hash: hash})
		}
	}
	for _, rd := range w.readers {
		id, hash, _ := strings.Cut(rd.at, ".")
		if hash != "" {
			note(id, hash)
		}
	}
	if n := len(w.log); n > 0 {
		note(w.log[n-1].id, w.log[n-1].hash)
	}
	return out
}

const worldSegment = 3000

func worldOptions(fs *vfstest.FS) *rampart.Options {
	return &rampart.Options{
		Audit:     *rampart.AuditOptions{}.WithFS(fs).WithSegmentSize(worldSegment),
		Approvals: *rampart.ApprovalOptions{}.WithKeepEnded(1), // the others are read from the log
	}
}

// survives opens what a crash left of the log, again and again, and checks all
// promises. It leaves w as it is.
func (w *world) survives(fs *vfstest.FS) error {
	v := w.fork()
	before, err := rampart.VerifyChain(context.Background(), fs.Files(), w.anchors()...)
	if err != nil || before.Verdict != rampart.VerdictOK && before.Verdict != rampart.VerdictTornTail {
		return fmt.Errorf("before it is opened: %s, %v, %w", before.Verdict, before.Fault, err)
	}
	r, err := rampart.Open("", worldOptions(fs))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if torn := r.Chain.Stats().Torn; torn > 0 != (before.Verdict == rampart.VerdictTornTail) {
		r.Close()
		return fmt.Errorf("opening cut off %d bytes, verifying before it said %s, %v", torn, before.Verdict, before.Fault)
	}
	if err := v.lives(r, fs); err != nil {
		r.Close()
		return err
	}
	if err := r.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	closed := fs.Sum()
	if r, err = rampart.Open("", worldOptions(fs)); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	err = v.holds(r, true)
	if e := r.Close(); err == nil {
		err = e
	}
	if err == nil && fs.Sum() != closed {
		err = errors.New("opening and closing a closed log changed a file")
	}
	if err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	return nil
}

// lives checks r, which was just opened on fs, and goes on to use it.
func (w *world) lives(r *rampart.Rampart, fs *vfstest.FS) error {
	synctest.Wait()
	if err := w.holds(r, true); err != nil {
		return err
	}
	for name := range fs.Files() {
		if first, ok := segment.Owner(name); ok && first <= w.pruned {
			return fmt.Errorf("%s is left over", name)
		}
	}
	if err := w.durable(fs); err != nil {
		return fmt.Errorf("what was recovered: %w", err)
	}
	if err := w.sameAgain(r, fs.Kill()); err != nil {
		return fmt.Errorf("killed with nothing written: %w", err)
	}
	w.follow(r)
	w.wait(r)
	defer w.leave()
	e := event(0)
	e.Decision.Message = "after"
	saved, err := r.Chain.Append(context.Background(), e)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	w.ack("after", saved)
	synctest.Wait()
	if err := w.holds(r, false); err != nil {
		return err
	}
	if err := w.caughtUp(); err != nil {
		return err
	}
	if report, err := r.Chain.Verify(context.Background(), w.anchors()...); err != nil || !report.OK() {
		return fmt.Errorf("verify: %s, %v, %w", report.Verdict, report.Fault, err)
	}
	if err := w.durable(fs); err != nil {
		return fmt.Errorf("at rest: %w", err)
	}
	return nil
}

// sameAgain opens what r recovered, and did not close.
func (w *world) sameAgain(r *rampart.Rampart, fs *vfstest.FS) error {
	again, err := rampart.Open("", worldOptions(fs))
	if err != nil {
		return err
	}
	defer again.Close()
	if was, is := r.Chain.Head(), again.Chain.Head(); is != was {
		return fmt.Errorf("the newest event is %v, and was %v", is, was)
	}
	return w.fork().holds(again, true)
}

// durable checks that a power cut takes nothing of what is there.
func (w *world) durable(fs *vfstest.FS) error {
	there, stays := w.settled(fs), w.settled(fs.Recover(vfstest.Lost, 0))
	if !maps.Equal(there, stays) {
		return fmt.Errorf("there is %v, and a power cut leaves %v", slices.Sorted(maps.Keys(there)), slices.Sorted(maps.Keys(stays)))
	}
	return nil
}

// settled are the files without caches and those that opening removes.
func (w *world) settled(fs *vfstest.FS) map[string]string {
	files := map[string]string{}
	for name, f := range fs.Files() {
		first, ok := segment.Owner(name)
		if !strings.HasSuffix(name, ".tmp") && !strings.HasSuffix(name, ".idx") && (!ok || first > w.pruned) {
			files[name] = string(f.Data)
		}
	}
	return files
}
