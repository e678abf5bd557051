package rampart

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

func (a *api) postEvents(w http.ResponseWriter, r *http.Request, c Credential) error {
	many := false
	limit := int64(maxBody)
	switch mediaType(r) {
	case "application/json":
	case "application/x-ndjson":
		many, limit = true, maxLines
	default:
		return &statusError{http.StatusUnsupportedMediaType, "Content-Type must be application/json for one event, application/x-ndjson for many"}
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	agent := ""
	if c.Scope == ScopeAgent {
		agent = c.Name
	}
	var events []AuditEvent
	var lines []int // where they stand
	if many {
		events, lines, err = parseLines(body, agent)
	} else {
		events = make([]AuditEvent, 1)
		events[0], err = parseEvent(body, agent)
	}
	if err != nil {
		return err
	}
	saved, err := a.Chain.AppendAll(r.Context(), events)
	if many && errors.Is(err, ErrInvalid) {
		for i := range events {
			if _, fault := encodeOne(&events[i]); fault != nil {
				return fmt.Errorf("line %d: %w", lines[i], fault)
			}
		}
	}
	if err != nil {
		return err
	}
	ids := make([]string, len(saved))
	for i := range saved {
		ids[i] = saved[i].ID
	}
	return writeJSON(w, http.StatusCreated, struct {
		IDs []string `json:"ids"`
	}{ids})
}

// parseEvent reads an event from outside. A non-empty agent takes the place of
// the event's own.
func parseEvent(src []byte, agent string) (AuditEvent, error) {
	e, err := record.ParseEvent(src)
	if err != nil {
		return AuditEvent{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	out := fromRecord(&e)
	out.Agent = cmp.Or(agent, e.Agent)
	if e.Timestamp != "" {
		if out.Timestamp, err = parseTime(e.Timestamp); err != nil {
			return AuditEvent{}, fmt.Errorf("%w: timestamp %w", ErrInvalid, err)
		}
	}
	return out, nil
}

// parseLines is parseEvent for NDJSON, and says on which line each event
// stands. Its errors name the line.
func parseLines(body []byte, agent string) (events []AuditEvent, lines []int, err error) {
	n := 0
	for line := range bytes.Lines(body) {
		n++
		if line = bytes.TrimRight(line, "\r\n"); len(bytes.Trim(line, " \t\r")) == 0 {
			continue
		}
		if len(line) > maxBody {
			return nil, nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("line %d is longer than %d bytes", n, maxBody)}
		}
		if len(events) == ledger.MaxBatch {
			return nil, nil, &statusError{http.StatusBadRequest, fmt.Sprintf("line %d: a request takes at most %d events; send them in parts", n, ledger.MaxBatch)}
		}
		e, err := parseEvent(line, agent)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
		events, lines = append(events, e), append(lines, n)
	}
	if len(events) == 0 {
		return nil, nil, &statusError{http.StatusBadRequest, "no event in the body"}
	}
	return events, lines, nil
}

func badParameter(name, rule string) error {
	return &statusError{http.StatusBadRequest, "parameter " + name + " " + rule}
}

// params reads query parameters and keeps the first fault.
type params struct {
	url.Values
	err error
}

func newParams(r *http.Request) params {
	values, err := parseQuery(r)
	return params{values, err}
}

// parseQuery refuses a query of which something can't be read: leaving that out
// would answer another question.
func parseQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return values, &statusError{http.StatusBadRequest, "the query string is malformed, or has too many parameters; percent-encode what stands in it"}
	}
	return values, nil
}

func (p *params) fault(name, rule string) {
	if p.err == nil {
		p.err = badParameter(name, rule)
	}
}

func (p *params) int(name string, absent, least int) int {
	if p.Get(name) == "" {
		return absent
	}
	n, err := strconv.Atoi(p.Get(name))
	// n is then the nearest int, unless what follows is no digit.
	if errors.Is(err, strconv.ErrRange) && strings.Trim(p.Get(name), "+0123456789") == "" {
		err = nil
	}
	if err != nil || n < least {
		p.fault(name, fmt.Sprintf("is a whole number, %d at least", least))
	}
	return n
}

// all returns the parameter's values; an empty one is as good as none.
func (p *params) all(name string) []string {
	return slices.DeleteFunc(p.Values[name], func(s string) bool { return s == "" })
}

func (p *params) id(name string) string {
	s := p.Get(name)
	if s != "" && !ledger.ValidID(s) {
		p.fault(name, "is an event's id, of 26 characters of 0-9 and A-Z")
	}
	return s
}

func (p *params) time(name string) time.Time {
	if p.Get(name) == "" {
		return time.Time{}
	}
	t, err := parseTime(p.Get(name))
	if err != nil {
		p.fault(name, "is a time of RFC 3339, such as 2026-03-03T10:15:30Z")
	}
	return bound(t)
}

// bound tells a time that is given from none, which the zero time stands for.
// No event has that.
func bound(t time.Time) time.Time {
	if t.IsZero() {
		return t.Add(1)
	}
	return t
}

// day returns the bounds of a UTC day.
func (p *params) day(name string) (from, until time.Time) {
	if p.Get(name) == "" {
		return from, until
	}
	from, err := time.Parse(time.DateOnly, p.Get(name))
	if err != nil {
		p.fault(name, "is a day as YYYY-MM-DD")
	}
	return bound(from), bound(from.AddDate(0, 0, 1))
}

// dayOrTime returns the bounds of a UTC day, or twice the time that is given.
func (p *params) dayOrTime(name string) (from, until time.Time) {
	if len(p.Get(name)) <= len(time.DateOnly) {
		return p.day(name)
	}
	t := p.time(name)
	return t, t
}

// later and earlier narrow a range whose zero bounds are open.
func later(x, y time.Time) time.Time {
	if x.IsZero() || y.After(x) {
		return y
	}
	return x
}

func earlier(x, y time.Time) time.Time {
	if x.IsZero() || !y.IsZero() && y.Before(x) {
		return y
	}
	return x
}

const (
	defaultPage = 50
	maxPage     = 500
)

func (a *api) getEvents(w http.ResponseWriter, r *http.Request, _ Credential) error {
	p := newParams(r)
	limit := min(p.int("limit", defaultPage, 1), maxPage)
	offset := p.int("offset", 0, 0)
	since, until := p.day("date")
	q := Query{
		Filter: Filter{Agent: p.all("agent"), Session: p.all("session"), Tool: p.all("tool"), Action: p.all("action"), RunID: p.all("run_id")},
		Since:  later(since, p.time("since")), Until: earlier(until, p.time("until")),
		After: p.id("after"), Before: p.id("before"),
	}
	cursor := p.id("cursor")
	switch p.Get("order") {
	case "asc":
		q.Ascending = true
		q.After = max(q.After, cursor)
	case "", "desc":
		if cursor != "" && (q.Before == "" || cursor < q.Before) {
			q.Before = cursor
		}
	default:
		p.fault("order", "is asc or desc")
	}
	if p.err != nil {
		return p.err
	}

	out := newLineWriter(w, a.log, `{"events":[`, ",")
	last, more, skipped := "", false, 0
	err := a.Chain.scan(r.Context(), &q, func(_ uint64, line []byte, f *record.Fields) bool {
		if skipped < offset {
			skipped++
			return true
		}
		if more = out.lines == limit; more {
			return false
		}
		last = string(f.ID)
		return out.line(line) == nil
	})
	if err := out.fault(err); err != nil {
		return err
	}
	var end struct {
		NextOffset int    `json:"next_offset"`
		NextCursor string `json:"next_cursor"`
		Date       string `json:"date"`
	}
	if end.Date = p.Get("date"); more {
		end.NextOffset, end.NextCursor = offset+limit, last
	}
	tail, err := json.Marshal(end)
	if err != nil {
		return out.fault(err)
	}
	out.begin()
	fmt.Fprintf(out.w, "],%s\n", tail[1:])
	out.end()
	return nil
}

// lineWriter writes stored lines as an answer, which begins with the first of
// them: an error that comes before it still gets a status of its own.
type lineWriter struct {
	rw        http.ResponseWriter
	w         *bufio.Writer
	log       *slog.Logger
	before    string
	separator string
	lines     int
	begun     bool
}

func newLineWriter(w http.ResponseWriter, log *slog.Logger, before, separator string) *lineWriter {
	return &lineWriter{rw: w, w: bufio.NewWriterSize(w, 32<<10), log: log, before: before, separator: separator}
}

func (l *lineWriter) begin() {
	if l.begun {
		return
	}
	l.begun = true
	if l.rw.Header().Get("Content-Type") == "" {
		jsonHeaders(l.rw)
	}
	l.rw.WriteHeader(http.StatusOK)
	l.w.WriteString(l.before)
}

func (l *lineWriter) line(b []byte) error {
	l.begin()
	if l.lines > 0 {
		l.w.WriteString(l.separator)
	}
	l.lines++
	_, err := l.w.Write(b)
	return err
}

// fault returns err if the answer has not begun, and otherwise breaks the
// answer off, so that nobody takes it for a whole one.
func (l *lineWriter) fault(err error) error {
	if err != nil && l.begun {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			l.log.Error("an answer was broken off", "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// end is the end of a whole answer; one that its client does not take is broken off.
func (l *lineWriter) end() {
	if l.w.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

func (a *api) getEvent(w http.ResponseWriter, r *http.Request, _ Credential) error {
	line, err := a.Chain.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	jsonHeaders(w)
	w.Header().Set("Content-Length", strconv.Itoa(len(line)+1))
	_, _ = io.WriteString(w, string(line)+"\n")
	return nil
}

func (a *api) getDates(w http.ResponseWriter, r *http.Request, _ Credential) error {
	dates, err := a.Chain.Dates(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Dates      []string `json:"dates"`
		Configured bool     `json:"configured"`
	}{dates, true})
}

func (a *api) getStats(w http.ResponseWriter, r *http.Request, _ Credential) error {
	p := newParams(r)
	since, _ := p.dayOrTime("from")
	_, until := p.dayOrTime("to")
	var interval time.Duration
	if every := p.Get("interval"); every != "" {
		var err error
		if interval, err = time.ParseDuration(every); err != nil {
			p.fault("interval", "is a duration such as 1h or 90s")
		}
		if interval == 0 {
			p.fault("interval", "is 1s at least")
		}
		if since.IsZero() || until.IsZero() {
			p.fault("interval", "needs from and to")
		}
	}
	if p.err != nil {
		return p.err
	}
	totals, err := a.Chain.Totals(r.Context(), TotalsQuery{Since: since, Until: until, Every: interval})
	if errors.Is(err, ErrInvalid) {
		return &statusError{http.StatusBadRequest, strings.Replace(err.Error(), ErrInvalid.Error()+": ", "parameter ", 1)}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, totals)
}

func (a *api) getExport(w http.ResponseWriter, r *http.Request, _ Credential) error {
	p := newParams(r)
	since, until := p.day("date")
	from, _ := p.dayOrTime("from")
	_, to := p.dayOrTime("to")
	since, until = later(later(since, from), p.time("since")), earlier(earlier(until, to), p.time("until"))
	if p.err != nil {
		return p.err
	}
	if since.IsZero() && until.IsZero() {
		return badParameter("date", "is required, or a range by from, to, since or until")
	}
	out := newLineWriter(w, a.log, "", "")
	h := w.Header()
	err := a.Chain.scan(r.Context(), &Query{Since: since, Until: until, Ascending: true}, func(_ uint64, line []byte, _ *record.Fields) bool {
		if !out.begun {
			h.Set("Content-Type", "application/jsonl")
			h.Set("Content-Disposition", `attachment; filename="`+exportName(since, until)+`"`)
			h.Set("Cache-Control", "no-store")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("X-Content-Type-Options", "nosniff")
		}
		return out.line(line) == nil && out.w.WriteByte('\n') == nil
	})
	if err := out.fault(err); err != nil {
		return err
	}
	if !out.begun {
		return &statusError{http.StatusNotFound, "no events in that time"}
	}
	out.end()
	return nil
}

// exportName names a file after the first and the last day that it covers.
func exportName(since, until time.Time) string {
	name := "rampart-audit"
	if !since.IsZero() {
		name += "-" + since.UTC().Format(time.DateOnly)
	}
	if !until.IsZero() {
		if last := until.UTC().Add(-1).Format(time.DateOnly); since.IsZero() || last != since.UTC().Format(time.DateOnly) {
			name += "-to-" + last
		}
	}
	return name + ".jsonl"
}

// verifyFault is the part of a verification's answer that says what is wrong.
type verifyFault struct {
	Verdict  Verdict `json:"verdict"`
	Segment  string  `json:"segment"`
	Line     int     `json:"line"`
	Offset   int64   `json:"offset"`
	ID       string  `json:"id"`
	Expected string  `json:"expected"`
	Found    string  `json:"found"`
}

func (a *api) getVerify(w http.ResponseWriter, r *http.Request, _ Credential) error {
	q := newParams(r)
	if q.err != nil {
		return q.err
	}
	var anchors []Anchor
	if q.Has("id") || q.Has("hash") {
		if q.Get("id") == "" {
			return badParameter("id", "is required beside hash")
		}
		anchors = append(anchors, Anchor{ID: q.Get("id"), Hash: q.Get("hash")})
	}
	report, err := a.verify(r.Context(), anchors)
	if err != nil {
		return err
	}
	out := struct {
		OK       bool   `json:"ok"`
		Events   uint64 `json:"events"`
		FirstID  string `json:"first_id"`
		LastID   string `json:"last_id"`
		HeadHash string `json:"head_hash"`
		Pruned   Pruned `json:"pruned,omitzero"`
		*verifyFault
	}{report.OK(), report.Events, report.FirstID, report.LastID, report.HeadHash, report.Pruned, nil}
	if f := report.Fault; f != nil {
		out.verifyFault = &verifyFault{report.Verdict, f.Segment, f.Line, f.Offset, f.ID, f.Expected, f.Found}
	}
	return writeJSON(w, http.StatusOK, out)
}

// verify verifies the log, one caller after the other: it takes all cores.
func (a *api) verify(ctx context.Context, anchors []Anchor) (Report, error) {
	select {
	case a.verifying <- struct{}{}:
		defer func() { <-a.verifying }()
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
	report, err := a.Chain.Verify(ctx, anchors...)
	if err != nil {
		return report, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verified = &Verification{report.OK(), report.Verdict, report.Events, wallClock()}
	return report, nil
}
