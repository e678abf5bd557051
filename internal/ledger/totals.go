package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
)

// Dates lists the UTC days that have events by their timestamps, newest first,
// as YYYY-MM-DD.
func (c *Ledger) Dates(ctx context.Context) ([]string, error) {
	v, err := c.state.view()
	if err != nil {
		return nil, err
	}
	defer v.release()
	days := map[int32]bool{}
	for _, g := range v.segments {
		index, err := c.index(ctx, g)
		if err != nil {
			return nil, err
		}
		index.Days(func(d int32) { days[d] = true })
	}
	sorted := make([]int32, 0, len(days))
	for d := range days {
		sorted = append(sorted, d)
	}
	slices.SortFunc(sorted, func(a, b int32) int { return cmp.Compare(b, a) })
	out := make([]string, len(sorted))
	for i, d := range sorted {
		out[i] = time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
	}
	return out, nil
}

// Totals counts events by what they are.
type Totals struct {
	Events    uint64            `json:"total_events"`
	ByAction  map[string]uint64 `json:"by_action"`
	ByTool    map[string]uint64 `json:"by_tool"`
	ByAgent   map[string]uint64 `json:"by_agent"`
	BySession map[string]uint64 `json:"by_session"`         // without the events that name none
	Intervals []Interval        `json:"intervals,omitzero"` // of [Ledger.TotalsEvery]
}

// Interval counts the events of a part of the time.
type Interval struct {
	From     time.Time         `json:"from"` // UTC
	Events   uint64            `json:"total_events"`
	ByAction map[string]uint64 `json:"by_action"`
}

const (
	minInterval  = time.Second
	maxIntervals = 1000
)

// Totals counts the events with since ≤ timestamp < until; a zero time is
// open. It reads all of them, about a million a second.
func (c *Ledger) Totals(ctx context.Context, since, until time.Time) (Totals, error) {
	return c.totals(ctx, since, until, nil)
}

// TotalsEvery is Totals that also counts each interval of that length, in the
// same pass. The first begins at since, the last ends at until, and those
// without events are there. ErrInvalid unless both times are given, an interval
// is 1 s at least, and there are 1000 at most.
func (c *Ledger) TotalsEvery(ctx context.Context, since, until time.Time, interval time.Duration) (Totals, error) {
	refuse := func(rule string) (Totals, error) {
		return Totals{}, fmt.Errorf("%w: interval %s", failure.ErrInvalid, rule)
	}
	switch {
	case interval < minInterval:
		return refuse("is 1s at least")
	case since.IsZero() || until.IsZero():
		return refuse("needs since and until")
	}
	intervals := []Interval{}
	for from := since.UTC(); from.Before(until); from = from.Add(interval) {
		switch {
		case len(intervals) == maxIntervals:
			return refuse(fmt.Sprintf("is too short for that time: it makes more than %d", maxIntervals))
		case from.Year() < 0 || from.Year() > 9999:
			return refuse("begins in a year that RFC 3339 does not have")
		}
		intervals = append(intervals, Interval{From: from, ByAction: map[string]uint64{}})
	}
	return c.totals(ctx, since, until, intervals)
}

func (c *Ledger) totals(ctx context.Context, since, until time.Time, intervals []Interval) (Totals, error) {
	t := Totals{ByAction: map[string]uint64{}, ByTool: map[string]uint64{}, ByAgent: map[string]uint64{}, BySession: map[string]uint64{}, Intervals: intervals}
	err := c.Scan(ctx, &Query{Since: since, Until: until, Ascending: true}, func(_ uint64, _ []byte, f *record.Fields) bool {
		t.Events++
		count(t.ByAction, f.Action)
		count(t.ByTool, f.Tool)
		count(t.ByAgent, f.Agent)
		if len(f.Session) > 0 {
			count(t.BySession, f.Session)
		}
		if len(intervals) > 0 {
			i := at(intervals, f.Timestamp)
			i.Events++
			count(i.ByAction, f.Action)
		}
		return true
	})
	return t, err
}

// at returns the interval of an event that is in one, which the query found by
// parsing its timestamp as well.
func at(intervals []Interval, timestamp []byte) *Interval {
	t, _ := time.Parse(time.RFC3339Nano, string(timestamp))
	i, found := slices.BinarySearchFunc(intervals, t, func(i Interval, t time.Time) int { return i.From.Compare(t) })
	if !found {
		i--
	}
	return &intervals[i]
}

func count(m map[string]uint64, raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 {
		if n, ok := m[string(raw)]; ok { // without making a string
			m[string(raw)] = n + 1
			return
		}
	}
	m[record.Text(raw)]++
}
