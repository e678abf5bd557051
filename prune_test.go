package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// The queue is a fold over the log: what is pending must stay on it, and an
// answer can be read for as long as events are kept.
func TestPruneKeepsApprovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		c, a := memQueue(t, fs, nil)
		ask := func(i int) rampart.Approval {
			q := question(i)
			q.TTL = 20 * 24 * time.Hour
			return request(t, a, q)
		}
		fill := func() {
			appendN(t, c, 10)
			time.Sleep(24 * time.Hour)
		}
		fill()
		early, late := ask(1), ask(2)
		fill()
		fill()
		if _, err := a.Resolve(t.Context(), early.ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"}); err != nil {
			t.Fatal(err)
		}
		fill()
		fill()
		dropped := prune(t, c, time.Now())
		if dropped == 0 || dropped > 9 {
			t.Errorf("%d events dropped, the first approval is number 11", dropped)
		}
		fill()
		if n := prune(t, c, time.Now()); n != 0 {
			t.Errorf("%d events dropped before what is pending", n)
		}
		answered := time.Now()
		if _, err := a.Resolve(t.Context(), late.ID, rampart.Resolution{Status: rampart.Denied, ResolvedBy: "bob"}); err != nil {
			t.Fatal(err)
		}
		fill()
		fill()
		if n := prune(t, c, answered); n != 0 {
			t.Errorf("%d events dropped with an answer that is to be kept", n)
		}
		pending := ask(3)
		fill()
		for range 2 {
			for id, want := range map[string]rampart.ApprovalStatus{early.ID: rampart.Approved, late.ID: rampart.Denied, pending.ID: rampart.Pending} {
				if got, err := a.Get(t.Context(), id); err != nil || got.Status != want {
					t.Errorf("%s: %v %v, want %s", id, got.Status, err, want)
				}
			}
			a.Close()
			c.Close()
			c, a = memQueue(t, fs.Recover(vfstest.Kept, 0), nil)
		}
		fs = nil
		fill()
		if n := prune(t, c, time.Now()); n == 0 {
			t.Error("nothing dropped")
		}
		if got := a.List(rampart.ApprovalFilter{}); len(got) != 1 || got[0].ID != pending.ID {
			t.Errorf("pending: %v", got)
		}
		for _, id := range []string{early.ID, late.ID} {
			if got, err := a.Get(t.Context(), id); !errors.Is(err, rampart.ErrNotFound) {
				t.Errorf("dropped, and still there: %v %v", got, err)
			}
		}
		if n := len(a.List(rampart.ApprovalFilter{Status: rampart.Approved})) + len(a.List(rampart.ApprovalFilter{Status: rampart.Denied})); n != 0 {
			t.Errorf("%d dropped ones are listed", n)
		}
		if got, err := a.Resolve(t.Context(), pending.ID, rampart.Resolution{Status: rampart.Approved}); err != nil || got.Status != rampart.Approved {
			t.Errorf("%v %v", got, err)
		}
	})
}

func TestSubscribersOfAPrunedLog(t *testing.T) {
	fs := vfstest.New()
	b := newBus(t, &rampart.BusOptions{Window: 1})
	c := openChain(t, "", rampart.AuditOptions{Bus: b}.WithSegmentSize(100_000).WithFS(fs))
	saved := appendBulk(t, c, 1, 10)
	// The slow subscriber stops after the first event. First memory passes it by,
	// then the pruning.
	var slow error
	for e, err := range b.Subscribe(t.Context(), "0") {
		if err != nil {
			slow = err
			break
		}
		if e.ID == position(saved[0]) {
			for range 30 {
				saved = append(saved, appendBulk(t, c, 100, 1000)...)
			}
			if n := prune(t, c, soon()); n < 2000 {
				t.Fatalf("%d events dropped", n)
			}
		}
	}
	if !errors.Is(slow, rampart.ErrLagged) {
		t.Errorf("passed by: %v, want ErrLagged", slow)
	}
	n := int(c.Stats().Pruned.Records)
	for after, want := range map[string]string{
		"0":                                 position(saved[n]),
		position(saved[n-1]):                position(saved[n]),
		saved[n-1].ID:                       position(saved[n]),
		position(saved[n]):                  position(saved[n+1]),
		position(saved[n-2]):                "",
		saved[0].ID:                         "",
		saved[n-1].ID + ".0123456789abcdef": "",
	} {
		got, err := take(t.Context(), b, after, 1)
		if want == "" {
			if !errors.Is(err, rampart.ErrNotFound) {
				t.Errorf("after %s: %v %v, want ErrNotFound", after, names(got), err)
			}
		} else if err != nil || got[0].ID != want {
			t.Errorf("after %s: %v %v, want %s", after, names(got), err, want)
		}
	}
}

func TestStreamOfAPrunedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, &rampart.BusOptions{Window: 1})
		c := openChain(t, "", rampart.AuditOptions{Bus: b}.WithSegmentSize(3000).WithFS(vfstest.New()))
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)
		saved := appendN(t, c, 20)
		n := int(prune(t, c, soon()))
		statement := all(t, c, rampart.Query{})[0]
		e, err := rampart.Record(statement).Event()
		if err != nil {
			t.Fatal(err)
		}
		rest := append(auditFrames(t, c, saved[n:]), auditFrame(t, c, e), approvalsFrame)
		for _, after := range []string{"0", position(saved[n-1]), saved[n-1].ID} {
			w := site.watch("", "Last-Event-ID", after)
			w.expect(connectedFrame(after))
			w.expect(rest...)
		}
		w := site.watch("", "Last-Event-ID", position(saved[n-2]))
		w.expect(connectedFrame(position(saved[n-2])), batchFrame("", position(e)), approvalsFrame)
		live := appendOne(t, c, event(1))
		w.expect(auditFrame(t, c, live))
		if got := s.Stats(); got.WitnessMismatches != 0 || got.Resumes["unknown"] != 1 || got.Resumes["ok"] != 3 {
			t.Errorf("%+v", got)
		}

		// The log is pruned past a slow client: its stream ends, and its next stream
		// tells it to query.
		slow := site.watch("", "Last-Event-ID", "0")
		slow.expect(connectedFrame("0"))
		for range 50 {
			appendBulk(t, c, 100, 1000)
		}
		synctest.Wait()
		prune(t, c, soon())
		last := ""
		for {
			frame, err := slow.frame()
			if err != nil {
				break
			}
			if m := regexp.MustCompile(`(?m)^id: (.*)$`).FindStringSubmatch(frame); m != nil {
				last = m[1]
			}
		}
		synctest.Wait()
		if got := s.Stats(); got.Closed["error"] != 1 {
			t.Errorf("%+v", got)
		}
		site.watch("", "Last-Event-ID", last).expect(connectedFrame(last), batchFrame("", c.Head().ID+"."+c.Head().Hash[:16]), approvalsFrame)
	})
}

// Everything at once, for the race detector: nobody fails, sees a gap, or waits
// for a pruning.
func TestPruneBesideEverything(t *testing.T) {
	dir := t.TempDir()
	r, err := rampart.Open(dir, &rampart.Options{Audit: *rampart.AuditOptions{Sync: rampart.SyncNever}.WithSegmentSize(20_000), Bus: rampart.BusOptions{Window: 1}})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Chain
	ctx, stop := context.WithCancel(context.Background())
	var writers, others sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 150 {
				if _, err := c.AppendAll(ctx, []rampart.AuditEvent{event(i), event(w)}); err != nil {
					t.Error(err)
					return
				}
				if i%50 == 49 {
					p, err := r.Approvals.Request(ctx, question(1000*w+i))
					if err == nil && i < 149 {
						_, err = r.Approvals.Resolve(ctx, p.ID, rampart.Resolution{Status: rampart.Denied})
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	// follows fails unless each line links to the one before.
	follows := func(prev *string, line string) {
		if *prev != "" && !strings.Contains(line, `"prev_hash":"`+*prev+`"`) {
			t.Errorf("a gap before %.60s", line)
		}
		*prev = rampart.Record(line).Hash()
	}
	loop := func(fn func()) {
		others.Go(func() {
			for ctx.Err() == nil {
				fn()
			}
		})
	}
	for range 2 {
		loop(func() {
			prev := ""
			for line, err := range c.Query(ctx, rampart.Query{Ascending: true}) {
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				follows(&prev, string(line))
			}
		})
	}
	loop(func() {
		if r, err := c.Verify(ctx); ctx.Err() == nil && (err != nil || !r.OK()) {
			t.Errorf("%+v %v", r, err)
		}
	})
	loop(func() {
		// The end of a log that is being written may look torn.
		if r, err := rampart.VerifyChain(ctx, os.DirFS(dir)); ctx.Err() == nil && (err != nil || !r.OK() && r.Verdict != rampart.VerdictTornTail) {
			t.Errorf("%+v %v", r, err)
		}
	})
	loop(func() {
		if _, err := c.Dates(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		if _, err := c.Get(ctx, c.Head().ID); err != nil && c.Head().ID != "" && !errors.Is(err, rampart.ErrNotFound) && ctx.Err() == nil {
			t.Error(err)
		}
	})
	for range 2 {
		loop(func() {
			prev := ""
			for e, err := range r.Bus.Subscribe(ctx, "0") {
				switch {
				case err == nil && e.Type == rampart.TypeAudit:
					follows(&prev, string(e.Record))
				case err != nil && ctx.Err() == nil && !errors.Is(err, rampart.ErrLagged):
					t.Error(err)
				}
			}
		})
	}
	var dropped uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		writers.Wait()
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		before := time.Now().Add(-10 * time.Millisecond)
		if !running {
			before = soon()
		}
		n, err := c.Prune(ctx, before)
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
	}
	stop()
	others.Wait()
	pending := r.Approvals.List(rampart.ApprovalFilter{})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d events dropped", dropped); dropped == 0 || len(pending) != 8 {
		t.Errorf("%d approvals pending", len(pending))
	}
	if r, err = rampart.Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if d := cmp.Diff(pending, r.Approvals.List(rampart.ApprovalFilter{})); d != "" {
		t.Error(d)
	}
	if report := verified(t, r.Chain); !report.OK() || report.Pruned.Records != dropped {
		t.Errorf("%d dropped: %+v", dropped, report)
	}
}

func TestVerifyRouteOfAPrunedLog(t *testing.T) {
	r := openRampart(t, vfstest.New(), rampart.Options{})
	w := &web{t, r.Handler(testAuth()), adminToken}
	first := appendBulk(t, r.Chain, 10, 1<<20-1000)
	appendBulk(t, r.Chain, 10, 1<<20-1000)
	appendBulk(t, r.Chain, 1, 10)
	if n := prune(t, r.Chain, soon()); n != 20 {
		t.Fatalf("%d events dropped", n)
	}
	var got struct {
		OK      bool            `json:"ok"`
		Events  int             `json:"events"`
		Verdict rampart.Verdict `json:"verdict"`
		Pruned  json.RawMessage `json:"pruned"`
	}
	p := r.Chain.Stats().Pruned
	want := fmt.Sprintf(`{"records":20,"last_id":"%s","last_hash":"%s"}`, p.LastID, p.LastHash)
	for query, verdict := range map[string]rampart.Verdict{"": "", "?id=" + p.LastID + "&hash=" + p.LastHash: "", "?id=" + first[0].ID: rampart.VerdictPruned} {
		got.Verdict = ""
		if err := json.Unmarshal(w.expect(200, "", "GET", "/v1/audit/verify"+query, "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.OK != (verdict == "") || got.Verdict != verdict || got.Events != 2 || string(got.Pruned) != want {
			t.Errorf("%q: %+v, want %s", query, got, want)
		}
	}
	var status struct{ Events int }
	if err := json.Unmarshal(w.expect(200, "", "GET", "/v1/status", "").Body.Bytes(), &status); err != nil || status.Events != 2 {
		t.Errorf("status: %+v %v", status, err)
	}
	w.expect(404, "", "GET", "/v1/audit/events/"+p.LastID, "")
}
