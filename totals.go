package rampart

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// Dates lists the UTC days that have events by their timestamps, newest first,
// as YYYY-MM-DD.
func (c *AuditChain) Dates(ctx context.Context) ([]string, error) {
	days, err := c.ledger.Days(ctx)
	if err != nil {
		return nil, public(err)
	}
	slices.Sort(days)
	slices.Reverse(days)
	out := make([]string, len(days))
	for i, d := range days {
		out[i] = time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
	}
	return out, nil
}

// TotalsQuery chooses the events that [AuditChain.Totals] counts. The zero value
// chooses all of them.
type TotalsQuery struct {
	Since, Until time.Time // by the event's timestamp: Since ≤ t < Until; zero is open

	// Every, unless zero, also counts each interval of that length in the same
	// pass. The first begins at Since, the last ends at Until, and intervals without
	// events are listed too. Every is 1 s at least, makes 1000 intervals at most,
	// and needs both times.
	Every time.Duration
}

// Totals counts events by what they are.
type Totals struct {
	Events    uint64            `json:"total_events"`
	ByAction  map[string]uint64 `json:"by_action"`
	ByTool    map[string]uint64 `json:"by_tool"`
	ByAgent   map[string]uint64 `json:"by_agent"`
	BySession map[string]uint64 `json:"by_session"`         // of events that name a session
	Intervals []Interval        `json:"intervals,omitzero"` // nil unless TotalsQuery.Every asks for them
}

// Interval counts the events of one interval of time.
type Interval struct {
	From     time.Time         `json:"from"` // UTC
	Events   uint64            `json:"total_events"`
	ByAction map[string]uint64 `json:"by_action"`
}

const (
	minInterval  = time.Second
	maxIntervals = 1000
)

// Totals counts the events that q chooses. It reads all of them, about a million
// a second. ErrInvalid: q breaks a rule of its type; otherwise the errors of
// [AuditChain.Query].
func (c *AuditChain) Totals(ctx context.Context, q TotalsQuery) (Totals, error) {
	intervals, err := q.intervals()
	if err != nil {
		return Totals{}, err
	}
	t := Totals{ByAction: map[string]uint64{}, ByTool: map[string]uint64{}, ByAgent: map[string]uint64{}, BySession: map[string]uint64{}, Intervals: intervals}
	err = c.scan(ctx, &Query{Since: q.Since, Until: q.Until, Ascending: true}, func(_ uint64, _ []byte, f *record.Fields) bool {
		t.Events++
		tallyValue(t.ByAction, f.Action)
		tallyValue(t.ByTool, f.Tool)
		tallyValue(t.ByAgent, f.Agent)
		if len(f.Session) > 0 {
			tallyValue(t.BySession, f.Session)
		}
		if len(intervals) > 0 {
			i := intervalOf(intervals, f.Timestamp)
			i.Events++
			tallyValue(i.ByAction, f.Action)
		}
		return true
	})
	return t, err
}

// intervals returns the intervals that q asks for, with nothing counted.
func (q *TotalsQuery) intervals() ([]Interval, error) {
	refuse := func(rule string) ([]Interval, error) {
		return nil, fmt.Errorf("%w: interval %s", ErrInvalid, rule)
	}
	switch {
	case q.Every == 0:
		return nil, nil
	case q.Every < minInterval:
		return refuse("is 1s at least")
	case q.Since.IsZero() || q.Until.IsZero():
		return refuse("needs since and until")
	}
	intervals := []Interval{}
	for from := q.Since.UTC(); from.Before(q.Until); from = from.Add(q.Every) {
		switch {
		case len(intervals) == maxIntervals:
			return refuse(fmt.Sprintf("is too short for that time: it makes more than %d", maxIntervals))
		case from.Year() < 0 || from.Year() > 9999:
			return refuse("begins in a year that RFC 3339 does not have")
		}
		intervals = append(intervals, Interval{From: from, ByAction: map[string]uint64{}})
	}
	return intervals, nil
}

// intervalOf returns the interval of an event with that timestamp. The query has
// already parsed the timestamp, and found it within the whole range.
func intervalOf(intervals []Interval, timestamp []byte) *Interval {
	t, _ := time.Parse(time.RFC3339Nano, string(timestamp))
	i, found := slices.BinarySearchFunc(intervals, t, func(i Interval, t time.Time) int { return i.From.Compare(t) })
	if !found {
		i--
	}
	return &intervals[i]
}

// tallyValue counts what raw, the inside of a JSON string, stands for.
func tallyValue(m map[string]uint64, raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 {
		if n, ok := m[string(raw)]; ok { // without making a string
			m[string(raw)] = n + 1
			return
		}
	}
	m[record.Text(raw)]++
}
