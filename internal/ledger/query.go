package ledger

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// Filter chooses events. Values of one field are alternatives, fields combine
// with and; an empty field chooses every event. Letter case counts.
type Filter struct {
	Agent, Session, Tool, Action, RunID []string
}

func (f *Filter) Wants() []segment.Want {
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

// match holds a line's own bytes against the filter.
func (f *Filter) Match(line *record.Fields) bool {
	return OneOf(line.Agent, f.Agent) && OneOf(line.Session, f.Session) && OneOf(line.Tool, f.Tool) &&
		OneOf(line.Action, f.Action) && OneOf(line.RunID, f.RunID)
}

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

// Query chooses events of the log and their order. The zero value is all of
// them, newest first.
type Query struct {
	Filter
	Since, Until  time.Time // by the event's timestamp: Since ≤ t < Until; zero is open
	After, Before string    // ids, exclusive, in the log or not; empty is open
	Ascending     bool      // oldest first

	Approval bool // only events with an approval member
}

// Query yields the stored lines of the events that q chooses, in log order or
// its reverse. It sees the log as it is when the iteration begins; events that
// arrive meanwhile neither appear nor move others. A page ends where its last
// event's id says: give it as After or Before to go on.
//
// What is yielded has the form of an event, and is not hashed: a line that was
// edited on the disk has a hash that does not fit, as [Ledger.Verify] says.
//
// Memory does not grow with the log. The records are the caller's to keep. An
// error comes last and once: ErrInvalid, ErrClosed, ctx's, [*CorruptError], or
// one of reading.
func (c *Ledger) Query(ctx context.Context, q Query) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := c.Scan(ctx, &q, func(_ uint64, line []byte, _ *record.Fields) bool {
			return yield(bytes.Clone(line), nil)
		}); err != nil {
			yield(nil, err)
		}
	}
}

// query calls fn for each record that q chooses until fn returns false. line
// and fields are valid during the call.
func (c *Ledger) Scan(ctx context.Context, q *Query, fn func(seq uint64, line []byte, f *record.Fields) bool) error {
	for _, id := range []string{q.After, q.Before} {
		if id != "" && !record.ValidID(id) {
			return fmt.Errorf("%w: %q is not %s", failure.ErrInvalid, id, record.IDForm)
		}
	}
	v, err := c.state.view()
	if err != nil {
		return err
	}
	defer v.release()
	s := scan{c: c, q: q, upto: v.seq, wants: q.Wants(), since: math.MinInt64, until: math.MaxInt64, fn: fn}
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
			return v.segments[i].misplaced(err)
		}
	}
	return nil
}

// scan is one query on its way through the log.
type scan struct {
	c            *Ledger
	q            *Query
	upto         uint64 // number of the newest record when it began
	wants        []segment.Want
	since, until int64 // Unix seconds, inclusive
	fn           func(seq uint64, line []byte, f *record.Fields) bool
	fields       record.Fields
}

func (s *scan) segment(ctx context.Context, g *sealedOrLive) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	h, partial := s.c.state.headOf(g)
	if h.Count == 0 || s.q.After != "" && h.LastID <= s.q.After || s.q.Before != "" && h.FirstID >= s.q.Before {
		return true, nil
	}
	if !partial && (h.Max < s.since || h.Min > s.until || s.q.Approval && h.Approvals == 0) {
		return true, nil
	}
	if !s.c.may(g, s.wants) {
		return true, nil
	}
	index, err := s.c.index(ctx, g)
	if err != nil {
		return false, err
	}
	view := index.View()
	var chosen *segment.Selection
	if len(s.wants) > 0 {
		if chosen = index.Select(s.wants); chosen != nil && chosen.IsEmpty() {
			return true, nil
		}
	}
	f, err := s.c.fs.Open(segment.Name(g.first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := segment.NewLines(f, view)
	defer lines.Release()
	from, to := 0, int(min(view.Count, s.upto+1-g.first)) // line numbers, half open
	if s.q.After != "" {
		if from, err = lines.Search(s.q.After); err != nil {
			return false, err
		}
		if id, err := idAt(lines, from, to); err != nil {
			return false, err
		} else if id == s.q.After {
			from++
		}
	}
	if s.q.Before != "" {
		before, err := lines.Search(s.q.Before)
		if err != nil {
			return false, err
		}
		to = min(to, before)
	}
	w := walk{view: view, since: s.since, until: s.until, from: from, to: to, backward: !s.q.Ascending, chosen: chosen}
	for n := 1; ; n++ {
		i, next, ok := w.next()
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
			return false, &failure.CorruptError{Segment: segment.Name(g.first), Line: i + 1, Expected: "an event in the stored form", Found: err.Error()}
		}
		if ok && s.q.Approval { // an answer must be what was given, and one line in thousands is one
			if fault := selfFault(line, &s.fields); fault != nil {
				fault.Segment, fault.Line = segment.Name(g.first), i+1
				return false, fault
			}
		}
		if ok && !s.fn(g.first+uint64(i), line, &s.fields) {
			return false, nil
		}
	}
}

// chosen holds the line's own bytes against the query.
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
