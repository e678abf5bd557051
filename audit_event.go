package rampart

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

// Actions that have a meaning to the library. A host may use others of its own.
const (
	ActionAllow = "allow" // the policy let the call through
	ActionWatch = "watch" // the policy let the call through, and somebody should look at it
	ActionDeny  = "deny"  // the policy refused the call
	ActionAsk   = "ask"   // a person has to answer first

	// What became of an approval, see [Approvals].
	ActionApproved = "approved"
	ActionDenied   = "denied"
	ActionExpired  = "expired"

	ActionRan    = "ran"    // a call ran: the outcome that a [Gate] records
	ActionPruned = "pruned" // events were dropped, see [AuditChain.Prune]
)

// AuditEvent is one tool call, as the host reports it and as the log keeps it.
//
// ID, Approval, PrevHash and Hash are the log's own: leave them empty in an
// event that is to be appended. Strings are UTF-8. Request is an object without
// duplicate member names, at most 64 levels deep. The whole event has at most
// 1 MiB in its stored form.
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
	Action           string   `json:"action"` // required, a lower-case word: ActionAllow or another
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

// AppendJSON appends e to dst in the form that POST /v1/audit/events takes,
// without a line feed. e is checked as [AuditChain.Append] checks it. A zero
// Timestamp becomes the current time.
//
// ErrInvalid: e breaks a rule; dst is returned as it was.
func (e AuditEvent) AppendJSON(dst []byte) ([]byte, error) {
	body, err := encodeOne(&e)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	dst = append(dst, body[:len(body)-1]...) // but for its last comma
	return append(dst, '}'), nil
}

const approvalGiven = "approval is written by the approvals queue alone"

// encodeOne is encode for a single event that a host appends.
func encodeOne(e *AuditEvent) ([]byte, error) {
	if e.Approval != nil {
		return nil, invalid(0, 1, approvalGiven)
	}
	body, err := encode(e)
	if err != nil {
		return nil, invalid(0, 1, "%v", err)
	}
	return body, nil
}

// invalid is the error of event i, from 0, of n.
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
		return nil, errors.New("id, prev_hash and hash are given by the log; leave them empty")
	case e.Tool == "":
		return nil, errors.New("tool is required")
	case e.Agent == "":
		return nil, errors.New("agent is required")
	case !lowerWord(e.Decision.Action):
		return nil, fmt.Errorf("decision.action %.70q is not a lower-case word (a-z, 0-9, _ and -, 64 characters at most)", e.Decision.Action)
	case e.Decision.EvaluationTimeUS < 0:
		return nil, errors.New("decision.evaluation_time_us is negative")
	case e.Response != nil && e.Response.DurationMS < 0:
		return nil, errors.New("response.duration_ms is negative")
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
	if line := len(body) + ledger.LineOverhead; line > ledger.MaxEvent {
		return nil, fmt.Errorf("%d bytes in its stored form, at most %d are taken; keep the large part elsewhere and record its digest", line, ledger.MaxEvent)
	}
	e.Request = request
	return body, nil
}

// parseTime reads a time that comes from outside or from an event's approval
// member. It is stricter than time.Parse, see [record.ValidTime].
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !record.ValidTime(s) {
		return t, fmt.Errorf("%.40q is not %s", s, record.TimeForm)
	}
	return t.UTC(), nil
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

// Record is one event as the log stores it: a line of JSON without its newline.
// Package encoding/json embeds it as it is, and nil as null.
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

// MarshalJSON returns r itself, or null when r is nil.
func (r Record) MarshalJSON() ([]byte, error) { return json.RawMessage(r).MarshalJSON() }

// UnmarshalJSON sets r to a copy of data, as it stands, or to nil for null.
func (r *Record) UnmarshalJSON(data []byte) error {
	if *r = nil; string(data) != "null" {
		*r = append(Record{}, data...)
	}
	return nil
}

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

// fromRecord converts e, without its timestamp and what the log gives.
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

// toRecord converts e, without what the log gives.
func toRecord(e *AuditEvent) record.Event {
	out := record.Event{
		Timestamp: e.Timestamp.Format(time.RFC3339Nano), Agent: e.Agent, Session: e.Session,
		RunID: e.RunID, ToolCallID: e.ToolCallID, Tool: e.Tool, Request: e.Request,
		Action: e.Decision.Action, MatchedPolicies: e.Decision.MatchedPolicies,
		EvaluationTimeUS: e.Decision.EvaluationTimeUS,
		Message:          e.Decision.Message, Suggestions: e.Decision.Suggestions,
		Approval: e.Approval,
	}
	if e.Response != nil {
		out.Response = &record.Response{DurationMS: e.Response.DurationMS, Flags: e.Response.Flags}
		if e.Response.ExitCode != nil {
			code := int64(*e.Response.ExitCode)
			out.Response.ExitCode = &code
		}
	}
	return out
}
