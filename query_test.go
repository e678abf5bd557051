package rampart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// Every query gives what a loop over all events gives, with the indexes of the
// log's life, with none, and with damaged ones.
func TestQueryAgreesWithALoopOverAllEvents(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	opts := rampart.AuditOptions{}.WithSegmentSize(60_000)
	c := openChain(t, dir, opts)
	events := varied(t, c, rnd, 3000)
	some := func(v ...string) []string {
		if rnd.IntN(2) == 0 {
			return nil
		}
		return v[:1+rnd.IntN(len(v))]
	}
	queries := []rampart.Query{{}, {Ascending: true}, {Filter: rampart.Filter{Agent: []string{"nobody"}}}}
	for range 150 {
		q := rampart.Query{Ascending: rnd.IntN(2) == 0, Filter: rampart.Filter{
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
	check := func(when string, c *rampart.AuditChain) {
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
	c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(4000))
	saved := appendN(t, c, 40)
	var got []string
	q := rampart.Query{}
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
	if d := cmp.Diff(plain(saved, rampart.Query{}), got); d != "" {
		t.Error(d)
	}
}

// Events that came while older segments were being read were shown when the
// iteration reached the live one.
func TestQuerySeesTheLogAsItWasWhenItBegan(t *testing.T) {
	for _, q := range []rampart.Query{{Ascending: true}, {}, {Ascending: true, Before: "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}} {
		c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(1000))
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
	for _, q := range []rampart.Query{{After: "7"}, {Before: "not an id, but 26 letters!"}} {
		n := 0
		for _, err := range c.Query(t.Context(), q) {
			n++
			if !errors.Is(err, rampart.ErrInvalid) {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Errorf("the error came %d times", n)
		}
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(1000))
	appendN(t, c, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range c.Query(ctx, rampart.Query{}) {
		cancel()
		last = err
		n++
	}
	if !errors.Is(last, context.Canceled) || n >= 10 {
		t.Errorf("after %d: %v", n, last)
	}
}

func TestGet(t *testing.T) {
	c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(2000))
	if _, err := c.Get(t.Context(), "01J9K8M7N6P500000000000000"); !errors.Is(err, rampart.ErrNotFound) {
		t.Errorf("empty log: %v", err)
	}
	for _, e := range appendN(t, c, 20) {
		r, err := c.Get(t.Context(), e.ID)
		if err != nil || r.ID() != e.ID || r.Hash() != e.Hash {
			t.Errorf("%s: %s %v", e.ID, r, err)
		}
		other := []byte(e.ID)
		other[25] ^= 1
		if _, err := c.Get(t.Context(), string(other)); !errors.Is(err, rampart.ErrNotFound) {
			t.Errorf("%s: %v", other, err)
		}
	}
	if _, err := c.Get(t.Context(), "x"); !errors.Is(err, rampart.ErrNotFound) {
		t.Error(err)
	}
}

func TestDatesAndTotalsGoByTheTimestamp(t *testing.T) {
	c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(2000))
	for i, at := range []time.Time{
		time.Date(2026, 3, 3, 23, 59, 59, 999, time.UTC),
		time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 4, 1, 30, 0, 0, time.FixedZone("", 7200)), // the 3rd in UTC
		time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC),
	} {
		e := event(i)
		e.Timestamp = at
		if i == 1 {
			e.Session, e.Tool, e.Decision.Action = "", "read", "deny"
		}
		if _, err := c.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	days, err := c.Dates(t.Context())
	if d := cmp.Diff([]string{"2026-03-04", "2026-03-03", "1969-12-31"}, days); d != "" || err != nil {
		t.Error(d, err)
	}
	got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)})
	want := rampart.Totals{Events: 4, ByAction: map[string]uint64{"allow": 3, "deny": 1}, ByTool: map[string]uint64{"exec": 3, "read": 1},
		ByAgent: map[string]uint64{"claude-code": 4}, BySession: map[string]uint64{"myapp/main": 3}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	got, err = c.Totals(t.Context(), rampart.TotalsQuery{Until: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)})
	if got.Events != 4 || err != nil {
		t.Errorf("%+v %v", got, err)
	}
}

func TestTotalsEvery(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	c := openChain(t, t.TempDir(), rampart.AuditOptions{}.WithSegmentSize(60_000))
	events := varied(t, c, rnd, 1000)
	first, last := events[0].Timestamp, events[0].Timestamp
	for _, e := range events {
		if e.Timestamp.Before(first) {
			first = e.Timestamp
		}
		if e.Timestamp.After(last) {
			last = e.Timestamp
		}
	}
	near := func() time.Time { // often an event's own time, or a nanosecond beside it
		e := events[rnd.IntN(len(events))].Timestamp
		return e.Add(time.Duration(rnd.IntN(3) - 1))
	}
	counted := 0
	for range 60 {
		since, until := near(), near()
		if until.Before(since) {
			since, until = until, since
		}
		since = since.In(time.FixedZone("", 5400))
		every := max(time.Second, until.Sub(since)/time.Duration(1+rnd.IntN(40)), until.Sub(since)/999+1)
		got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: until, Every: every})
		if err != nil {
			t.Fatalf("%v to %v every %v: %v", since, until, every, err)
		}
		if diff := cmp.Diff(everyOf(events, since, until, every), got.Intervals); diff != "" {
			t.Errorf("%v to %v every %v (-want +got):\n%s", since, until, every, diff)
		}
		for _, i := range got.Intervals {
			if i.From.Location() != time.UTC {
				t.Errorf("From %v", i.From)
			}
		}
		counted += int(got.Events)
		got.Intervals = nil
		if want, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: until}); err != nil || !cmp.Equal(want, got) {
			t.Errorf("the totals beside it: %+v, want %+v, %v", got, want, err)
		}
	}
	if counted == 0 {
		t.Error("nothing was counted")
	}

	// All there is, with days before and after that have none.
	since, until := first.Add(-48*time.Hour), last.Add(48*time.Hour)
	got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: until, Every: 12 * time.Hour})
	if err != nil || got.Events != uint64(len(events)) || got.Intervals[0].Events != 0 || got.Intervals[len(got.Intervals)-1].Events != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, until := range []time.Time{since, since.Add(-time.Hour)} { // an empty time
		if got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: until, Every: time.Hour}); err != nil || got.Events != 0 || got.Intervals == nil || len(got.Intervals) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: since.Add(1000 * time.Second), Every: time.Second}); err != nil || len(got.Intervals) != 1000 {
		t.Errorf("%d intervals, %v", len(got.Intervals), err)
	}
	ad1, ad9999 := time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	if got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: ad1, Until: ad9999, Every: 100 * 8766 * time.Hour}); err != nil || len(got.Intervals) != 100 || got.Events != uint64(len(events)) {
		t.Errorf("all time: %d intervals, %v", len(got.Intervals), err)
	}
	for _, bad := range []struct {
		since, until time.Time
		every        time.Duration
		says         string
	}{
		{since, until, 1, "1s at least"},
		{since, until, -time.Hour, "1s at least"},
		{since, until, time.Second - 1, "1s at least"},
		{time.Time{}, until, time.Hour, "since and until"},
		{since, time.Time{}, time.Hour, "since and until"},
		{since, since.Add(1000*time.Second + 1), time.Second, "more than 1000"},
		{ad1, ad9999, time.Second, "more than 1000"},
		{ad1.AddDate(-3, 0, 0), until, 100 * 8766 * time.Hour, "year"},
		{since, ad9999.AddDate(300, 0, 0), 100 * 8766 * time.Hour, "year"},
	} {
		got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: bad.since, Until: bad.until, Every: bad.every})
		if !errors.Is(err, rampart.ErrInvalid) || !strings.Contains(err.Error(), bad.says) || got.Events != 0 {
			t.Errorf("%v to %v every %v: %v", bad.since, bad.until, bad.every, err)
		}
	}
}

func TestRecordEmbedsInJSONAsItIs(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	e := event(0)
	e.Request = json.RawMessage(`{"a":1.0}`)
	saved, err := c.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get(t.Context(), saved.ID)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(r)
	if err != nil || !bytes.Equal(out, r) {
		t.Errorf("%s %v", out, err)
	}
	if _, err := rampart.Record(`{"id":"x"}`).Event(); err == nil {
		t.Error("decoded what is no stored line")
	}
}

func ExampleAuditChain_Query() {
	dir, _ := os.MkdirTemp("", "rampart")
	defer os.RemoveAll(dir)
	ctx := context.Background()
	chain, err := rampart.OpenAuditChain(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer chain.Close()
	for _, action := range []string{"allow", "deny", "allow"} {
		chain.Append(ctx, rampart.AuditEvent{
			Agent: "claude-code", Tool: "exec",
			Request:  json.RawMessage(`{"command":"git push"}`),
			Decision: rampart.Decision{Action: action},
		})
	}
	for r, err := range chain.Query(ctx, rampart.Query{Filter: rampart.Filter{Action: []string{"deny"}}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		e, _ := r.Event()
		fmt.Printf("%s %s %s\n", e.Tool, e.Request, e.Decision.Action)
	}
	// Output: exec {"command":"git push"} deny
}
