package rampart

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"time"
)

// AuditEvent is one tool call, as the host reports it and as the log keeps it.
type AuditEvent struct {
	ID         string          `json:"id"`        // given by the chain: a ULID, rising in log order
	Timestamp  time.Time       `json:"timestamp"` // of the call; the time of appending when zero
	Agent      string          `json:"agent"`
	Session    string          `json:"session"`
	RunID      string          `json:"run_id,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Tool       string          `json:"tool"`
	Request    json.RawMessage `json:"request"` // an object, kept byte for byte without insignificant space; {} when nil
	Decision   Decision        `json:"decision"`
	Response   *Response       `json:"response,omitempty"`
	Approval   json.RawMessage `json:"approval,omitempty"` // written by [Approvals] alone
	PrevHash   string          `json:"prev_hash"`          // given by the chain
	Hash       string          `json:"hash"`               // given by the chain
}

// Decision is what the host's policy said.
type Decision struct {
	Action           string   `json:"action"` // a lower-case word: allow, deny, watch, ask, …
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

// Record is one event as the log stores it: a line of JSON without its newline.
type Record []byte

func (r Record) ID() string                   { panic("not written yet") }
func (r Record) Hash() string                 { panic("not written yet") }
func (r Record) Event() (AuditEvent, error)   { panic("not written yet") }
func (r Record) MarshalJSON() ([]byte, error) { return r, nil }

// Filter chooses events. Values of one field are alternatives; fields combine with and.
type Filter struct {
	Agent, Session, Tool, Action, RunID []string
}

// Query chooses events of the log and their order.
type Query struct {
	Filter
	Since, Until  time.Time // by the event's timestamp: Since ≤ t < Until; zero is open
	After, Before string    // ids, exclusive; empty is open
	Ascending     bool      // oldest first; newest first otherwise

	approval bool // only events with an approval member
}

// Anchor is an event's id and hash, noted down somewhere else.
type Anchor struct {
	ID   string `json:"id"`
	Hash string `json:"hash"` // or the first 16 or more digits of it
}

// SyncPolicy says when an appended event is forced to the disk.
type SyncPolicy string

const (
	SyncAlways   SyncPolicy = "always"
	SyncInterval SyncPolicy = "interval"
	SyncNever    SyncPolicy = "never"
)

// AuditOptions configures [OpenAuditChain].
type AuditOptions struct {
	Bus  *EventBus  // told of each event once it is durable
	Sync SyncPolicy // SyncAlways when empty

	Logger *slog.Logger
}

// Verdict is what a verification found.
type Verdict string

const (
	VerdictOK         Verdict = "ok"
	VerdictTornTail   Verdict = "torn tail"  // an unfinished last line, never acknowledged
	VerdictTampered   Verdict = "tampered"   // a line is not what was written
	VerdictMissing    Verdict = "missing"    // lines or segments are missing or out of order
	VerdictTruncated  Verdict = "truncated"  // an anchor is not on the log: cut or rewritten
	VerdictUnreadable Verdict = "unreadable" // the storage gave an error
)

// Report is the outcome of a verification.
type Report struct {
	Verdict  Verdict
	Events   uint64
	FirstID  string
	LastID   string
	HeadHash string
	Fault    *CorruptError // nil when Verdict is ok
}

// AuditStats are figures of an [AuditChain].
type AuditStats struct {
	Events   uint64
	Segments int
	Bytes    int64
	Sync     SyncPolicy
	Appended uint64            // since it was opened
	Errors   map[string]uint64 // by op: write, sync, create, index
	Append   Histogram         // seconds from the call of Append to its return
}

// Histogram is a plain cumulative histogram.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound to the number of observations at or below it
}

// Totals counts events.
type Totals struct {
	Events    uint64            `json:"total_events"`
	ByAction  map[string]uint64 `json:"by_action"`
	ByTool    map[string]uint64 `json:"by_tool"`
	ByAgent   map[string]uint64 `json:"by_agent"`
	BySession map[string]uint64 `json:"by_session"`
}

// AuditChain is an append-only log in which each event carries the hash of the one before.
type AuditChain struct{}

func OpenAuditChain(dir string, opts *AuditOptions) (*AuditChain, error) { panic("not written yet") }

// Append makes e durable and returns it as stored.
func (c *AuditChain) Append(ctx context.Context, e AuditEvent) (AuditEvent, error) {
	panic("not written yet")
}
func (c *AuditChain) AppendAll(ctx context.Context, events []AuditEvent) ([]AuditEvent, error) {
	panic("not written yet")
}
func (c *AuditChain) Get(ctx context.Context, id string) (Record, error) { panic("not written yet") }
func (c *AuditChain) Query(ctx context.Context, q Query) iter.Seq2[Record, error] {
	panic("not written yet")
}
func (c *AuditChain) Head() Anchor { panic("not written yet") }
func (c *AuditChain) Verify(ctx context.Context, anchors ...Anchor) (Report, error) {
	panic("not written yet")
}

// Dates lists the UTC days that have events, newest first, as YYYY-MM-DD.
func (c *AuditChain) Dates(ctx context.Context) ([]string, error) { panic("not written yet") }
func (c *AuditChain) Totals(ctx context.Context, since, until time.Time) (Totals, error) {
	panic("not written yet")
}
func (c *AuditChain) Stats() AuditStats { panic("not written yet") }

// Err is nil while the chain can append, else why it can't.
func (c *AuditChain) Err() error   { panic("not written yet") }
func (c *AuditChain) Close() error { return nil }

// op is one append on its way through the committer.
type op struct {
	events    []AuditEvent             // Approval may be set here, and only here
	batch     bool                     // announce as one audit_batch in place of single audit messages
	runID     string                   // of the audit_batch
	approvals bool                     // announce approvals after them
	apply     func(saved []AuditEvent) // called by the committer once durable, before anything is announced; must not block or append
}

// commit is AppendAll for the parts of this package: it does not refuse an approval member.
func (c *AuditChain) commit(ctx context.Context, o op) ([]AuditEvent, error) {
	panic("not written yet")
}

// Outcomes of locate.
type place int

const (
	placeFound       place = iota + 1
	placeUnknown           // well-formed, not in this log
	placeContradicts       // in the log with another hash, or beyond its head with a hash given
)

// locate finds the record that a stream position names; hash is "" or a prefix of 16 digits.
func (c *AuditChain) locate(ctx context.Context, id, hash string) (seq uint64, p place, err error) {
	panic("not written yet")
}

// read calls fn for the durable records after number after, up to and including
// number upto, in order, until fn returns false. line is valid only during the call.
func (c *AuditChain) read(ctx context.Context, after, upto uint64, fn func(seq uint64, line []byte) bool) error {
	panic("not written yet")
}
