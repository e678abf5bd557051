package rampart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/tally"
	"github.com/rampartlog/rampart/internal/vfs"
)

// AuditEvent is one tool call, as the host reports it and as the log keeps it.
type AuditEvent struct {
	ID         string          `json:"id"`        // given by the chain: a ULID, rising in log order
	Timestamp  time.Time       `json:"timestamp"` // of the call; the time of appending when zero
	Agent      string          `json:"agent"`     // required
	Session    string          `json:"session"`
	RunID      string          `json:"run_id,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Tool       string          `json:"tool"`    // required
	Request    json.RawMessage `json:"request"` // an object, kept byte for byte but for insignificant white space; {} when nil
	Decision   Decision        `json:"decision"`
	Response   *Response       `json:"response,omitempty"`
	Approval   json.RawMessage `json:"approval,omitempty"` // written by [Approvals] alone
	PrevHash   string          `json:"prev_hash"`          // given by the chain
	Hash       string          `json:"hash"`               // given by the chain
}

// Decision is what the host's policy said.
type Decision struct {
	Action           string   `json:"action"` // required, a lower-case word: allow, deny, watch, ask, …
	MatchedPolicies  []string `json:"matched_policies"`
	EvaluationTimeUS int64    `json:"evaluation_time_us"`
	Message          string   `json:"message,omitempty"`
	Suggestions      []string `json:"suggestions,omitempty"`
}

// Response is what came of the call.
type Response struct {
	ExitCode   *int     `json:"exit_code,omitempty"`
	DurationMS int64    `json:"duration_ms"`
	Flags      []string `json:"flags,omitempty"`
}

type (
	SyncPolicy = ledger.SyncPolicy
	Filter     = ledger.Filter
	Query      = ledger.Query
	Anchor     = ledger.Anchor
	Pruned     = ledger.Pruned
	Report     = ledger.Report
	Verdict    = ledger.Verdict
	Totals     = ledger.Totals
	Interval   = ledger.Interval
	AuditStats = ledger.Stats
	Histogram  = tally.Histogram
	histogram  = tally.Recorder
	counters   = tally.Counters
)

const (
	SyncAlways   = ledger.SyncAlways
	SyncInterval = ledger.SyncInterval
	SyncNever    = ledger.SyncNever

	VerdictOK         = ledger.VerdictOK
	VerdictTornTail   = ledger.VerdictTornTail
	VerdictTampered   = ledger.VerdictTampered
	VerdictMissing    = ledger.VerdictMissing
	VerdictTruncated  = ledger.VerdictTruncated
	VerdictPruned     = ledger.VerdictPruned
	VerdictUnreadable = ledger.VerdictUnreadable

	maxBatch     = ledger.MaxBatch
	maxEvent     = ledger.MaxEvent
	maxAppend    = ledger.MaxAppend
	lineOverhead = ledger.LineOverhead
)

var (
	newCounters = tally.NewCounters
	selfFault   = ledger.CheckLine
	zeroHash    = ledger.ZeroHash()
	oneOf       = ledger.OneOf
)

type AuditOptions struct {
	Bus       *EventBus
	Sync      SyncPolicy
	SyncEvery time.Duration
	Logger    *slog.Logger

	fs          vfs.FS
	segmentSize int64
}

type AuditChain struct{ ledger *ledger.Ledger }

func OpenAuditChain(dir string, opts *AuditOptions) (*AuditChain, error) {
	var o AuditOptions
	if opts != nil {
		o = *opts
	}
	lo := &ledger.Options{Sync: o.Sync, SyncEvery: o.SyncEvery, Logger: o.Logger, FS: o.fs, SegmentSize: o.segmentSize}
	if o.Bus != nil {
		lo.Announce = o.Bus.publish
	}
	l, err := ledger.Open(dir, lo)
	if err != nil {
		return nil, err
	}
	c := &AuditChain{l}
	if o.Bus != nil {
		h := l.Head()
		if err := o.Bus.attach(c, l.Seq(), h.ID, h.Hash); err != nil {
			l.Close()
			return nil, err
		}
	}
	return c, nil
}

const approvalGiven = "approval is written by the approvals queue alone"

func (c *AuditChain) Append(ctx context.Context, e AuditEvent) (AuditEvent, error) {
	if e.Approval != nil {
		return AuditEvent{}, invalid(0, 1, approvalGiven)
	}
	if err := ctx.Err(); err != nil {
		return AuditEvent{}, err
	}
	body, err := encodeOne(&e, 0, 1)
	if err != nil {
		return AuditEvent{}, err
	}
	b := ledger.One(body)
	if err := c.ledger.Append(ctx, b); err != nil {
		return AuditEvent{}, err
	}
	e.place(&b.Places[0])
	return e, nil
}

func (e *AuditEvent) place(p *ledger.Place) { e.ID, e.PrevHash, e.Hash = p.ID, p.PrevHash, p.Hash }

func (c *AuditChain) AppendAll(ctx context.Context, events []AuditEvent) ([]AuditEvent, error) {
	for i := range events {
		if events[i].Approval != nil {
			return nil, invalid(i, len(events), approvalGiven)
		}
	}
	return c.commit(ctx, op{events: events})
}

type op struct {
	events    []AuditEvent
	batch     bool
	runID     string
	sync      bool
	approvals bool
	apply     func(saved []AuditEvent)
}

func encodeOne(e *AuditEvent, i, n int) ([]byte, error) {
	body, err := encode(e)
	if err != nil {
		return nil, invalid(i, n, "%v", err)
	}
	if line := len(body) + lineOverhead; line > maxEvent {
		return nil, invalid(i, n, "%d bytes in its stored form, at most %d are taken; keep the large part elsewhere and record its digest", line, maxEvent)
	}
	return body, nil
}

func (c *AuditChain) commit(ctx context.Context, o op) ([]AuditEvent, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	events := slices.Clone(o.events)
	n := len(events)
	if n == 0 {
		return events, nil
	}
	if n > maxBatch {
		return nil, fmt.Errorf("%w: %d events in one append, at most %d are taken; append them in parts", ErrInvalid, n, maxBatch)
	}
	b := &ledger.Batch{Bodies: make([][]byte, n), RunID: o.runID, Bulk: o.batch, Sync: o.sync, Approvals: o.approvals}
	size := 0
	for i := range events {
		body, err := encodeOne(&events[i], i, n)
		if err != nil {
			return nil, err
		}
		b.Bodies[i] = body
		if size += len(body) + lineOverhead + 1; size > maxAppend {
			return nil, fmt.Errorf("%w: more than %d bytes in one append; append them in parts", ErrInvalid, maxAppend)
		}
	}
	if o.apply != nil {
		b.Durable = func(places []ledger.Place) {
			for i := range places {
				events[i].place(&places[i])
			}
			o.apply(events)
		}
	}
	if err := c.ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	for i := range b.Places {
		events[i].place(&b.Places[i])
	}
	return events, nil
}

func (c *AuditChain) Get(ctx context.Context, id string) (Record, error) {
	return c.ledger.Get(ctx, id)
}
func (c *AuditChain) Query(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := c.query(ctx, &q, func(_ uint64, line []byte, _ *record.Fields) bool {
			return yield(bytes.Clone(line), nil)
		}); err != nil {
			yield(nil, err)
		}
	}
}
func (c *AuditChain) query(ctx context.Context, q *Query, fn func(uint64, []byte, *record.Fields) bool) error {
	return c.ledger.Scan(ctx, q, fn)
}
func (c *AuditChain) read(ctx context.Context, after, upto uint64, fn func(uint64, []byte) bool) error {
	return c.ledger.Read(ctx, after, upto, fn)
}
func (c *AuditChain) Head() Anchor                                { return c.ledger.Head() }
func (c *AuditChain) Stats() AuditStats                           { return c.ledger.Stats() }
func (c *AuditChain) Err() error                                  { return c.ledger.Err() }
func (c *AuditChain) Close() error                                { return c.ledger.Close() }
func (c *AuditChain) pruned() Pruned                              { return c.ledger.Pruned() }
func (c *AuditChain) Dates(ctx context.Context) ([]string, error) { return c.ledger.Dates(ctx) }
func (c *AuditChain) Totals(ctx context.Context, since, until time.Time) (Totals, error) {
	return c.ledger.Totals(ctx, since, until)
}
func (c *AuditChain) TotalsEvery(ctx context.Context, since, until time.Time, interval time.Duration) (Totals, error) {
	return c.ledger.TotalsEvery(ctx, since, until, interval)
}
func (c *AuditChain) Verify(ctx context.Context, anchors ...Anchor) (Report, error) {
	return c.ledger.Verify(ctx, anchors...)
}
func VerifyChain(ctx context.Context, fsys fs.FS, anchors ...Anchor) (Report, error) {
	return ledger.VerifyChain(ctx, fsys, anchors...)
}

func (c *AuditChain) Prune(ctx context.Context, before time.Time) (uint64, error) {
	return c.ledger.Prune(ctx, before, func(ctx context.Context, before string) ([]string, error) {
		open := newFold(0)
		for r, err := range c.Query(ctx, Query{Before: before, Ascending: true, Approval: true}) {
			if err == nil {
				err = open.add(r)
			}
			if err != nil {
				return nil, err
			}
		}
		ids := make([]string, 0, len(open.pending))
		for id := range open.pending {
			ids = append(ids, id)
		}
		return ids, nil
	})
}

func invalid(i, n int, format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	if n > 1 {
		return fmt.Errorf("%w: event %d: %s", ErrInvalid, i+1, s)
	}
	return fmt.Errorf("%w: %s", ErrInvalid, s)
}

// encode checks e, fills in what it leaves open and returns its part of the line.
func encode(e *AuditEvent) ([]byte, error) {
	switch {
	case e.ID != "" || e.PrevHash != "" || e.Hash != "":
		return nil, fmt.Errorf("id, prev_hash and hash are given by the log; leave them empty")
	case e.Tool == "":
		return nil, fmt.Errorf("tool is required")
	case e.Agent == "":
		return nil, fmt.Errorf("agent is required")
	case !lowerWord(e.Decision.Action):
		return nil, fmt.Errorf("decision.action %.70q is not a lower-case word (a-z, 0-9, _ and -, 64 characters at most)", e.Decision.Action)
	case e.Decision.EvaluationTimeUS < 0:
		return nil, fmt.Errorf("decision.evaluation_time_us is negative")
	case e.Response != nil && e.Response.DurationMS < 0:
		return nil, fmt.Errorf("response.duration_ms is negative")
	}
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now()
	}
	e.Timestamp = e.Timestamp.Round(0).UTC()
	if y := e.Timestamp.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("timestamp has the year %d, RFC 3339 ends with 9999", y)
	}
	if e.Decision.MatchedPolicies == nil {
		e.Decision.MatchedPolicies = []string{}
	}
	ev := toRecord(e)
	body, request, err := ev.AppendBody(make([]byte, 0, 256+len(e.Request)+len(e.Decision.Message)))
	if err != nil {
		return nil, err
	}
	e.Request = request
	return body, nil
}

func lowerWord(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
