package stream

import (
	"context"
	"errors"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/sse"
)

// filter is what a client chose to get.
type filter struct {
	types  map[string]bool // nil is all of them
	fields ledger.Filter
	events bool // fields chooses among events
	out    []byte
}

func parseFilter(q map[string][]string) (filter, error) {
	f := filter{fields: ledger.Filter{Agent: q["agent"], Session: q["session"], Tool: q["tool"], Action: q["action"], RunID: q["run_id"]}}
	f.events = !f.fields.All()
	for _, t := range q["type"] {
		switch t {
		case typeConnected, typeApprovals, typeAudit, typeAuditBatch:
		default:
			return f, errors.New("unknown type: the types are connected, approvals, audit and audit_batch")
		}
		if f.types == nil {
			f.types = make(map[string]bool)
		}
		f.types[t] = true
	}
	return f, nil
}

// shows reports whether the client wants frames of that kind at all.
func (f *filter) shows(kind framelog.Kind) bool {
	switch {
	case f.types == nil:
		return true
	case kind == bus.KindApprovals:
		return f.types[typeApprovals]
	case kind == bus.KindAudit:
		return f.types[typeAudit]
	case kind == bus.KindLarge: // in place of an audit message
		return f.types[typeAudit] || f.types[typeAuditBatch]
	}
	return f.types[typeAuditBatch]
}

// apply returns those frames of run that the client wants, valid until the next
// call. Without a filter they are the run's own bytes, unread.
func (f *filter) apply(ctx context.Context, b *bus.Bus, run framelog.Run) ([]byte, framelog.Counts, error) {
	if f.types == nil && !f.events {
		return run.Bytes, run.Counts, nil
	}
	f.out = f.out[:0]
	var counts framelog.Counts
	marks, seq, off := run.Marks, run.After, run.Base
	for rest := run.Bytes; len(rest) > 0; {
		var frame []byte
		frame, rest, _ = sse.Cut(rest)
		kind, after := bus.KindApprovals, seq
		if len(marks) > 0 && marks[0].Off == off {
			kind, seq = marks[0].Kind, marks[0].Seq
			marks = marks[1:]
		}
		off += int32(len(frame))
		if !f.shows(kind) {
			continue
		}
		if f.events && kind != bus.KindApprovals {
			ok, err := f.chooses(ctx, b, kind, frame, after, seq)
			if err != nil {
				return nil, counts, err
			}
			if !ok {
				continue
			}
		}
		f.out = append(f.out, frame...)
		counts[kind]++
	}
	return f.out, counts, nil
}

// chooses reports whether the filter chooses the frame's event. An audit_batch
// stands for the records after number after, up to seq: one chosen is enough.
func (f *filter) chooses(ctx context.Context, b *bus.Bus, kind framelog.Kind, frame []byte, after, seq uint64) (chosen bool, err error) {
	parsed, _ := sse.Parse(frame)
	match := func(_ uint64, line []byte) bool {
		fields := bus.FieldsOf(line)
		chosen = f.fields.Match(&fields)
		return !chosen
	}
	if kind == bus.KindAudit {
		match(seq, parsed.Event)
	} else if l := b.Ledger(); l != nil {
		err = l.Read(ctx, after, seq, match)
	} else {
		chosen = ledger.OneOf(parsed.RunID, f.fields.RunID)
	}
	return chosen, err
}
