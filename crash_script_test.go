// The workload of the crash tests, which keep cases 1 to 13 and 19 of docs/durability.md.

package rampart_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// A pace says at which of its operations the writer of a sidecar waits until the
// appends beside it are done. Otherwise their order would depend on the scheduler.
var paces = map[string]string{"early": "never", "late": "create", "mixed": "sync"}

// life is the workload that is crashed, or whose disk fails, at every operation
// or read. It runs in a synctest bubble, so that time passes when it is told to
// and the n-th operation is the same in each run.
type life struct {
	*world
	pace   string
	policy rampart.SyncPolicy
	arm    func(fs *vfstest.FS, ops, reads int) // arms the fault; ops and reads were counted in former processes
	each   func(call)                           // is told of each call
	rest   func() error                         // is called when all has come to rest after a step, or a failed opening
	over   func() bool                          // reports whether the process has ended

	fs         *vfstest.FS
	ops, reads int // of former processes
	r          *rampart.Rampart
	asked      map[string]string // ids of approvals, by name
	count      int               // of events
	failed     error             // why the chain took no more events before the last call
	history    []string          // operations of former processes
	problem    error

	resting atomic.Bool
	gate    chan struct{} // holds up the writer of a sidecar; nil for not at all
}

// call is a call of the library that has returned, with what happened meanwhile.
type call struct {
	what       string
	ops, reads [2]int // number of the last one before and after it
	failed     error  // the chain had failed before it
	err        error
}

// done returns how many operations and reads there were.
func (l *life) done() (ops, reads int) { return l.ops + l.fs.Ops(), l.reads + l.fs.Reads() }

func (l *life) operations() []string {
	out := slices.Clip(l.history)
	for n := range l.fs.Ops() {
		out = append(out, l.fs.Op(n+1))
	}
	return out
}

// use makes fs the disk of the process that begins.
func (l *life) use(fs *vfstest.FS) {
	l.fs = fs
	fs.Before = l.before
	l.arm(fs, l.ops, l.reads)
}

// before has all else come to rest before an operation, so that whoever can have
// learnt of something by then has learnt of it.
func (l *life) before(op string) {
	if strings.Contains(op, ".idx") {
		if gate := l.gate; gate != nil && strings.HasPrefix(op, paces[l.pace]) {
			<-gate
		}
		return // this is the sidecar's writer, while others rest
	}
	if op != "syncdir ." && l.resting.CompareAndSwap(false, true) {
		synctest.Wait()
		l.resting.Store(false)
	}
}

// do makes a call and hands on what it returned.
func (l *life) do(what string, fn func() error) error {
	c := call{what: what}
	c.ops[0], c.reads[0] = l.done()
	if l.r != nil {
		c.failed = l.r.Chain.Err()
	}
	l.failed = c.failed
	c.err = fn()
	c.ops[1], c.reads[1] = l.done()
	l.each(c)
	return c.err
}

func (l *life) event() rampart.AuditEvent {
	l.count++
	e := event(l.count)
	e.Decision.Message = fmt.Sprint("event ", l.count)
	return e
}

// append appends n events in one call.
func (l *life) append(n int) {
	a := attempt{}
	var events []rampart.AuditEvent
	for range n {
		e := l.event()
		events, a.keys = append(events, e), append(a.keys, e.Decision.Message)
	}
	var saved []rampart.AuditEvent
	err := l.do(fmt.Sprint("append ", n), func() (err error) {
		saved, err = l.r.Chain.AppendAll(context.Background(), events)
		return err
	})
	l.outcome(a, saved, err)
}

// outcome notes what a write's caller was told.
func (l *life) outcome(a attempt, saved []rampart.AuditEvent, err error) {
	switch {
	case err == nil:
		for i, key := range a.keys {
			var e rampart.AuditEvent
			if saved != nil {
				e = saved[i]
			}
			l.ack(key, e)
		}
	case errors.Is(err, rampart.ErrFailed) && l.failed == nil:
		l.maybe = append(l.maybe, a)
	} // any other error says that the event is not there
}

// together appends n events at once from as many goroutines: the first writes
// alone, the others share the next write.
func (l *life) together(n int) {
	type result struct {
		e   rampart.AuditEvent
		err error
	}
	results := make([]result, n)
	_ = l.do(fmt.Sprint("together ", n), func() error {
		var wg sync.WaitGroup
		for i := range n {
			e := l.event()
			results[i].e = e
			wg.Go(func() {
				saved, err := l.r.Chain.Append(context.Background(), e)
				if results[i].err = err; err == nil {
					results[i].e = saved
				}
			})
		}
		wg.Wait()
		var errs []error
		for _, r := range results {
			errs = append(errs, r.err)
		}
		return errors.Join(errs...)
	})
	var acked []rampart.AuditEvent
	a := attempt{anyOrder: true}
	for _, r := range results {
		switch {
		case r.err == nil:
			acked = append(acked, r.e)
		case errors.Is(r.err, rampart.ErrFailed) && l.failed == nil:
			a.keys = append(a.keys, r.e.Decision.Message)
		}
	}
	slices.SortFunc(acked, func(x, y rampart.AuditEvent) int { return strings.Compare(x.ID, y.ID) })
	for _, e := range acked {
		l.ack(e.Decision.Message, e)
	}
	l.maybe = append(l.maybe, a)
}

// ask asks for an approval, and somebody waits for its end.
func (l *life) ask(name, run string, ttl time.Duration) {
	var p rampart.Approval
	err := l.do("ask "+name, func() (err error) {
		p, err = l.r.Approvals.Request(context.Background(), rampart.ApprovalRequest{
			Agent: "claude-code", Session: "myapp/" + name, RunID: run, ToolCallID: "toolu_" + name, Tool: "exec",
			Request: json.RawMessage(fmt.Sprintf(`{"command":"rm -rf %s"}`, name)), Message: name, TTL: ttl, Credential: "agent-" + name,
		})
		return err
	})
	l.outcome(attempt{keys: []string{name}}, []rampart.AuditEvent{{ID: p.ID}}, err)
	if err == nil {
		l.asked[name], l.approvals[p.ID] = p.ID, p
		wt := &waiter{id: p.ID}
		l.waiters = append(l.waiters, wt)
		wt.wait(l.r)
	}
}

func (l *life) answer(name string, status rampart.ApprovalStatus) {
	id := l.asked[name]
	if id == "" {
		return // asking failed
	}
	var p rampart.Approval
	err := l.do(fmt.Sprintf("answer %s %s", name, status), func() (err error) {
		p, err = l.r.Approvals.Resolve(context.Background(), id, rampart.Resolution{
			Status: status, ResolvedBy: "ann", Credential: "admin", Reason: "for " + name,
		})
		return err
	})
	l.outcome(attempt{keys: []string{endKey(id, status)}}, nil, err)
	if err == nil {
		l.approvals[id] = p
	}
}

func (l *life) answerAll(run string, names ...string) {
	a := attempt{}
	for _, name := range names {
		if id := l.asked[name]; id != "" {
			a.keys = append(a.keys, endKey(id, rampart.Approved))
		}
	}
	if len(a.keys) == 0 {
		return
	}
	var ended []rampart.Approval
	err := l.do("answer all of "+run, func() (err error) {
		ended, err = l.r.Approvals.ResolveAll(context.Background(), rampart.BulkResolution{
			RunID: run, Resolution: rampart.Resolution{Status: rampart.Approved, Credential: "admin"},
		})
		return err
	})
	l.outcome(a, nil, err)
	for _, p := range ended {
		l.approvals[p.ID] = p
	}
}

// prune drops what may go: all before the last segment and the first approval
// that is pending.
func (l *life) prune() {
	var live uint64
	for name := range l.fs.Files() {
		if first, ok := segment.ParseName(name); ok {
			live = max(live, first)
		}
	}
	l.prunable, l.pruning = live-1, true
	for i, k := range l.log {
		if p, ok := l.approvals[k.id]; ok && p.Status == rampart.Pending && k.key == p.Message {
			l.prunable = min(l.prunable, uint64(i))
		}
	}
	var n uint64
	err := l.do("prune", func() (err error) {
		n, err = l.r.Chain.Prune(context.Background(), time.Now().Add(time.Hour))
		return err
	})
	switch {
	case err != nil:
		l.maybe = append(l.maybe, attempt{keys: []string{"prune"}, visible: true})
	case n > 0:
		l.pruned += n
		l.pruning = false
		l.ack("prune", rampart.AuditEvent{})
	}
}

// begin opens the log, and everybody goes on. If the log can't be opened, the next
// try succeeds.
func (l *life) begin() error {
	for range 2 {
		err := l.do("open", func() (err error) {
			o := worldOptions(l.fs)
			o.Audit.Sync = l.policy
			l.r, err = rampart.Open("", o)
			return err
		})
		if err == nil {
			l.follow(l.r)
			l.wait(l.r)
			synctest.Wait()
			return l.look(true)
		}
		if l.over() {
			return nil
		}
		l.r = nil
		if err := l.rest(); err != nil {
			return err
		}
	}
	return errors.New("it can't be opened the second time either")
}

// end closes the log. If that fails, the process counts as killed.
func (l *life) end() {
	l.leave()
	_ = l.do("close", l.r.Close)
	l.r = nil
}

// kill ends the process, and the machine goes on.
func (l *life) kill() {
	next := l.fs.Kill()
	l.ops, l.reads = l.done()
	l.history = l.operations()
	l.leave()
	l.fs.CrashAt(1)
	l.r.Close()
	l.r = nil
	l.use(next)
}

// read looks at the log in every way, and compares what it gets with the lines that
// are there.
func (l *life) read() {
	ctx := context.Background()
	var lines []string
	for _, k := range l.log[l.pruned:] {
		lines = append(lines, k.line)
	}
	if len(lines) == 0 {
		return
	}
	query := func(what string, q rampart.Query, choose func(e rampart.AuditEvent) bool) {
		var want, got []string
		for _, line := range lines {
			if choose(l.decode(line)) {
				want = append(want, line)
			}
		}
		if !q.Ascending {
			slices.Reverse(want)
		}
		err := l.do("query "+what, func() error {
			for line, err := range l.r.Chain.Query(ctx, q) {
				if err != nil {
					return err
				}
				got = append(got, string(line))
			}
			return nil
		})
		if err == nil && !slices.Equal(got, want) {
			l.wrong("query %s: %d lines, want %d", what, len(got), len(want))
		}
	}
	middle := l.decode(lines[len(lines)/2])
	query("all", rampart.Query{}, func(rampart.AuditEvent) bool { return true })
	query("after", rampart.Query{After: middle.ID, Ascending: true}, func(e rampart.AuditEvent) bool { return e.ID > middle.ID })
	query("before", rampart.Query{Before: middle.ID}, func(e rampart.AuditEvent) bool { return e.ID < middle.ID })
	query("session", rampart.Query{Filter: rampart.Filter{Session: []string{"myapp/F"}}}, func(e rampart.AuditEvent) bool { return e.Session == "myapp/F" })
	query("since", rampart.Query{Since: middle.Timestamp}, func(e rampart.AuditEvent) bool { return !e.Timestamp.Before(middle.Timestamp) })
	for _, i := range []int{0, len(lines) / 2, len(lines) - 1} {
		var line rampart.Record
		err := l.do("get", func() (err error) {
			line, err = l.r.Chain.Get(ctx, l.decode(lines[i]).ID)
			return err
		})
		if err == nil && string(line) != lines[i] {
			l.wrong("get: %s, want %s", line, lines[i])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.fold(lines))) {
		var p rampart.Approval
		err := l.do("get approval", func() (err error) {
			p, err = l.r.Approvals.Get(ctx, id)
			return err
		})
		if want := l.fold(lines)[id]; err == nil && !reflect.DeepEqual(p, want) {
			l.wrong("approval %s: %+v, want %+v", id, p, want)
		}
	}
	_ = l.do("verify", func() error {
		report, err := l.r.Chain.Verify(ctx, l.anchors()...)
		if report.Verdict == rampart.VerdictUnreadable {
			return report.Fault
		}
		// After a pruning that failed the log may be pruned or not.
		if n := report.Pruned.Records; err == nil && (!report.OK() || n+report.Events != uint64(len(l.log)) || n != l.pruned && !l.pruning) {
			l.wrong("verify: %+v", report)
		}
		return err
	})
	var seen []string
	err := l.do("subscribe", func() error {
		for e, err := range l.r.Bus.Subscribe(ctx, "0") {
			if err != nil {
				return err
			}
			if seen = append(seen, string(e.Record)); len(seen) == len(lines) {
				break
			}
		}
		return nil
	})
	if err == nil && !slices.Equal(seen, lines) {
		l.wrong("subscribe: %d lines, want %d", len(seen), len(lines))
	}
}

func (l *life) wrong(format string, args ...any) {
	if l.problem == nil {
		l.problem = fmt.Errorf(format, args...)
	}
}

// run goes through the workload until the process ends. After each step it compares
// what everybody was told and shown.
func (l *life) run() error {
	l.use(vfstest.New())
	defer func() {
		if l.r != nil {
			l.leave()
			l.r.Close()
		}
	}()
	for i, step := range l.steps() {
		err := step()
		synctest.Wait()
		if l.over() {
			break
		}
		if err == nil {
			err = l.rest()
		}
		if err == nil && l.r != nil {
			err = l.look(false)
		}
		if err == nil && l.r != nil {
			err = l.caughtUp()
		}
		if err = cmp.Or(l.problem, err); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// look is holds as a call of its own. If it can't be answered, the next try can.
func (l *life) look(reopened bool) error {
	err := l.do("look", func() error { return l.holds(l.r, reopened) })
	if err != nil && l.problem == nil {
		err = l.do("look", func() error { return l.holds(l.r, reopened) })
	}
	return err
}

// expired checks that nothing is pending past its deadline.
func (l *life) expired() {
	for _, p := range l.r.Approvals.List(rampart.ApprovalFilter{}) {
		if !time.Now().Before(p.ExpiresAt) && l.r.Chain.Err() == nil && !l.over() {
			l.wrong("approval %s is pending past its deadline: %+v", p.Message, p)
		}
	}
}

// steps are the workload.
func (l *life) steps() []func() error {
	// appending lets a sidecar's writer wait until fn is done.
	appending := func(fn func()) func() error {
		return func() error {
			l.gate = make(chan struct{})
			fn()
			close(l.gate)
			synctest.Wait()
			l.gate = nil
			return nil
		}
	}
	plain := func(fn func()) func() error {
		return func() error { fn(); return nil }
	}
	return []func() error{
		l.begin,
		plain(func() { l.append(1) }),
		plain(func() { l.append(4) }),
		plain(func() { l.ask("A", "run_1", time.Hour) }),
		plain(func() { l.ask("B", "run_1", time.Hour) }),
		plain(func() { l.ask("C", "run_2", time.Minute) }),
		appending(func() { l.append(12) }), // more than a page
		appending(func() { l.together(5) }),
		plain(func() { l.answer("A", rampart.Approved) }),
		plain(func() {
			if n := len(l.log); n > 0 {
				k := l.log[n/2]
				l.leave()
				l.readers = append(l.readers, &reader{name: "from the middle", from: n/2 + 1, at: k.id + "." + k.hash[:16]})
				l.follow(l.r)
			}
		}),
		appending(func() { l.append(2) }),
		plain(func() { time.Sleep(2 * time.Minute); l.expired() }), // C
		plain(func() { l.ask("D", "run_3", time.Hour) }),
		plain(func() { l.ask("E", "run_3", time.Hour) }),
		appending(func() { l.answerAll("run_3", "D", "E") }),
		appending(func() { l.answer("B", rampart.Denied) }),
		plain(func() { l.ask("F", "run_4", 24*time.Hour) }),
		appending(func() { l.append(3) }),
		plain(l.prune),
		plain(l.read),
		plain(l.end),
		l.begin,
		plain(l.read),
		appending(func() { l.append(7) }),
		appending(func() { l.append(1) }),
		plain(func() { l.ask("G", "run_5", time.Minute) }),
		plain(l.kill),
		l.begin,
		plain(l.read),
		plain(func() { l.answer("F", rampart.Denied) }),
		appending(func() { l.together(3) }),
		appending(func() { l.append(1) }),
		plain(func() { l.ask("H", "run_6", 24*time.Hour) }),
		plain(l.prune),
		plain(l.end),
		plain(func() { time.Sleep(2 * time.Minute) }), // G passes its deadline
		l.begin,
		plain(func() { l.answer("H", rampart.Approved) }),
		plain(l.end),
	}
}
