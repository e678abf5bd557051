// Keeps cases 5 to 8, 12 and 13 of docs/durability.md: no error of a disk costs what was acknowledged or shown.

package rampart_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// fault names one error that the fault sweeps inject.
type fault struct {
	pace  string
	op    int    // the operation that fails; 0 for a read
	read  int    // the read that fails; 0 for an operation
	error string // EIO or ENOSPC
	short bool   // half of a write is done
	drop  bool   // a failed sync loses at once what was not durable
	then  int    // another operation fails so many later; 0 for none
}

func (f *fault) fields() map[string]any {
	return map[string]any{"pace": &f.pace, "failop": &f.op, "failread": &f.read, "error": &f.error, "short": &f.short, "drop": &f.drop, "then": &f.then}
}

func (f *fault) String() string {
	if f.read > 0 {
		return fmt.Sprintf("failread=%d,pace=%s,error=%s", f.read, f.pace, f.error)
	}
	return fmt.Sprintf("failop=%d,pace=%s,error=%s,short=%t,drop=%t,then=%d", f.op, f.pace, f.error, f.short, f.drop, f.then)
}

func (f *fault) err() error {
	if f.error == "ENOSPC" {
		return syscall.ENOSPC
	}
	return syscall.EIO
}

// faults are those of one operation.
func faults(pace string, n int, op string) (out []fault) {
	for _, err := range []string{"EIO", "ENOSPC"} {
		f := fault{pace: pace, op: n, error: err}
		out = append(out, f)
		switch kind, name, _ := strings.Cut(op, " "); {
		case strings.HasPrefix(kind, "sync"):
			f.drop = true
			out = append(out, f)
		case kind == "write":
			f.short = true
			out = append(out, f)
			if strings.HasSuffix(name, ".jsonl") {
				for f.then = 1; f.then <= 2; f.then++ { // the cut, and its sync
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// faulty is a life whose disk fails once, and what must come of it.
type faulty struct {
	*life
	t       *testing.T
	fault   fault
	rng     *rand.Rand
	told    bool // a call has reported the fault
	settled bool
	what    string // what failed; prev is what came before it
	prev    string
}

func failing(t *testing.T, f fault) *faulty {
	l := &faulty{life: newLife(f.pace), t: t, fault: f, rng: rand.New(rand.NewPCG(uint64(f.op), uint64(f.read)))}
	l.arm = func(fs *vfstest.FS, ops, reads int) {
		switch {
		case f.read > reads:
			fs.FailReadAt(f.read-reads, f.err())
		case f.op > ops && f.drop:
			fs.FailDropping(f.op-ops, f.err())
		case f.op > ops:
			fs.FailAt(f.op-ops, f.err(), f.short)
			if f.then > 0 {
				fs.FailAt(f.op-ops+f.then, f.err(), false)
			}
		}
	}
	l.each, l.rest = l.judge, l.settle
	return l
}

// hit reports whether the fault lies in that span of operations or reads, and notes
// what failed.
func (l *faulty) hit(ops, reads [2]int) bool {
	if f := l.fault; f.read > reads[0] && f.read <= reads[1] {
		l.what = l.fs.Read(f.read - l.reads)
		return true
	} else if f.op > ops[0] && f.op <= ops[1] {
		if l.what = l.fs.Op(f.op - l.ops); f.op > l.ops+1 {
			l.prev = l.fs.Op(f.op - l.ops - 1)
		}
		return true
	}
	return false
}

// kind says under which name the failed operation is counted, and whether the call
// that made it must be told.
func (l *faulty) kind(call string) (kind string, told bool) {
	op, name, _ := strings.Cut(l.what, " ")
	prevOp, prevName, _ := strings.Cut(l.prev, " ")
	if op == "syncdir" && prevOp == "rename" {
		name = prevName
	}
	switch {
	case op == "remove" && strings.HasSuffix(name, ".tmp"), strings.HasSuffix(name, ".jsonl.tmp"):
		return "", true
	case op == "remove", op == "syncdir" && prevOp == "remove":
		return "prune", false // the files are removed later
	case strings.Contains(name, ".idx"):
		return "index", false // a sidecar is a cache
	case strings.Contains(name, "PRUNED"):
		return "prune", true
	case op == "write":
		return "write", call != "open" // at opening the write is that of an approval's expiry
	case op == "sync" && l.prev != "create "+name:
		return "sync", call != "open"
	}
	return "create", true
}

// judge checks that a call was told of the fault if, and only if, it is concerned.
func (l *faulty) judge(c call) {
	fatal := errors.Is(c.err, rampart.ErrFailed)
	if l.hit(c.ops, c.reads) {
		l.told = true
		if l.fault.read > 0 {
			l.judgeRead(c)
		} else {
			l.judgeOp(c)
		}
		return
	}
	reading := c.what == "look" || strings.HasPrefix(c.what, "get") || strings.HasPrefix(c.what, "query") || c.what == "verify" || c.what == "subscribe"
	switch {
	case c.failed == nil || reading:
		if c.err != nil {
			l.wrong("%s: %v, though nothing failed in it", c.what, c.err)
		}
	case c.what == "prune" && c.err == nil: // there was nothing to prune
	case !fatal || !errors.Is(c.err, l.fault.err()):
		l.wrong("%s, after %s failed: %v; want ErrFailed and its cause", c.what, l.what, c.err)
	}
}

func (l *faulty) judgeOp(c call) {
	kind, told := l.kind(c.what)
	if told != errors.Is(c.err, l.fault.err()) || !told && c.err != nil {
		l.wrong("%s failed, after %q; %s returned %v", l.what, l.prev, c.what, c.err)
		return
	}
	final := kind == "sync" || kind == "write" && l.fault.then > 0
	if told && final != errors.Is(c.err, rampart.ErrFailed) {
		l.wrong("%s failed; %s returned %v", l.what, c.what, c.err)
	}
	if l.r != nil && c.what != "close" {
		l.counted(kind, final)
	}
}

// counted checks the figures that tell of the fault, and what HTTP answers.
func (l *faulty) counted(kind string, final bool) {
	want := map[string]uint64{"write": 0, "sync": 0, "create": 0, "index": 0, "prune": 0}
	if want[kind] = 1; kind == "write" && l.fault.then == 2 {
		want["sync"] = 1
	}
	if got := l.r.Chain.Stats().Errors; !maps.Equal(got, want) {
		l.wrong("%s failed, which is counted as %v, want %v", l.what, got, want)
	}
	if err := l.r.Chain.Err(); final != errors.Is(err, rampart.ErrFailed) || !final && err != nil {
		l.wrong("%s failed; Err = %v", l.what, err)
	}
	code := 200
	w := &web{l.t, l.r.Handler(testAuth()), adminToken}
	if final {
		code = 503
		w.expect(503, "", "POST", "/v1/audit/events", `{"agent":"a","tool":"t","decision":{"action":"allow"}}`)
		w.expect(503, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
	}
	w.expect(code, "", "GET", "/healthz", "")
}

func (l *faulty) judgeRead(c call) {
	op, name, _ := strings.Cut(l.what, " ")
	// Some faults need not be told. Without a sidecar, opening reads more of the
	// segment. What was read is right whatever closing the file says, except at the
	// log's own Close. Pruned files are removed later. An expiry that could not be
	// written is tried again.
	excused := strings.Contains(name, ".idx") || op == "close" && c.what != "close" || c.what == "open" && (op == "read" || op == "check") || c.what == "prune" && op == "list"
	switch {
	case c.err == nil:
		if !excused {
			l.wrong("%s failed, and %s returned no error", l.what, c.what)
		}
	case !strings.Contains(c.err.Error(), l.fault.err().Error()) || name != "." && !strings.Contains(c.err.Error(), name):
		l.wrong("%s failed; %s returned %v, which does not say so", l.what, c.what, c.err)
	case errors.Is(c.err, rampart.ErrFailed):
		l.wrong("%s failed; %s returned %v", l.what, c.what, c.err)
	}
}

// settle looks, once, at what the fault left: whether those were told that had no
// call under way, and what a crash would leave at this moment.
func (l *faulty) settle() error {
	var now [2]int
	now[0], now[1] = l.done()
	if l.settled || now[0] < l.fault.op || now[1] < l.fault.read {
		return nil
	}
	l.settled = true
	if !l.told {
		l.hit([2]int{0, now[0]}, [2]int{0, now[1]})
		if err := l.unasked(); err != nil {
			return err
		}
	}
	for _, fate := range []string{vfstest.Lost.String(), vfstest.Kept.String(), killed, vfstest.Torn.String(), vfstest.Torn.String()} {
		seed := l.rng.Uint64N(1 << 32)
		if err := l.survives(left(l.fs, fate, seed)); err != nil {
			return fmt.Errorf("%s failed, then a crash, %s, seed %d: %w", l.what, fate, seed, err)
		}
	}
	return nil
}

// unasked checks a fault of something that runs beside the calls: a sidecar's
// writer, the expiry of an approval, a reader, a waiter. A reader or waiter that was
// told goes on where it was.
func (l *faulty) unasked() error {
	if l.fault.op > 0 {
		kind, _ := l.kind("")
		if kind == "prune" || kind == "" {
			return fmt.Errorf("%s failed in no call", l.what)
		}
		l.counted(kind, kind == "sync" || l.fault.then > 0 && kind == "write")
		return nil
	}
	op, name, _ := strings.Cut(l.what, " ")
	told := 0
	says := func(err error) bool { return errors.Is(err, l.fault.err()) && strings.Contains(err.Error(), name) }
	for _, rd := range l.readers {
		if rd.err != nil {
			if !says(rd.err) {
				return fmt.Errorf("%s failed; reader %q got %w", l.what, rd.name, rd.err)
			}
			told++
			rd.stop()
			rd.follow(l.r)
		}
	}
	for _, wt := range l.waiters {
		if wt.err != nil && !errors.Is(wt.err, rampart.ErrClosed) {
			if !says(wt.err) {
				return fmt.Errorf("%s failed; a waiter got %w", l.what, wt.err)
			}
			told++
			wt.wait(l.r)
		}
	}
	synctest.Wait()
	if excused := strings.Contains(name, ".idx") || op == "close" || op == "check"; told > 1 || told == 0 && !excused {
		return fmt.Errorf("%s failed, and %d readers and waiters were told", l.what, told)
	}
	return nil
}

// strike runs the workload with the fault.
func strike(t *testing.T, f fault) {
	synctest.Test(t, func(t *testing.T) {
		l := failing(t, f)
		err := l.run()
		if err == nil && !l.settled {
			err = errors.New("the fault did not come about")
		}
		if err == nil {
			err = l.survives(l.fs.Recover(vfstest.Lost, 0))
		}
		if err != nil {
			failAt(t, &f, err)
		}
	})
}

// whole runs the workload without a fault.
func whole(t *testing.T, pace string, use func(l *life)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(pace)
		if err := l.run(); err != nil {
			t.Fatalf("pace=%s, without a fault: %v", pace, err)
		}
		use(l)
	})
}

// TestCrashFaults has each operation of the workload fail once. The call that made
// the operation is told, and nobody else; nothing of the call's change is seen, and
// the queue stands as it stood. Later calls do as documented, and whatever crash
// comes then, all that the crash sweep checks holds.
func TestCrashFaults(t *testing.T) {
	seldomGC(t)
	var f fault
	if repeating(t, "failop", f.fields()) {
		strike(t, f)
		return
	}
	for shard := range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			count := 0
			for _, pace := range slices.Sorted(maps.Keys(paces)) {
				var ops []string
				whole(t, pace, func(l *life) { ops = l.operations() })
				for n := 1 + shard; n <= len(ops); n += 2 {
					all := faults(pace, n, ops[n-1])
					if crashes != "all" {
						if rand.IntN(5) > 0 {
							continue
						}
						all = all[rand.IntN(len(all)):][:1]
					}
					for _, f := range all {
						count++
						strike(t, f)
					}
				}
			}
			t.Logf("%d faults", count)
		})
	}
}

// TestCrashReadFaults has each read, lock and close of a file fail once. The reader
// is told which file it was, the log stays as it is, and the next try succeeds.
func TestCrashReadFaults(t *testing.T) {
	seldomGC(t)
	var f fault
	if repeating(t, "failread", f.fields()) {
		strike(t, f)
		return
	}
	for shard := range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			reads, count := 0, 0
			whole(t, "early", func(l *life) { _, reads = l.done() })
			for n := 1 + shard; n <= reads; n += 2 {
				if crashes != "all" && rand.IntN(16) > 0 {
					continue
				}
				count++
				strike(t, fault{pace: "early", read: n, error: "EIO"})
			}
			t.Logf("%d of %d reads failed", count, reads)
		})
	}
}
