package rampart_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

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

	// All events, with days without events before and after them.
	since, until := first.Add(-48*time.Hour), last.Add(48*time.Hour)
	got, err := c.Totals(t.Context(), rampart.TotalsQuery{Since: since, Until: until, Every: 12 * time.Hour})
	if err != nil || got.Events != uint64(len(events)) || got.Intervals[0].Events != 0 || got.Intervals[len(got.Intervals)-1].Events != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, until := range []time.Time{since, since.Add(-time.Hour)} { // an empty range
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
