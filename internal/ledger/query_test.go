package ledger_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
)

// varied fills c with events that differ in every indexed field, in batches,
// with timestamps that mostly rise.
func varied(t testing.TB, c *chain, rnd *rand.Rand, n int) []rampart.AuditEvent {
	t.Helper()
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	at := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	var out []rampart.AuditEvent
	for len(out) < n {
		var batch []rampart.AuditEvent
		for range 1 + rnd.IntN(40) {
			at = at.Add(time.Duration(rnd.IntN(600)-60) * time.Second)
			e := event(len(out))
			e.Timestamp = at
			e.Agent = pick("claude-code", "codex", "a\"b\u2028", "gemini")
			e.Session = pick("", "x", "y/main")
			e.Tool = pick("exec", "read", "write")
			e.RunID = pick("", "run_1", "run_2")
			e.Decision.Action = pick("allow", "allow", "allow", "deny", "ask")
			batch = append(batch, e)
		}
		saved, err := c.AppendAll(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, saved...)
	}
	return out
}

// Every query gives what a loop over all events gives: with the indexes that the
// log wrote, with none, and with damaged ones.
func TestQueryAgreesWithALoopOverAllEvents(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	opts := &ledger.Options{SegmentSize: 60_000}
	c := openChain(t, dir, opts)
	events := varied(t, c, rnd, 3000)
	some := func(v ...string) []string {
		if rnd.IntN(2) == 0 {
			return nil
		}
		return v[:1+rnd.IntN(len(v))]
	}
	queries := []ledger.Query{{}, {Ascending: true}, {Filter: ledger.Filter{Agent: []string{"nobody"}}}}
	for range 150 {
		q := ledger.Query{Ascending: rnd.IntN(2) == 0, Filter: ledger.Filter{
			Agent: some("a\"b\u2028", "codex"), Session: some("x", ""), Tool: some("read", "nothing"),
			Action: some("deny", "ask"), RunID: some("run_2", "")}}
		a, b := events[rnd.IntN(len(events))], events[rnd.IntN(len(events))]
		switch rnd.IntN(4) {
		case 0:
			q.After, q.Before = min(a.ID, b.ID), max(a.ID, b.ID)
		case 1:
			q.After = a.ID
		case 2:
			q.Since, q.Until = a.Timestamp, a.Timestamp.Add(time.Duration(rnd.IntN(5000))*time.Second)
		}
		queries = append(queries, q)
	}
	check := func(when string, c *chain) {
		t.Helper()
		for _, q := range queries {
			if d := cmp.Diff(plain(events, q), ids(t, c, q)); d != "" {
				t.Fatalf("%s: %+v: %s", when, q, d)
			}
		}
	}
	check("as written", c)
	check("copied", openChain(t, crashed(t, dir), opts))

	bare := crashed(t, dir)
	for _, idx := range glob(t, bare, "*.idx") {
		os.Remove(idx)
	}
	check("without indexes", openChain(t, bare, opts))
	if len(glob(t, bare, "*.idx")) == 0 {
		t.Error("the indexes were not built again")
	}

	broken := crashed(t, dir)
	for _, idx := range glob(t, broken, "*.idx") {
		edit(t, idx, func(b []byte) []byte { b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8); return b })
	}
	check("with damaged indexes", openChain(t, broken, opts))
}

func TestPagesAreExactWhileEventsArrive(t *testing.T) {
	c := openChain(t, t.TempDir(), &ledger.Options{SegmentSize: 4000})
	saved := appendN(t, c, 40)
	var got []string
	q := ledger.Query{}
	for {
		n := 0
		for r, err := range c.Query(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.ID())
			if n++; n == 7 {
				break
			}
		}
		if n < 7 {
			break
		}
		q.Before = got[len(got)-1]
		appendN(t, c, 3)
	}
	if d := cmp.Diff(plain(saved, ledger.Query{}), got); d != "" {
		t.Error(d)
	}
}

// An iteration showed events that had come since it began, once it reached the
// live segment.
func TestQuerySeesTheLogAsItWasWhenItBegan(t *testing.T) {
	for _, q := range []ledger.Query{{Ascending: true}, {}, {Ascending: true, Before: "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}} {
		c := openChain(t, t.TempDir(), &ledger.Options{SegmentSize: 1000})
		appendN(t, c, 4)
		n := 0
		for _, err := range c.Query(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				appendN(t, c, 1)
			}
		}
		if n != 4 {
			t.Errorf("%+v: %d events, want 4", q, n)
		}
	}
}

func TestQueryRefusesWhatIsNoID(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	for _, q := range []ledger.Query{{After: "7"}, {Before: "not an id, but 26 letters!"}} {
		n := 0
		for _, err := range c.Query(t.Context(), q) {
			n++
			if !errors.Is(err, failure.ErrInvalid) {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Errorf("the error came %d times", n)
		}
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	c := openChain(t, t.TempDir(), &ledger.Options{SegmentSize: 1000})
	appendN(t, c, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range c.Query(ctx, ledger.Query{}) {
		cancel()
		last = err
		n++
	}
	if !errors.Is(last, context.Canceled) || n >= 10 {
		t.Errorf("after %d: %v", n, last)
	}
}

func TestGet(t *testing.T) {
	c := openChain(t, t.TempDir(), &ledger.Options{SegmentSize: 2000})
	if _, err := c.Get(t.Context(), "01J9K8M7N6P500000000000000"); !errors.Is(err, failure.ErrNotFound) {
		t.Errorf("empty log: %v", err)
	}
	for _, e := range appendN(t, c, 20) {
		r, err := c.Get(t.Context(), e.ID)
		if err != nil || r.ID() != e.ID || r.Hash() != e.Hash {
			t.Errorf("%s: %s %v", e.ID, r, err)
		}
		other := []byte(e.ID)
		other[25] ^= 1
		if _, err := c.Get(t.Context(), string(other)); !errors.Is(err, failure.ErrNotFound) {
			t.Errorf("%s: %v", other, err)
		}
	}
	if _, err := c.Get(t.Context(), "x"); !errors.Is(err, failure.ErrNotFound) {
		t.Error(err)
	}
}
