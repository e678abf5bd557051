package rampart

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// streamFilter is what a client chose to get.
type streamFilter struct {
	types  map[EventType]bool // nil is all of them
	fields ledger.Filter
	events bool // fields chooses among events
	kept   []byte
}

func parseStreamFilter(q map[string][]string) (streamFilter, error) {
	f := streamFilter{fields: ledger.Filter{Agent: q["agent"], Session: q["session"], Tool: q["tool"], Action: q["action"], RunID: q["run_id"]}}
	f.events = !f.fields.All()
	for _, t := range q["type"] {
		switch EventType(t) {
		case TypeConnected, TypeApprovals, TypeAudit, TypeAuditBatch:
		default:
			return f, errors.New("unknown type: there are connected, approvals, audit and audit_batch")
		}
		if f.types == nil {
			f.types = make(map[EventType]bool)
		}
		f.types[EventType(t)] = true
	}
	return f, nil
}

// shows reports whether the client wants frames of that kind at all.
func (f *streamFilter) shows(kind framelog.Kind) bool {
	switch {
	case f.types == nil:
		return true
	case kind == kindApprovals:
		return f.types[TypeApprovals]
	case kind == kindAudit:
		return f.types[TypeAudit]
	case kind == kindLarge: // in place of an audit message
		return f.types[TypeAudit] || f.types[TypeAuditBatch]
	}
	return f.types[TypeAuditBatch]
}

// apply returns those frames of run that the client wants, good until the
// following call. Without a filter they are the run's own bytes, unread.
func (f *streamFilter) apply(ctx context.Context, bus *EventBus, run framelog.Run) ([]byte, framelog.Counts, error) {
	if f.types == nil && !f.events {
		return run.Bytes, run.Counts, nil
	}
	f.kept = f.kept[:0]
	var counts framelog.Counts
	marks, seq, off := run.Marks, run.After, run.Base
	for rest := run.Bytes; len(rest) > 0; {
		var frame []byte
		frame, rest, _ = sse.Cut(rest)
		kind, after := kindApprovals, seq
		if len(marks) > 0 && marks[0].Off == off {
			kind, seq = marks[0].Kind, marks[0].Seq
			marks = marks[1:]
		}
		off += int32(len(frame))
		if !f.shows(kind) {
			continue
		}
		if f.events && kind != kindApprovals {
			ok, err := f.chooses(ctx, bus, kind, frame, after, seq)
			if err != nil {
				return nil, counts, err
			}
			if !ok {
				continue
			}
		}
		f.kept = append(f.kept, frame...)
		counts[kind]++
	}
	return f.kept, counts, nil
}

// chooses reports whether the frame's event, or one of those that an
// audit_batch stands for, the records after number after up to seq, is chosen.
func (f *streamFilter) chooses(ctx context.Context, bus *EventBus, kind framelog.Kind, frame []byte, after, seq uint64) (chosen bool, err error) {
	parsed, _ := sse.Parse(frame)
	match := func(_ uint64, line []byte) bool {
		fields := fieldsOf(line)
		chosen = f.fields.Match(&fields)
		return !chosen
	}
	if kind == kindAudit {
		match(seq, parsed.Event)
	} else if chain := bus.history(); chain != nil {
		err = chain.ledger.Read(ctx, after, seq, match)
	} else {
		chosen = ledger.OneOf(parsed.RunID, f.fields.RunID)
	}
	return chosen, err
}

// fieldsOf returns what a filter looks at. A record of a host's own log need
// not be laid out as a chain lays it out.
func fieldsOf(line []byte) record.Fields {
	var f record.Fields
	if record.Scan(line, &f) == nil {
		return f
	}
	var v struct {
		Agent    json.RawMessage `json:"agent"`
		Session  json.RawMessage `json:"session"`
		RunID    json.RawMessage `json:"run_id"`
		Tool     json.RawMessage `json:"tool"`
		Decision struct {
			Action json.RawMessage `json:"action"`
		} `json:"decision"`
	}
	_ = json.Unmarshal(line, &v) // what cannot be read is chosen by no filter
	text := func(raw json.RawMessage) []byte {
		if len(raw) < 2 || raw[0] != '"' {
			return nil
		}
		return raw[1 : len(raw)-1]
	}
	return record.Fields{Agent: text(v.Agent), Session: text(v.Session), RunID: text(v.RunID), Tool: text(v.Tool), Action: text(v.Decision.Action)}
}
