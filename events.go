package rampart

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// EventType is the type of a message.
type EventType string

const (
	TypeConnected  EventType = "connected"   // a stream is open
	TypeApprovals  EventType = "approvals"   // the approvals queue changed
	TypeAudit      EventType = "audit"       // an event was appended
	TypeAuditBatch EventType = "audit_batch" // several events were appended, in one bulk operation
)

// Event is one message of the bus.
type Event struct {
	Type   EventType `json:"type"`
	ID     string    `json:"id,omitempty"`     // position in the log, to resume after; empty for approvals
	RunID  string    `json:"run_id,omitempty"` // audit_batch only
	Record Record    `json:"record,omitempty"` // audit only: the line as stored
}

// BusOptions configures [NewEventBus]. Nil, and each zero value, is the
// documented default.
type BusOptions struct {
	// Window is how many bytes of recent messages are kept in memory: 16 MiB
	// when zero, 1 MiB at least. A subscriber that falls further behind is fed
	// from the log, at the log's speed.
	Window int
	// MaxSubscribers bounds the subscribers of Subscribe and Stream together;
	// further ones get ErrLimit. 16384 when zero.
	MaxSubscribers int
}

// BusStats are figures of an [EventBus] at one moment.
type BusStats struct {
	Subscribers int
	Published   uint64 // messages since the bus was made
	SlowestLag  uint64 // events that the slowest subscriber has yet to be given
	CatchUp     uint64 // how many events the subscribers that read from disk are behind, summed
}

// EventBus tells every watcher at once, and never lets a slow one hurt anybody:
// publishing costs the same for one subscriber and for ten thousand, and waits
// for none of them.
//
// A bus that an [AuditChain] was opened with announces what that chain has made
// durable, in log order, and can go back to all that the log holds. One without
// a chain serves a host that keeps its own log: the host publishes, and what the
// window no longer holds is gone for the bus.
//
// Its methods may be called concurrently. It must be closed.
type EventBus struct{ bus *bus.Bus }

// NewEventBus returns an empty bus. It holds 64 KiB until something is published.
func NewEventBus(opts *BusOptions) *EventBus {
	var o BusOptions
	if opts != nil {
		o = *opts
	}
	return &EventBus{bus.New(bus.Options(o))}
}

// Publish tells all subscribers. It is for hosts with a log of their own and
// returns once the message is in memory; it never waits for a subscriber.
// Messages of concurrent calls go out one after the other, in the same order
// for everybody.
//
// An audit or audit_batch message needs an ID: the host's own name for the
// place in its log, to resume after, up to 256 bytes of UTF-8 without control
// characters or spaces around it, and not "0", which means the start of the
// log. Record is a JSON object; insignificant space is taken out. A record whose
// message would be longer than the 60 KiB that common clients take goes out as
// audit_batch with the record's run_id.
//
// With a chain attached only [TypeApprovals] may be published: append events to
// the chain, which announces them once they are durable.
//
// [ErrInvalid]: e breaks one of these rules. [ErrClosed]: the bus is closed.
func (b *EventBus) Publish(e Event) error {
	switch e.Type {
	case TypeApprovals:
		return b.bus.Publish(bus.KindApprovals, "", "", nil)
	case TypeAudit:
		return b.bus.Publish(bus.KindAudit, e.ID, "", e.Record)
	case TypeAuditBatch:
		return b.bus.Publish(bus.KindBatch, e.ID, e.RunID, nil)
	}
	return fmt.Errorf("%w: publish: messages of type %q cannot be published", ErrInvalid, e.Type)
}

// Subscribe yields stored, then live messages: audit, audit_batch and
// approvals, each once, in log order. after is a position: "" begins with what
// comes after the iteration has started, "0" with the log's first event, and an
// [Event].ID right after that event. Nothing happens before the iteration starts.
//
// A slow consumer slows nobody and loses nothing: when it falls behind what
// memory holds, it is fed from the log until it has caught up. The log gives
// every event as an audit message of its own, those of bulk resolutions too, and
// then one approvals message in place of all that were passed over. An event too
// long for a stream's message is an audit_batch with its run id here as well. The
// consumer may keep the records.
//
// The error comes last and once:
//
//   - [ErrInvalid]: the position is malformed.
//   - [ErrNotFound]: the log does not hold the position, or no longer holds what
//     was seen there.
//   - [ErrLimit]: there are too many subscribers.
//   - [ErrLagged]: the consumer fell behind memory, if there is no chain, or
//     behind what [AuditChain.Prune] left.
//   - [ErrClosed]: the bus is closed, and what memory held was given out.
//   - ctx's error, once ctx is done.
func (b *EventBus) Subscribe(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		more := true
		err := b.follow(ctx, after, func(e Event) bool {
			more = yield(e, nil)
			return more
		})
		if more && err != nil {
			yield(Event{}, public(err))
		}
	}
}

// follow calls fn for each message until fn returns false.
func (b *EventBus) follow(ctx context.Context, after string, fn func(Event) bool) error {
	s, resume, err := b.bus.Subscribe(ctx, after)
	if err != nil {
		return err
	}
	defer s.Leave()
	switch resume {
	case bus.Malformed:
		return fmt.Errorf("%w: subscribe: %q is no position: give \"\", \"0\" or the ID of an event", ErrInvalid, after)
	case bus.Unknown:
		return fmt.Errorf("%w: subscribe: the log does not hold position %q", ErrNotFound, after)
	case bus.Mismatch:
		return fmt.Errorf("%w: subscribe: the log no longer holds what was seen at position %q: it was rewritten or cut", ErrNotFound, after)
	}
	for {
		run, wait, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if wait != nil {
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
		for rest := run.Bytes; len(rest) > 0; {
			if ctx.Err() != nil {
				break
			}
			var frame []byte
			frame, rest, _ = sse.Cut(rest)
			f, _ := sse.Parse(frame)
			e := Event{Type: EventType(f.Type), ID: string(f.ID), RunID: record.Text(f.RunID), Record: bytes.Clone(f.Event)}
			if !fn(e) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Stats returns the bus's figures. It looks at every subscriber.
func (b *EventBus) Stats() BusStats { return BusStats(b.bus.Stats()) }

// Close ends all subscriptions and every [Stream] on this bus. It does not wait
// for them. It may be called twice.
func (b *EventBus) Close() error { return b.bus.Close() }
