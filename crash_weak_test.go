// Keeps case 19 of docs/durability.md: what a weaker -sync may cost, and what it may not.

package rampart_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// weak is a life under a policy that acknowledges what is not durable yet.
type weak struct {
	*life
	firm   int // how many events of the log are durable by the policy's doc
	called string
	rested time.Time
}

func weakCrash(policy rampart.SyncPolicy, n int) (*weak, error) {
	l, run := crashing("early", n)
	l.policy = policy
	w := &weak{life: l, rested: time.Now()}
	l.each = func(c call) {
		if w.called = ""; c.err == nil {
			w.called = c.what
		}
	}
	l.rest = func() error {
		// Full segments are durable. So is everything after an interval, a Close, a
		// pruning's event, or an opening, which copies what a kill left.
		for name := range l.fs.Files() {
			if first, ok := segment.ParseName(name); ok {
				w.firm = max(w.firm, int(first)-1)
			}
		}
		passed := policy == rampart.SyncInterval && time.Since(w.rested) > time.Second
		pruned := w.called == "prune" && l.log[len(l.log)-1].key == "prune"
		if passed || pruned || w.called == "close" || w.called == "open" {
			w.firm = len(l.log)
		}
		w.rested, w.called = time.Now(), ""
		return nil
	}
	return w, run()
}

// survivesWeakly opens what a power cut left. refused reports that it can't be
// opened, as when later events were kept and earlier ones lost.
func (w *weak) survivesWeakly(fs *vfstest.FS) (refused bool, err error) {
	r, err := rampart.Open("", worldOptions(fs))
	if err != nil {
		corrupt := new(rampart.CorruptError)
		return errors.As(err, &corrupt), err
	}
	defer r.Close()
	v := w.world.fork()
	at := int(r.Chain.Stats().Pruned.Records)
	for line, err := range r.Chain.Query(context.Background(), rampart.Query{Ascending: true}) {
		if err != nil {
			return false, err
		}
		if at >= w.firm && at < len(v.log) && v.log[at].line != "" && v.log[at].line != string(line) {
			break // the event is lost, and what the opening appended is in its place
		}
		at++
	}
	v.log = v.log[:min(len(v.log), max(w.firm, at))]
	v.approvals, v.readers, v.waiters = map[string]rampart.Approval{}, nil, nil
	if err := v.holds(r, true); err != nil {
		return false, err
	}
	if report, err := r.Chain.Verify(context.Background()); err != nil || !report.OK() {
		return false, fmt.Errorf("verify: %+v, %w", report, err)
	}
	return false, nil
}

// weakPlace names one state that the sweep comes to.
type weakPlace struct {
	policy rampart.SyncPolicy
	op     int
	fate   string
	seed   uint64
}

func (p *weakPlace) fields() map[string]any {
	return map[string]any{"policy": &p.policy, "op": &p.op, "fate": &p.fate, "seed": &p.seed}
}

func (p *weakPlace) String() string {
	return fmt.Sprintf("policy=%s,op=%d,fate=%s,seed=%d", p.policy, p.op, p.fate, p.seed)
}

// check opens the state at that place.
func (w *weak) check(p weakPlace) (refused bool, err error) {
	state := left(w.fs, p.fate, p.seed)
	if p.fate == killed {
		return false, w.survives(state)
	}
	refused, err = w.survivesWeakly(state)
	if refused && p.fate != vfstest.Lost.String() && p.fate != vfstest.Kept.String() {
		err = nil
	}
	return refused, err
}

// TestCrashWeakSync is the crash sweep under SyncInterval and SyncNever. When the
// process ends and the machine goes on, as much is promised as under SyncAlways. A
// power cut may lose what was acknowledged last, or leave later events without
// earlier ones, which opening refuses. It takes nothing that is durable by the
// policy's doc.
func TestCrashWeakSync(t *testing.T) {
	seldomGC(t)
	at := weakPlace{}
	// strike ends the process at at.op, and checks each state that states chooses.
	strike := func(states func(w *weak, check func(fate string, seed uint64))) {
		synctest.Test(t, func(t *testing.T) {
			w, err := weakCrash(at.policy, at.op)
			if err != nil {
				failAt(t, &at, err)
			}
			states(w, func(fate string, seed uint64) {
				at.fate, at.seed = fate, seed
				if _, err := w.check(at); err != nil {
					failAt(t, &at, err)
				}
			})
		})
	}
	if repeating(t, "policy", at.fields()) {
		fate, seed := at.fate, at.seed
		strike(func(_ *weak, check func(string, uint64)) { check(fate, seed) })
		return
	}
	for _, at.policy = range []rampart.SyncPolicy{rampart.SyncInterval, rampart.SyncNever} {
		count := 0
		at.op = 0
		for over := false; !over; {
			if at.op++; crashes != "all" {
				at.op += rand.IntN(8)
			}
			strike(func(w *weak, check func(string, uint64)) {
				over = !w.over()
				for _, fate := range []string{vfstest.Lost.String(), vfstest.Kept.String(), killed} {
					check(fate, 0)
				}
				seeds := 1
				if crashes == "all" {
					seeds = 20
				}
				for range seeds {
					seed := rand.Uint64N(1 << 32)
					check(vfstest.Torn.String(), seed)
					check(vfstest.Reordered.String(), seed)
				}
				count += 3 + 2*seeds
			})
		}
		t.Logf("%s: %d states", at.policy, count)
	}
}
