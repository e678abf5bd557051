package rampart

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rampartlog/rampart/internal/guard"
	"github.com/rampartlog/rampart/internal/httpio"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

func (a *api) postEvents(w http.ResponseWriter, r *http.Request, c guard.Credential) error {
	events, lines, err := readEvents(w, r, c)
	if err != nil {
		return err
	}
	saved, err := a.Chain.AppendAll(r.Context(), events)
	if lines != nil && errors.Is(err, ErrInvalid) {
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
	return httpio.WriteJSON(w, http.StatusCreated, struct {
		IDs []string `json:"ids"`
	}{ids})
}

// readEvents reads the one event of a JSON body, or the events of NDJSON. Of
// NDJSON it also returns the line that each event stands on.
func readEvents(w http.ResponseWriter, r *http.Request, c guard.Credential) (events []AuditEvent, lines []int, err error) {
	many := false
	limit := int64(httpio.MaxObject)
	switch httpio.MediaType(r) {
	case "application/json":
	case "application/x-ndjson":
		many, limit = true, httpio.MaxLines
	default:
		return nil, nil, httpio.Errorf(http.StatusUnsupportedMediaType, "Content-Type must be application/json for one event, application/x-ndjson for many")
	}
	body, err := httpio.ReadBody(w, r, limit)
	if err != nil {
		return nil, nil, err
	}
	agent := ""
	if c.Scope == guard.Agent {
		agent = c.Name
	}
	if many {
		return parseLines(body, agent)
	}
	e, err := parseEvent(body, agent)
	return []AuditEvent{e}, nil, err
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

// parseLines is parseEvent for NDJSON. It also returns the line that each event
// stands on. Its errors name the line.
func parseLines(body []byte, agent string) (events []AuditEvent, lines []int, err error) {
	n := 0
	for line := range bytes.Lines(body) {
		n++
		if line = bytes.TrimRight(line, "\r\n"); len(bytes.Trim(line, " \t\r")) == 0 {
			continue
		}
		if len(line) > httpio.MaxObject {
			return nil, nil, httpio.Errorf(http.StatusRequestEntityTooLarge, "line %d is longer than %d bytes", n, httpio.MaxObject)
		}
		if len(events) == ledger.MaxBatch {
			return nil, nil, httpio.Errorf(http.StatusBadRequest, "line %d: a request takes at most %d events; send them in parts", n, ledger.MaxBatch)
		}
		e, err := parseEvent(line, agent)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
		events, lines = append(events, e), append(lines, n)
	}
	if len(events) == 0 {
		return nil, nil, httpio.Errorf(http.StatusBadRequest, "no event in the body")
	}
	return events, lines, nil
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

// page is the part of a list of events that a request asks for.
type page struct {
	Query
	limit, offset int
	date          string
}

func parsePage(r *http.Request) (page, error) {
	p := httpio.NewParams(r)
	since, until := p.Day("date")
	q := page{
		Query: Query{
			Filter: Filter{Agent: p.All("agent"), Session: p.All("session"), Tool: p.All("tool"), Action: p.All("action"), RunID: p.All("run_id")},
			Since:  later(since, p.Time("since")), Until: earlier(until, p.Time("until")),
			After: p.ID("after"), Before: p.ID("before"),
		},
		limit: min(p.Int("limit", defaultPage, 1), maxPage), offset: p.Int("offset", 0, 0), date: p.Get("date"),
	}
	cursor := p.ID("cursor")
	switch p.Get("order") {
	case "asc":
		q.Ascending = true
		q.After = max(q.After, cursor)
	case "", "desc":
		if cursor != "" && (q.Before == "" || cursor < q.Before) {
			q.Before = cursor
		}
	default:
		p.Fault("order", "is asc or desc")
	}
	return q, p.Err
}

func (a *api) getEvents(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	p, err := parsePage(r)
	if err != nil {
		return err
	}
	out := &httpio.Lines{To: w, Log: a.log, ContentType: "application/json", Before: `{"events":[`, Between: ","}
	last, more, skipped := "", false, 0
	err = a.Chain.scan(r.Context(), &p.Query, func(_ uint64, line []byte, f *record.Fields) bool {
		if skipped < p.offset {
			skipped++
			return true
		}
		if more = out.Count() == p.limit; more {
			return false
		}
		last = string(f.ID)
		return out.Line(line) == nil
	})
	if err := out.Fault(err); err != nil {
		return err
	}
	end := struct {
		NextOffset int    `json:"next_offset"`
		NextCursor string `json:"next_cursor"`
		Date       string `json:"date"`
	}{Date: p.date}
	if more {
		end.NextOffset, end.NextCursor = p.offset+p.limit, last
	}
	tail, err := json.Marshal(end)
	if err != nil {
		return out.Fault(err)
	}
	out.End("]," + string(tail[1:]) + "\n")
	return nil
}

func (a *api) getEvent(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	line, err := a.Chain.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	httpio.WriteBody(w, http.StatusOK, append(line, '\n'))
	return nil
}

func (a *api) getDates(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	dates, err := a.Chain.Dates(r.Context())
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, struct {
		Dates      []string `json:"dates"`
		Configured bool     `json:"configured"`
	}{dates, true})
}

func (a *api) getStats(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	p := httpio.NewParams(r)
	since, _ := p.DayOrTime("from")
	_, until := p.DayOrTime("to")
	var every time.Duration
	if s := p.Get("interval"); s != "" {
		var err error
		if every, err = time.ParseDuration(s); err != nil {
			p.Fault("interval", "is a duration such as 1h or 90s")
		}
		if every == 0 {
			p.Fault("interval", "is 1s at least")
		}
		if since.IsZero() || until.IsZero() {
			p.Fault("interval", "needs from and to")
		}
	}
	if p.Err != nil {
		return p.Err
	}
	totals, err := a.Chain.Totals(r.Context(), TotalsQuery{Since: since, Until: until, Every: every})
	if errors.Is(err, ErrInvalid) {
		return httpio.Errorf(http.StatusBadRequest, "parameter %s", strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
	}
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, totals)
}

func (a *api) getExport(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	p := httpio.NewParams(r)
	since, until := p.Day("date")
	from, _ := p.DayOrTime("from")
	_, to := p.DayOrTime("to")
	since, until = later(later(since, from), p.Time("since")), earlier(earlier(until, to), p.Time("until"))
	if p.Err != nil {
		return p.Err
	}
	if since.IsZero() && until.IsZero() {
		return httpio.BadParameter("date", "is required, or a range by from, to, since or until")
	}
	out := &httpio.Lines{To: w, Log: a.log, ContentType: "application/jsonl", Between: "\n"}
	err := a.Chain.scan(r.Context(), &Query{Since: since, Until: until, Ascending: true}, func(_ uint64, line []byte, _ *record.Fields) bool {
		if out.Count() == 0 {
			w.Header().Set("Content-Disposition", `attachment; filename="`+exportName(since, until)+`"`)
		}
		return out.Line(line) == nil
	})
	if err := out.Fault(err); err != nil {
		return err
	}
	if out.Count() == 0 {
		return httpio.Errorf(http.StatusNotFound, "no events in that time")
	}
	out.End("\n")
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

func (a *api) getVerify(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	q := httpio.NewParams(r)
	if q.Err != nil {
		return q.Err
	}
	var anchors []Anchor
	if q.Has("id") || q.Has("hash") {
		if q.Get("id") == "" {
			return httpio.BadParameter("id", "is required beside hash")
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
	return httpio.WriteJSON(w, http.StatusOK, out)
}

// verify verifies the log for one caller at a time, because that takes all cores.
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
