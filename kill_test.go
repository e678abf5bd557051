// Keeps cases 1 and 11 of docs/durability.md: no kill costs what was acknowledged or shown, or a watcher its place.

package rampart_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// TestCrashKilled kills a process again and again, with SIGKILL, while 64 writers,
// eight askers and several streams are at work in it, and also while it opens the
// log. After each kill the log has all that was acknowledged and all that anybody
// saw, and nothing else. At the end each stream that resumed has had every event
// once.
//
// The seed decides how much the process had told when it was killed. No seed repeats
// what its threads were doing at that moment.
func TestCrashKilled(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("RAMPART_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	logs, kills := 1, 8
	if os.Getenv("RAMPART_CRASH") == "all" {
		logs = 40
	}
	var sum figures
	for n := range logs {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		k := newKiller(t, &sum)
		for round := range kills {
			what, after := "", rng.IntN(1500)
			switch round % 4 {
			case 1: // while it opens the log, which takes up to seven operations, or soon after
				what, after = "op", 1+rng.IntN(10)
			case 3: // in the middle of a long write
				what, after = "write", 1+rng.IntN(2)
			}
			k.where = fmt.Sprintf("RAMPART_SEED=%d go test -run TestCrashKilled . # log %d, killed after %d lines %q in round %d", seed, n, after, what, round)
			k.kill(round, what, after)
			k.check()
		}
		k.finish()
	}
	t.Logf("RAMPART_SEED=%d; %d kills: %+v", seed, logs*kills, sum)
}

// figures are how much there was to lose.
type figures struct {
	Opening      int // kills before the log was open
	Torn         int // kills that left an unfinished line
	Parts        int // appends of several events of which only the first ones are there
	Events       int
	Acknowledged int // of the events; without approvals
	Approvals    int
	Seen         int // messages, by all readers
	Segments     int
}

// killer is the parent of the processes that are killed. It keeps what they told.
type killer struct {
	t     *testing.T
	dir   string
	where string

	saved     map[string][]string // by writer and round, the lines in the order of their acknowledgment
	seen      []*sighting         // streams and subscriptions
	approvals map[string]rampart.Approval
	answering map[string]rampart.ApprovalStatus // what may have been answered

	resuming []*sighting // those of seen that go on with the next process
	sum      *figures
}

func newKiller(t *testing.T, sum *figures) *killer {
	k := &killer{t: t, dir: t.TempDir(), sum: sum, saved: map[string][]string{}, approvals: map[string]rampart.Approval{}, answering: map[string]rampart.ApprovalStatus{}}
	k.resuming = []*sighting{
		{name: "resuming", after: "0"}, {name: "slow", after: "0", slow: true}, {name: "live at first", position: -1},
	}
	k.seen = append(k.seen, k.resuming...)
	return k
}

// kill starts a process on the log, and kills it once it has told after lines that
// begin with what. If what is empty, all lines count but those that repeat what was
// seen.
func (k *killer) kill(round int, what string, after int) {
	k.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+k.dir, fmt.Sprintf("%s=round %d", victimRound, round))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	hang := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer hang.Stop()

	var readers sync.WaitGroup
	turns := make(chan struct{}, 1<<16) // each lets the slow reader take a message
	subs := map[string]*sighting{"0": {name: "subscription from 0", after: "0"}, "": {name: "live subscription", position: -1}}
	opened := false
	lines := bufio.NewReaderSize(out, 1<<20)
	for n, told := 0, 0; ; {
		if n == after || told == 3000 {
			if !opened {
				k.sum.Opening++
			}
			cmd.Process.Kill()
		}
		line, err := lines.ReadString('\n')
		if err != nil { // an unfinished line was not told
			break
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if words[0] != "saw" {
			if told++; what == "" || what == words[0] {
				n++
			}
		}
		switch words[0] {
		case "op", "write":
		case "listening":
			opened = true
			fresh := &sighting{name: fmt.Sprint("opened in round ", round), after: "0"}
			k.seen = append(k.seen, fresh)
			for _, s := range append(k.resuming, fresh) {
				readers.Go(func() { s.read(k.t, words[1], turns) })
			}
		case "saved":
			k.saved[words[1]] = append(k.saved[words[1]], words[2:]...)
			if told%8 == 0 {
				turns <- struct{}{}
			}
		case "saw":
			subs[words[1]].add(rampart.EventType(words[2]), words[3], words[4], words[5])
		case "approval":
			var a rampart.Approval
			if err := json.Unmarshal([]byte(words[1]), &a); err != nil {
				k.t.Fatal(err)
			}
			k.approvals[a.ID] = a
			if a.Status != rampart.Pending {
				delete(k.answering, a.ID)
			}
		case "answering":
			k.answering[words[1]] = rampart.ApprovalStatus(words[2])
		default:
			k.t.Fatalf("%s: the process says %q", k.where, line)
		}
	}
	close(turns)
	readers.Wait()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 || stderr.Len() > 0 {
		k.t.Fatalf("%s: the process ended by itself: %v\n%s", k.where, err, &stderr)
	}
	for _, s := range subs {
		k.seen = append(k.seen, s)
	}
}

// check looks at the log as the kill left it, and opens a copy.
func (k *killer) check() {
	k.t.Helper()
	log, torn := k.onDisk()
	if torn {
		k.sum.Torn++
	}
	k.checkSaved(log)
	var anchors []rampart.Anchor
	for _, s := range k.seen {
		anchors = append(anchors, s.check(k, log)...)
	}
	want := map[bool]rampart.Verdict{false: rampart.VerdictOK, true: rampart.VerdictTornTail}[torn]
	if r, err := rampart.VerifyChain(k.t.Context(), os.DirFS(k.dir), anchors...); err != nil || r.Verdict != want && r.Events > 0 {
		k.t.Fatalf("%s: verified as it was left: %+v %v, want %s", k.where, r, err, want)
	}

	copied := k.t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(k.dir)); err != nil {
		k.t.Fatal(err)
	}
	r, err := rampart.Open(copied, victimOptions(nil))
	if err != nil {
		k.t.Fatalf("%s: %v", k.where, err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			k.t.Errorf("%s: %v", k.where, err)
		}
		os.RemoveAll(copied)
	}()
	if d := cmp.Diff(log, all(k.t, r.Chain, rampart.Query{Ascending: true})); d != "" {
		k.t.Fatalf("%s: opening changed the log: %s", k.where, d)
	}
	if report, err := r.Chain.Verify(k.t.Context(), anchors...); err != nil || !report.OK() {
		k.t.Fatalf("%s: opened again: %+v %v", k.where, report, err)
	}
	k.checkApprovals(r.Approvals)
}

// onDisk are the log's whole lines, and whether something stands after them.
func (k *killer) onDisk() (log []string, torn bool) {
	k.t.Helper()
	for _, name := range segments(k.t, k.dir) {
		data, err := os.ReadFile(name)
		if err != nil {
			k.t.Fatal(err)
		}
		if torn {
			k.t.Fatalf("%s: a torn segment before %s", k.where, name)
		}
		for line := range strings.Lines(string(data)) {
			whole, ok := strings.CutSuffix(line, "\n")
			if torn = !ok; ok {
				log = append(log, whole)
			}
		}
	}
	return log, torn
}

// checkSaved wants all acknowledged events of each writer, as they were and in that
// order. After them it allows at most the one append that was under way, or a part
// of it. It allows nothing else but approvals. It returns how many such parts there
// are.
func (k *killer) checkSaved(log []string) (parts int) {
	k.t.Helper()
	left := maps.Clone(k.saved)
	count := map[string]int{}
	for _, line := range log {
		e, err := rampart.Record(line).Event()
		if err != nil {
			k.t.Fatalf("%s: %v", k.where, err)
		}
		if e.Approval != nil {
			continue // checkApprovals
		}
		writer := e.Agent + " " + e.Session
		if want := left[writer]; len(want) > 0 {
			if line != want[0] {
				k.t.Fatalf("%s: %s: stored\n%.500s\nacknowledged\n%.500s", k.where, writer, line, want[0])
			}
			left[writer] = want[1:]
		}
		var number int
		fmt.Sscanf(e.Agent, "writer %d", &number)
		want := victimEvent(number, e.Session, count[writer])
		want.ID, want.PrevHash, want.Hash = e.ID, e.PrevHash, e.Hash
		if asJSON(want) != line {
			k.t.Fatalf("%s: nobody wrote\n%.500s", k.where, line)
		}
		count[writer]++
		if over := count[writer] - len(k.saved[writer]); over > victimBatch(number, len(k.saved[writer])) {
			k.t.Fatalf("%s: %s: %d events that were not acknowledged", k.where, writer, over)
		}
	}
	for writer, n := range count {
		var number int
		fmt.Sscanf(writer, "writer %d", &number)
		if over := n - len(k.saved[writer]); over > 0 && over < victimBatch(number, len(k.saved[writer])) {
			parts++
		}
	}
	for writer, want := range left {
		if len(want) > 0 {
			k.t.Fatalf("%s: %s: %d acknowledged events are gone, the first\n%.500s", k.where, writer, len(want), want[0])
		}
	}
	return parts
}

// checkApprovals wants every approval as it was acknowledged, and at most one more
// of each asker.
func (k *killer) checkApprovals(a *rampart.Approvals) {
	k.t.Helper()
	for id, want := range k.approvals {
		got, err := a.Get(k.t.Context(), id)
		if err != nil {
			k.t.Fatalf("%s: %v", k.where, err)
		}
		if status, ok := k.answering[id]; ok && got.Status == status {
			want.Status, want.ResolvedAt, want.ResolvedBy, want.Reason = status, got.ResolvedAt, got.ResolvedBy, got.Reason
			k.approvals[id] = want // it must stay so
		}
		delete(k.answering, id)
		if d := cmp.Diff(asJSON(want), asJSON(got)); d != "" {
			k.t.Errorf("%s: an approval is not what was acknowledged: %s", k.where, d)
		}
	}
	unknown := 0
	for _, p := range a.List(rampart.ApprovalFilter{}) {
		if _, ok := k.approvals[p.ID]; !ok {
			unknown++
			k.approvals[p.ID] = p
		}
	}
	if unknown > victimAskers {
		k.t.Errorf("%s: %d approvals are pending that nobody was told of, at most %d were under way", k.where, unknown, victimAskers)
	}
}

// finish opens the log a last time and lets the streams that resumed see its end.
func (k *killer) finish() {
	k.t.Helper()
	r, err := rampart.Open(k.dir, victimOptions(nil))
	if err != nil {
		k.t.Fatalf("%s: %v", k.where, err)
	}
	srv := httptest.NewServer(r.Handler(testAuth()))
	var readers sync.WaitGroup
	for _, s := range k.resuming {
		s.slow, s.until = false, r.Chain.Head().ID
		readers.Go(func() { s.read(k.t, srv.Listener.Addr().String(), nil) })
	}
	readers.Wait()
	mismatches := r.Stream.Stats().WitnessMismatches
	srv.Close()
	if err := r.Close(); err != nil || mismatches > 0 {
		k.t.Errorf("%s: %v, %d witness mismatches", k.where, err, mismatches)
	}
	log, _ := k.onDisk()
	k.sum.Parts += k.checkSaved(log)
	k.sum.Events += len(log)
	k.sum.Segments += len(segments(k.t, k.dir))
	k.sum.Approvals += len(k.approvals)
	for _, saved := range k.saved {
		k.sum.Acknowledged += len(saved)
	}
	for _, s := range k.seen {
		k.sum.Seen += len(s.messages)
	}
	for _, s := range k.resuming {
		s.check(k, log)
		if s.position != len(log) {
			k.t.Errorf("%s: the stream %q has had %d of %d events", k.where, s.name, s.position, len(log))
		}
	}
}
