// Keeps cases 1 to 4 and 9 to 11 of docs/durability.md: no crash costs what was acknowledged or shown.

package rampart_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// RAMPART_CRASH is "all" for every state, or one place of a sweep, in the form that
// a failed sweep prints. Without it the sweeps take a sample.
var crashes = os.Getenv("RAMPART_CRASH")

// place names one state that the crash sweep comes to.
type place struct {
	pace  string
	op    int    // the operation at which the process ends
	fate  string // of what the process left unsynced; killed if the machine goes on
	seed  uint64
	again int // the operation at which the next opening ends as well; 0 if it does not
	fate2 string
	seed2 uint64
}

const killed = "killed"

func (p *place) fields() map[string]any {
	return map[string]any{"pace": &p.pace, "op": &p.op, "fate": &p.fate, "seed": &p.seed, "again": &p.again, "fate2": &p.fate2, "seed2": &p.seed2}
}

func (p *place) String() string {
	s := fmt.Sprintf("pace=%s,op=%d,fate=%s,seed=%d", p.pace, p.op, p.fate, p.seed)
	if p.again > 0 {
		s += fmt.Sprintf(",again=%d,fate2=%s,seed2=%d", p.again, p.fate2, p.seed2)
	}
	return s
}

// repeating reports whether RAMPART_CRASH names one place of that kind, whose text
// begins with the field key, and reads its fields.
func repeating(t *testing.T, key string, fields map[string]any) bool {
	if !strings.HasPrefix(crashes, key+"=") {
		if strings.Contains(crashes, "=") {
			t.Skip("a place of another sweep is repeated")
		}
		return false
	}
	for pair := range strings.SplitSeq(crashes, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if _, err := fmt.Sscan(value, fields[name]); err != nil {
			t.Fatalf("RAMPART_CRASH: %s: %v", pair, err)
		}
	}
	return true
}

func failAt(t *testing.T, at fmt.Stringer, err error) {
	t.Helper()
	t.Fatalf("%v\n\nRAMPART_CRASH='%s' go test -count=1 -run '^%s$' .", err, at, strings.Split(t.Name(), "/")[0])
}

// seldomGC makes a sweep take a third of the time: it is made of buffers that
// are dropped at once.
func seldomGC(t *testing.T) {
	before := debug.SetGCPercent(800)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// left is what a crash of that fate leaves.
func left(fs *vfstest.FS, fate string, seed uint64) *vfstest.FS {
	for f := vfstest.Lost; f <= vfstest.Each; f++ {
		if f.String() == fate {
			return fs.Recover(f, seed)
		}
	}
	return fs.Kill()
}

func newLife(pace string) *life {
	return &life{
		world: &world{
			approvals: map[string]rampart.Approval{}, decoded: map[string]rampart.AuditEvent{},
			readers: []*reader{{name: "from the beginning", at: "0"}},
		},
		pace: pace, asked: map[string]string{},
		arm: func(*vfstest.FS, int, int) {}, each: func(call) {}, rest: func() error { return nil }, over: func() bool { return false },
	}
}

// crash runs the workload up to operation n.
func crash(pace string, n int) (*life, error) {
	l, run := crashing(pace, n)
	return l, run()
}

func crashing(pace string, n int) (l *life, run func() error) {
	l = newLife(pace)
	l.arm = func(fs *vfstest.FS, ops, _ int) {
		if n > ops {
			fs.CrashAt(n - ops)
		}
	}
	l.over = func() bool { ops, _ := l.done(); return ops >= n }
	return l, l.run
}

// crashSweep goes through the states that crashes leave.
type crashSweep struct {
	rng  *rand.Rand
	all  bool
	at   place
	seen map[string]bool // states of this operation

	states, nested, drawn int // drawn: operations for which only some states are opened
}

// crash ends the process at operation n and opens what is left.
func (s *crashSweep) crash(n int, pace string) error {
	s.at, s.seen = place{pace: pace, op: n}, map[string]bool{}
	l, err := crash(pace, n)
	if err != nil {
		return err
	}
	fates, all := s.fates(l.fs, 2, 1<<15)
	if s.all && !all {
		s.drawn++
	}
	for _, s.at = range fates {
		s.at.pace, s.at.op = pace, n
		if err := s.survives(l.world, left(l.fs, s.at.fate, s.at.seed), &s.states); err != nil {
			return err
		}
	}
	// After some of these crashes the next opening crashes, too.
	fates, _ = s.fates(l.fs, 1, 8)
	if !s.all {
		fates = fates[s.rng.IntN(len(fates)):][:1]
	}
	for _, s.at = range fates {
		s.at.pace, s.at.op = pace, n
		state := left(l.fs, s.at.fate, s.at.seed)
		if err := s.again(l.world, state); err != nil {
			return err
		}
	}
	return nil
}

// fates are ways of a crash: every one if there are at most most of them, otherwise
// so many of each kind. In a sample, few takes the place of most.
func (s *crashSweep) fates(fs *vfstest.FS, few, most uint64) (out []place, all bool) {
	out = []place{{fate: vfstest.Lost.String()}, {fate: vfstest.Kept.String()}, {fate: killed}}
	if !s.all {
		most = few
	}
	if n := fs.States(); n <= most {
		for seed := range n {
			out = append(out, place{fate: vfstest.Each.String(), seed: seed})
		}
		return out, true
	}
	for range most {
		seed := s.rng.Uint64N(1 << 32)
		out = append(out, place{fate: vfstest.Torn.String(), seed: seed}, place{fate: vfstest.Reordered.String(), seed: seed})
	}
	return out, false
}

// survives opens a state that was not seen yet.
func (s *crashSweep) survives(w *world, state *vfstest.FS, count *int) error {
	sum := fmt.Sprintf("%x %x", state.Sum(), state.Recover(vfstest.Lost, 0).Sum())
	if s.seen[sum] {
		return nil
	}
	s.seen[sum] = true
	*count++
	return w.survives(state)
}

// again opens state, and ends that process at each of its operations.
func (s *crashSweep) again(w *world, state *vfstest.FS) error {
	opening := 0
	count := state.Kill()
	if r, err := rampart.Open("", worldOptions(count)); err != nil {
		return err
	} else {
		opening = count.Ops()
		r.Close()
	}
	for m := 1; m <= opening; m++ {
		if !s.all {
			m = 1 + s.rng.IntN(opening)
		}
		at := s.at
		fs := crashOpening(state, m)
		fates, _ := s.fates(fs, 1, 32)
		for _, p := range fates {
			s.at = at
			s.at.again, s.at.fate2, s.at.seed2 = m, p.fate, p.seed
			if err := s.survives(w, left(fs, p.fate, p.seed), &s.nested); err != nil {
				return err
			}
		}
		s.at = at
		if !s.all {
			break
		}
	}
	return nil
}

// crashOpening opens a copy of state, and ends that process at operation m.
func crashOpening(state *vfstest.FS, m int) *vfstest.FS {
	fs := state.Kill()
	fs.CrashAt(m)
	if r, err := rampart.Open("", worldOptions(fs)); err == nil {
		r.Close()
	}
	return fs
}

// TestCrashSweep ends the process at each operation of a workload, with every fate
// of what was not synced, and also while it opens what an earlier end left. After
// each, what was acknowledged is on the log, in order, and nothing that nobody
// appended. The log verifies. What any subscriber or waiter was given is there as it
// was given. The approvals stand as they were left. The log goes on, and opening it
// once more changes no byte.
func TestCrashSweep(t *testing.T) {
	seldomGC(t)
	var at place
	if repeating(t, "pace", at.fields()) {
		synctest.Test(t, func(t *testing.T) {
			l, err := crash(at.pace, at.op)
			state := left(l.fs, at.fate, at.seed)
			if at.again > 0 {
				state = left(crashOpening(state, at.again), at.fate2, at.seed2)
			}
			if err == nil {
				err = l.survives(state)
			}
			if err != nil {
				failAt(t, &at, err)
			}
		})
		return
	}
	operations := map[string]int{}
	for pace := range paces {
		whole(t, pace, func(l *life) {
			operations[pace], _ = l.done()
			if l.pruned < 30 || len(l.readers) != 2 {
				t.Fatalf("the workload prunes %d events and has %d readers", l.pruned, len(l.readers))
			}
		})
	}
	shards := 2
	for shard := range shards {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			s := crashSweep{rng: rand.New(rand.NewPCG(rand.Uint64(), 0)), all: crashes == "all"}
			for n := 1 + shard; n <= operations["early"]+1; n += shards {
				only := s.rng.IntN(len(paces))
				for i, pace := range slices.Sorted(maps.Keys(paces)) {
					if !s.all && i != only {
						continue
					}
					synctest.Test(t, func(t *testing.T) {
						if err := s.crash(n, pace); err != nil {
							failAt(t, &s.at, err)
						}
					})
				}
			}
			t.Logf("%v operations; %d distinct states, %d after a crash of the opening; states were drawn at %d operations", operations, s.states, s.nested, s.drawn)
		})
	}
}
