package ledger

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// Filter chooses records, as rampart.Filter does.
type Filter struct {
	Agent, Session, Tool, Action, RunID []string
}

// wants is the filter as an index takes it.
func (f *Filter) wants() []segment.Want {
	var out []segment.Want
	for _, w := range []segment.Want{
		{Field: segment.Agent, Values: f.Agent}, {Field: segment.Session, Values: f.Session},
		{Field: segment.Tool, Values: f.Tool}, {Field: segment.Action, Values: f.Action}, {Field: segment.RunID, Values: f.RunID},
	} {
		if len(w.Values) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// All reports whether the filter chooses every record.
func (f *Filter) All() bool { return len(f.wants()) == 0 }

// Match compares a line's own bytes with the filter.
func (f *Filter) Match(line *record.Fields) bool {
	return OneOf(line.Agent, f.Agent) && OneOf(line.Session, f.Session) && OneOf(line.Tool, f.Tool) &&
		OneOf(line.Action, f.Action) && OneOf(line.RunID, f.RunID)
}

// OneOf reports whether raw, the inside of a JSON string, stands for one of the
// values. Without values it is true.
func OneOf(raw []byte, values []string) bool {
	if len(values) == 0 {
		return true
	}
	for _, v := range values {
		if record.Equal(raw, v) {
			return true
		}
	}
	return false
}

// Query chooses records and their order. The zero value chooses all of them,
// newest first.
type Query struct {
	Filter
	Since, Until  time.Time // by the line's timestamp: Since ≤ t < Until; zero is open
	After, Before string    // ids, exclusive, in the log or not; empty is open
	Ascending     bool      // oldest first

	// Approval chooses only lines with an approval member. An approval is
	// believed only if its line's hash fits; such lines are rare, so checking
	// each is cheap.
	Approval bool
}

// Scan calls fn for each record that q chooses until fn returns false. It sees
// the log as it is when it begins. line and f are valid during the call, and are
// in the stored form; the hash is not checked, unless q.Approval says so.
//
// [failure.ErrInvalid], [failure.ErrClosed], ctx's error, [*failure.CorruptError],
// or one of reading.
func (l *Ledger) Scan(ctx context.Context, q *Query, fn func(seq uint64, line []byte, f *record.Fields) bool) error {
	for _, id := range []string{q.After, q.Before} {
		if id != "" && !record.ValidID(id) {
			return fmt.Errorf("%w: %q is not %s", failure.ErrInvalid, id, record.IDForm)
		}
	}
	v, err := l.state.view()
	if err != nil {
		return err
	}
	defer v.release()
	s := scan{ledger: l, q: *q, upto: v.seq, wants: q.wants(), since: math.MinInt64, until: math.MaxInt64, fn: fn}
	if q.Approval {
		s.wants = append(s.wants, segment.Want{Field: segment.Approval, Values: []string{"1"}})
	}
	if !q.Since.IsZero() {
		s.since = q.Since.Unix()
	}
	if !q.Until.IsZero() {
		s.until = q.Until.Unix()
	}
	for i := range v.segments {
		if !q.Ascending {
			i = len(v.segments) - 1 - i
		}
		if more, err := s.segment(ctx, v.segments[i]); !more || err != nil {
			return err
		}
	}
	return nil
}

// scan is one query on its way through the log.
type scan struct {
	ledger       *Ledger
	q            Query
	upto         uint64 // number of the newest record when it began
	wants        []segment.Want
	since, until int64 // Unix seconds, inclusive
	fn           func(seq uint64, line []byte, f *record.Fields) bool
	fields       record.Fields
}

// segment goes over the records of g, and reports whether more are wanted.
func (s *scan) segment(ctx context.Context, g *segmentRef) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !s.may(g) {
		return true, nil
	}
	index, err := s.ledger.index(ctx, g)
	if err != nil {
		return false, err
	}
	var chosen *segment.Selection
	if len(s.wants) > 0 {
		if chosen = index.Select(s.wants); chosen != nil && chosen.IsEmpty() {
			return true, nil
		}
	}
	err = s.ledger.lines(g, index, func(view segment.View, lines *segment.Lines) error {
		from, to, err := s.bounds(g, view, lines)
		if err != nil {
			return err
		}
		c := candidates{view: view, since: s.since, until: s.until, from: from, to: to, backward: !s.q.Ascending, chosen: chosen}
		more, err = s.each(ctx, g, &c, lines)
		return err
	})
	return more, err
}

// may reports whether g may have a wanted record, as far as can be told without
// g's index.
func (s *scan) may(g *segmentRef) bool {
	h, partial := s.ledger.state.headOf(g)
	if h.Count == 0 || s.q.After != "" && h.LastID <= s.q.After || s.q.Before != "" && h.FirstID >= s.q.Before {
		return false
	}
	if !partial && (h.Max < s.since || h.Min > s.until || s.q.Approval && h.Approvals == 0) {
		return false
	}
	return s.ledger.may(g, s.wants)
}

// bounds returns which lines of g, from 0 and half open, lie within the query's ids
// and were there when it began.
func (s *scan) bounds(g *segmentRef, view segment.View, lines *segment.Lines) (from, to int, err error) {
	to = int(min(view.Count, s.upto+1-g.first))
	if s.q.After != "" {
		if from, err = lines.Search(s.q.After); err != nil {
			return 0, 0, err
		}
		id, err := idAt(lines, from, to)
		if err != nil {
			return 0, 0, err
		}
		if id == s.q.After {
			from++
		}
	}
	if s.q.Before != "" {
		before, err := lines.Search(s.q.Before)
		if err != nil {
			return 0, 0, err
		}
		to = min(to, before)
	}
	return from, to, nil
}

// each gives the caller those candidates that are chosen.
func (s *scan) each(ctx context.Context, g *segmentRef, c *candidates, lines *segment.Lines) (more bool, err error) {
	for n := 1; ; n++ {
		i, next, ok := c.next()
		if !ok {
			return true, nil
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		line, err := lines.Line(i, next...)
		if err != nil {
			return false, err
		}
		if err = record.Scan(line, &s.fields); err == nil {
			ok, err = s.chosen()
		}
		if err != nil {
			return false, notStored("", err).At(segment.Name(g.first), i+1, 0)
		}
		if ok && s.q.Approval {
			if fault := CheckLine(line, &s.fields); fault != nil {
				return false, fault.At(segment.Name(g.first), i+1, 0)
			}
		}
		if ok && !s.fn(g.first+uint64(i), line, &s.fields) {
			return false, nil
		}
	}
}

// chosen compares the line's own bytes with the query.
func (s *scan) chosen() (bool, error) {
	if !s.q.Match(&s.fields) || s.q.Approval && s.fields.Approval == nil {
		return false, nil
	}
	if s.q.Since.IsZero() && s.q.Until.IsZero() {
		return true, nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(s.fields.Timestamp))
	if err != nil {
		return false, err
	}
	return (s.q.Since.IsZero() || !t.Before(s.q.Since)) && (s.q.Until.IsZero() || t.Before(s.q.Until)), nil
}

// Days lists the UTC days that have records by their timestamps, as days since
// 1970, in no order.
func (l *Ledger) Days(ctx context.Context) ([]int32, error) {
	v, err := l.state.view()
	if err != nil {
		return nil, err
	}
	defer v.release()
	seen := map[int32]bool{}
	for _, g := range v.segments {
		index, err := l.index(ctx, g)
		if err != nil {
			return nil, err
		}
		index.Days(func(d int32) { seen[d] = true })
	}
	days := make([]int32, 0, len(seen))
	for d := range seen {
		days = append(days, d)
	}
	return days, nil
}
