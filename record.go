package rampart

import (
	"fmt"
	"time"

	"github.com/rampartlog/rampart/internal/record"
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

// toRecord is e without what the log gives.
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
