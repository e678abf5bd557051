package rampart

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// Record is one event as the log stores it: a line of JSON without its newline.
// The functions of package encoding/json embed it as it is.
type Record []byte

// ID returns the event's id, or "" if r is not a stored line.
func (r Record) ID() string { return r.field(func(f *record.Fields) []byte { return f.ID }) }

// Hash returns the event's hash, or "" if r is not a stored line.
func (r Record) Hash() string { return r.field(func(f *record.Fields) []byte { return f.Hash }) }

func (r Record) field(of func(*record.Fields) []byte) string {
	var f record.Fields
	if record.Scan(r, &f) != nil {
		return ""
	}
	return string(of(&f))
}

// MarshalJSON returns r itself.
func (r Record) MarshalJSON() ([]byte, error) { return r, nil }

// Event decodes r.
func (r Record) Event() (AuditEvent, error) {
	e, id, prev, hash, err := record.Parse(r)
	if err != nil {
		return AuditEvent{}, fmt.Errorf("rampart: not a stored event: %w", err)
	}
	t, err := time.Parse(time.RFC3339Nano, e.Timestamp)
	if err != nil {
		return AuditEvent{}, fmt.Errorf("rampart: not a stored event: %w", err)
	}
	out := fromRecord(&e)
	out.ID, out.Timestamp, out.Approval, out.PrevHash, out.Hash = id, t, e.Approval, prev, hash
	return out, nil
}

// fromRecord is e without its timestamp and what the log gives.
func fromRecord(e *record.Event) AuditEvent {
	out := AuditEvent{
		Agent: e.Agent, Session: e.Session, RunID: e.RunID, ToolCallID: e.ToolCallID, Tool: e.Tool, Request: e.Request,
		Decision: Decision{
			Action: e.Action, MatchedPolicies: e.MatchedPolicies, EvaluationTimeUS: e.EvaluationTimeUS,
			Message: e.Message, Suggestions: e.Suggestions,
		},
	}
	if e.Response != nil {
		out.Response = &Response{DurationMS: e.Response.DurationMS, Flags: e.Response.Flags}
		if e.Response.ExitCode != nil {
			code := int(*e.Response.ExitCode)
			out.Response.ExitCode = &code
		}
	}
	return out
}

// Filter chooses events. Values of one field are alternatives, fields combine
// with and; an empty field chooses every event. Letter case counts.
type Filter struct {
	Agent, Session, Tool, Action, RunID []string
}

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

// match holds a line's own bytes against the filter.
func (f *Filter) match(line *record.Fields) bool {
	return oneOf(line.Agent, f.Agent) && oneOf(line.Session, f.Session) && oneOf(line.Tool, f.Tool) &&
		oneOf(line.Action, f.Action) && oneOf(line.RunID, f.RunID)
}

func oneOf(raw []byte, values []string) bool {
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

	approval bool // only events with an approval member
}

// Query yields the stored lines of the events that q chooses, in log order or
// its reverse. It sees the log as it is when the iteration begins; events that
// arrive meanwhile neither appear nor move others. A page ends where its last
// event's id says: give it as After or Before to go on.
//
// Memory does not grow with the log. The records are the caller's to keep. An
// error comes last and once: ErrInvalid, ErrClosed, ctx's, [*CorruptError], or
// one of reading.
func (c *AuditChain) Query(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := c.query(ctx, &q, func(_ uint64, line []byte, _ *record.Fields) bool {
			return yield(bytes.Clone(line), nil)
		}); err != nil {
			yield(nil, err)
		}
	}
}

// query calls fn for each record that q chooses until fn returns false. line
// and fields are valid during the call.
func (c *AuditChain) query(ctx context.Context, q *Query, fn func(seq uint64, line []byte, f *record.Fields) bool) error {
	for _, id := range []string{q.After, q.Before} {
		if id != "" && !validID(id) {
			return fmt.Errorf("%w: %q is not an event's id, which has 26 characters of 0-9 and A-Z", ErrInvalid, id)
		}
	}
	v, err := c.state.view()
	if err != nil {
		return err
	}
	s := scan{c: c, q: q, upto: v.seq, wants: q.wants(), since: math.MinInt64, until: math.MaxInt64, fn: fn}
	if q.approval {
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
	c            *AuditChain
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
	if !partial && (h.Max < s.since || h.Min > s.until || s.q.approval && h.Approvals == 0) {
		return true, nil
	}
	index, err := s.c.index(ctx, g)
	if err != nil {
		return false, err
	}
	view := index.View()
	var chosen *roaring.Bitmap
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
	w := newWalk(from, to, s.q.Ascending, chosen)
	for n := 1; ; n++ {
		i, ok := w.next()
		if !ok {
			return true, nil
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		if may, skip := view.InTime(i, s.since, s.until, !s.q.Ascending); !may {
			w.skip(i, skip)
			continue
		}
		line, err := lines.Line(i)
		if err != nil {
			return false, err
		}
		if err := record.Scan(line, &s.fields); err != nil {
			return false, &CorruptError{Segment: segment.Name(g.first), Line: i + 1, Expected: "an event in the stored form", Found: err.Error()}
		}
		ok, err = s.chosen()
		if err != nil {
			return false, err
		}
		if ok && !s.fn(g.first+uint64(i), line, &s.fields) {
			return false, nil
		}
	}
}

// chosen holds the line's own bytes against the query.
func (s *scan) chosen() (bool, error) {
	if !s.q.match(&s.fields) || s.q.approval && s.fields.Approval == nil {
		return false, nil
	}
	if s.q.Since.IsZero() && s.q.Until.IsZero() {
		return true, nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(s.fields.Timestamp))
	if err != nil {
		return false, fmt.Errorf("rampart: event %s: %w", s.fields.ID, err)
	}
	return (s.q.Since.IsZero() || !t.Before(s.q.Since)) && (s.q.Until.IsZero() || t.Before(s.q.Until)), nil
}

func idAt(lines *segment.Lines, i, end int) (string, error) {
	if i >= end {
		return "", nil
	}
	return lines.ID(i)
}

// walk gives line numbers, all or the chosen ones, in one direction.
type walk struct {
	at, end, step int
	chosen        roaring.IntIterable // nil: all
}

func newWalk(from, to int, ascending bool, chosen *roaring.Bitmap) *walk {
	w := &walk{at: from, end: to, step: 1}
	if !ascending {
		w = &walk{at: to - 1, end: from - 1, step: -1}
	}
	switch {
	case chosen == nil:
	case ascending:
		w.chosen = chosen.Iterator()
	default:
		w.chosen = chosen.ReverseIterator()
	}
	return w
}

func (w *walk) next() (i int, ok bool) {
	if w.chosen == nil {
		i = w.at
		w.at += w.step
		return i, (w.end-i)*w.step > 0
	}
	for w.chosen.HasNext() {
		i = int(w.chosen.Next())
		if (i-w.at)*w.step < 0 {
			continue
		}
		return i, (w.end-i)*w.step > 0
	}
	return 0, false
}

// skip goes on n lines past i.
func (w *walk) skip(i, n int) { w.at = i + n*w.step }

// Get returns the stored line of one event, or ErrNotFound.
func (c *AuditChain) Get(ctx context.Context, id string) (Record, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%w: no event %q: an id has 26 characters of 0-9 and A-Z", ErrNotFound, id)
	}
	var found Record
	err := c.find(ctx, id, func(_ uint64, line []byte) { found = bytes.Clone(line) })
	if err == nil && found == nil {
		err = fmt.Errorf("%w: no event %s in the log", ErrNotFound, id)
	}
	return found, err
}

// find calls fn for the record with that id, if there is one.
func (c *AuditChain) find(ctx context.Context, id string, fn func(seq uint64, line []byte)) error {
	v, err := c.state.view()
	if err != nil {
		return err
	}
	// The segment before the first that begins after id.
	i, _ := slices.BinarySearchFunc(v.segments, id, func(g *sealedOrLive, id string) int {
		h, _ := c.state.headOf(g)
		if h.Count == 0 || h.FirstID > id {
			return 1
		}
		return -1
	})
	if i--; i < 0 {
		return nil
	}
	g := v.segments[i]
	index, err := c.index(ctx, g)
	if err != nil {
		return err
	}
	f, err := c.fs.Open(segment.Name(g.first))
	if err != nil {
		return err
	}
	defer f.Close()
	view := index.View()
	lines := segment.NewLines(f, view)
	at, err := lines.Search(id)
	if err != nil {
		return err
	}
	if got, err := idAt(lines, at, int(view.Count)); err != nil || got != id {
		return err
	}
	line, err := lines.Line(at)
	if err == nil {
		fn(g.first+uint64(at), line)
	}
	return err
}

// place is where a stream position is.
type place int

const (
	placeFound       place = iota + 1
	placeUnknown           // well-formed, not in this log
	placeContradicts       // in the log with another hash, or beyond its head with a hash
)

// locate finds the record that a stream position names; hash is empty or a
// prefix of the record's.
func (c *AuditChain) locate(ctx context.Context, id, hash string) (seq uint64, p place, err error) {
	v, err := c.state.view()
	if err != nil {
		return 0, 0, err
	}
	if id > v.head.ID {
		if hash != "" {
			return 0, placeContradicts, nil
		}
		return 0, placeUnknown, nil
	}
	p = placeUnknown
	err = c.find(ctx, id, func(at uint64, line []byte) {
		if h := Record(line).Hash(); hash != "" && h[:min(len(h), len(hash))] != hash {
			p = placeContradicts
			return
		}
		seq, p = at, placeFound
	})
	return seq, p, err
}

// read calls fn for the records after number after, up to and including number
// upto, in order, until fn returns false. line is valid only during the call.
func (c *AuditChain) read(ctx context.Context, after, upto uint64, fn func(seq uint64, line []byte) bool) error {
	v, err := c.state.view()
	if err != nil {
		return err
	}
	upto = min(upto, v.seq)
	for more := true; more && after < upto; {
		i := v.segmentOf(after + 1)
		if i < 0 {
			return fmt.Errorf("rampart: record %d is not in the log", after+1)
		}
		before := after
		if after, more, err = c.readSegment(ctx, v.segments[i], after, upto, fn); err != nil {
			return err
		}
		if more && after == before {
			return &CorruptError{Segment: segment.Name(v.segments[i].first), Expected: fmt.Sprintf("record %d", after+1), Found: "the end of the segment"}
		}
	}
	return nil
}

func (c *AuditChain) readSegment(ctx context.Context, g *sealedOrLive, after, upto uint64, fn func(uint64, []byte) bool) (last uint64, more bool, err error) {
	index, err := c.index(ctx, g)
	if err != nil {
		return after, false, err
	}
	f, err := c.fs.Open(segment.Name(g.first))
	if err != nil {
		return after, false, err
	}
	defer f.Close()
	view := index.View()
	first, offset := view.Offset(int(after + 1 - g.first))
	seq := g.first + uint64(first)
	more = true
	err = segment.Each(f, offset, view.Size, func(_ int64, line []byte) bool {
		if seq > after {
			if seq > upto || ctx.Err() != nil {
				more = false
				return false
			}
			after = seq
			if more = fn(seq, line); !more {
				return false
			}
		}
		seq++
		return true
	})
	return after, more, cmp.Or(err, ctx.Err())
}

// Head returns the newest visible event's id and hash; both are empty while
// the log is. Noted down elsewhere, they are an anchor for [VerifyChain].
func (c *AuditChain) Head() Anchor {
	c.state.mu.RLock()
	defer c.state.mu.RUnlock()
	return c.state.head
}

// Dates lists the UTC days that have events by their timestamps, newest first,
// as YYYY-MM-DD.
func (c *AuditChain) Dates(ctx context.Context) ([]string, error) {
	v, err := c.state.view()
	if err != nil {
		return nil, err
	}
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
	BySession map[string]uint64 `json:"by_session"` // without the events that name none
}

// Totals counts the events with since ≤ timestamp < until; a zero time is
// open. It reads all of them, about a million a second.
func (c *AuditChain) Totals(ctx context.Context, since, until time.Time) (Totals, error) {
	t := Totals{ByAction: map[string]uint64{}, ByTool: map[string]uint64{}, ByAgent: map[string]uint64{}, BySession: map[string]uint64{}}
	err := c.query(ctx, &Query{Since: since, Until: until, Ascending: true}, func(_ uint64, _ []byte, f *record.Fields) bool {
		t.Events++
		count(t.ByAction, f.Action)
		count(t.ByTool, f.Tool)
		count(t.ByAgent, f.Agent)
		if len(f.Session) > 0 {
			count(t.BySession, f.Session)
		}
		return true
	})
	return t, err
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

// AuditStats are figures of an [AuditChain] at one moment.
type AuditStats struct {
	Events   uint64
	Segments int
	Bytes    int64 // of the segments, without their indexes
	Sync     SyncPolicy
	Torn     int64             // bytes of an unfinished write that opening cut off
	Appended uint64            // events since it was opened
	Errors   map[string]uint64 // since it was opened, by operation: write, sync, create, index
	Append   Histogram         // seconds from the call of Append to its return
}

// Stats returns the chain's figures.
func (c *AuditChain) Stats() AuditStats {
	out := AuditStats{Sync: c.opts.Sync, Append: c.appends.read(), Errors: c.errors.read()}
	c.state.mu.RLock()
	segments := c.state.segments
	out.Events, out.Appended, out.Torn, out.Segments = c.state.seq, c.state.appended, c.state.torn, len(segments)
	c.state.mu.RUnlock()
	for _, g := range segments {
		h, _ := c.state.headOf(g)
		out.Bytes += h.Size
	}
	return out
}
