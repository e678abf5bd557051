package rampart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"unicode/utf8"

	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// EventType is the type of a message.
type EventType string

const (
	TypeConnected  EventType = "connected"   // a stream stands
	TypeApprovals  EventType = "approvals"   // the approvals queue changed
	TypeAudit      EventType = "audit"       // an event was appended
	TypeAuditBatch EventType = "audit_batch" // several were, in one bulk operation
)

// Kinds of frames in the bus's memory.
const (
	kindApprovals framelog.Kind = iota
	kindAudit
	kindBatch
	kindLarge // one event that is too long for a frame, sent as audit_batch
)

var approvalsFrame = []byte(sse.Approvals)

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
	// MaxSubscribers is how many Subscribe and Stream may have together; those
	// beyond it get ErrLimit. 16384 when zero.
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
type EventBus struct {
	log     *framelog.Log
	limit   int
	closing context.Context // done once Close was called
	close   context.CancelFunc

	mu          sync.Mutex
	chain       *AuditChain // nil without one
	position    []byte      // of the newest event in log, as subscribers get it
	frame       []byte      // the frame being rendered
	subscribers map[*subscriber]struct{}
	published   uint64
}

// NewEventBus returns an empty bus. It holds 64 KiB until something is published.
func NewEventBus(opts *BusOptions) *EventBus {
	var o BusOptions
	if opts != nil {
		o = *opts
	}
	if o.Window <= 0 {
		o.Window = 16 << 20
	}
	if o.MaxSubscribers <= 0 {
		o.MaxSubscribers = 16384
	}
	b := &EventBus{
		log:         framelog.New(max(o.Window, 1<<20)),
		limit:       o.MaxSubscribers,
		position:    []byte(sse.Start),
		subscribers: make(map[*subscriber]struct{}),
	}
	b.closing, b.close = context.WithCancel(context.Background())
	return b
}

// Publish tells all subscribers. It is for hosts with a log of their own and
// returns once the message is in memory; it never waits for a subscriber.
// Messages of concurrent calls go out one after the other, in the same order
// for everybody.
//
// An audit or audit_batch message needs an ID: the host's own name for the
// place in its log, to resume after, up to 256 bytes of UTF-8 without control
// characters or spaces around it, and not "0", which means the start of the
// log. Record is a JSON object; insignificant space is taken out. When its
// message would be longer than the 60 KiB that common clients take, it goes out
// as audit_batch with the record's run_id.
//
// It fails with [ErrInvalid], and with [ErrClosed] after Close. With a chain
// attached only [TypeApprovals] may be published: append events to the chain,
// which announces them once they are durable.
func (b *EventBus) Publish(e Event) error {
	switch e.Type {
	case TypeApprovals:
	case TypeAudit, TypeAuditBatch:
		if !sse.ValidID(e.ID) || e.ID == sse.Start {
			return fmt.Errorf("%w: publish: the ID must be 1 to %d bytes of text other than %q, without control characters or spaces around it", ErrInvalid, sse.MaxID, sse.Start)
		}
	default:
		return fmt.Errorf("%w: publish: messages of type %q cannot be published", ErrInvalid, e.Type)
	}
	var line bytes.Buffer
	if e.Type == TypeAudit {
		if err := json.Compact(&line, e.Record); err != nil {
			return fmt.Errorf("%w: publish: the record is not JSON: %w", ErrInvalid, err)
		}
		if !utf8.Valid(line.Bytes()) || line.Bytes()[0] != '{' {
			return fmt.Errorf("%w: publish: the record must be a JSON object in UTF-8", ErrInvalid)
		}
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: publish", ErrClosed)
	}
	if e.Type != TypeApprovals {
		if b.chain != nil {
			return fmt.Errorf("%w: publish: this bus announces an audit chain: append the event to that", ErrInvalid)
		}
		b.position = append(b.position[:0], e.ID...)
	}
	b.announce(e.Type, b.log.Seq()+1, e.RunID, line.Bytes())
	b.log.Wake()
	return nil
}

// announcement is what the chain hands to the bus for one message.
type announcement struct {
	typ   string // TypeAudit, TypeAuditBatch or TypeApprovals
	seq   uint64 // number of the last record it covers; for approvals, of the newest record
	id    string // that record's id and hash; unused for approvals
	hash  string
	runID string // audit_batch
	line  []byte // audit: the stored line; valid only during the call
}

// attach makes c the bus's history. It fails if the bus has a history
// already, be it a chain or messages of a host's own log.
func (b *EventBus) attach(c *AuditChain) error {
	seq, head := c.ledger.Head()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: the event bus", ErrClosed)
	}
	if b.chain != nil || !b.log.Start(seq) {
		return fmt.Errorf("%w: the event bus announces another log already: give each log a bus of its own", ErrInvalid)
	}
	b.chain = c
	b.position = sse.AppendPosition(b.position[:0], head.ID, head.Hash)
	b.log.Wake() // subscribers that came earlier are at the log's head, wherever that is
	return nil
}

// announceAll announces durable records, in order. Called only by the holder of
// the log's tail. A no-op once the bus is closed.
func (b *EventBus) announceAll(batch []ledger.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return
	}
	for i := range batch {
		a := &batch[i]
		typ := TypeApprovals
		if a.Kind != ledger.NoticeApprovals {
			b.position = sse.AppendPosition(b.position[:0], a.ID, a.Hash)
			if typ = TypeAudit; a.Kind == ledger.NoticeBatch {
				typ = TypeAuditBatch
			}
		}
		b.announce(typ, a.Seq, a.RunID, a.Line)
	}
	b.log.Wake()
}

// announce puts one message into memory; b.position is that of its event. The
// caller holds b.mu, so that the position and the end of the memory agree for
// whoever subscribes.
func (b *EventBus) announce(typ EventType, seq uint64, runID string, line []byte) {
	b.published++
	switch typ {
	case TypeApprovals:
		b.log.Append(approvalsFrame, kindApprovals, 0)
	case TypeAuditBatch:
		b.frame = sse.AppendBatch(b.frame[:0], runID, b.position)
		b.log.Append(b.frame, kindBatch, seq)
	default:
		var kind framelog.Kind
		b.frame, kind = appendEvent(b.frame[:0], line, b.position)
		b.log.Append(b.frame, kind, seq)
	}
}

// appendEvent appends the frame of one stored line: audit, or, where that
// cannot be, audit_batch.
func appendEvent(dst, line, position []byte) ([]byte, framelog.Kind) {
	if out, err := sse.AppendAudit(dst, line, position); err == nil {
		return out, kindAudit
	}
	return sse.AppendBatch(dst, record.Text(fieldsOf(line).RunID), position), kindLarge
}

// Subscribe yields stored, then live messages: audit, audit_batch and
// approvals, each once, in log order. after is a position: "" begins with what
// comes after the iteration has started, "0" with the log's first event, an
// [Event].ID behind that event. Nothing happens before the iteration starts.
//
// A consumer that is slow slows nobody and loses nothing: when it falls behind
// what memory holds, it is fed from the log until it has caught up. What comes
// from the log comes as single audit messages, bulk resolutions too, followed
// by one approvals message for those passed over. An event too long for a
// stream's message is an audit_batch with its run id here as well. Records are
// the consumer's to keep.
//
// The error comes last and once: [ErrInvalid] for a malformed position,
// [ErrNotFound] for one that the log does not hold, or holds otherwise than it
// was seen, [ErrLimit] for one subscriber too many, [ErrLagged] for one that
// memory, without a chain, or [AuditChain.Prune] has passed by, [ErrClosed] once
// the bus is closed and what memory held was given out, ctx's error once that is
// done.
func (b *EventBus) Subscribe(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		more := true
		err := b.follow(ctx, after, func(e Event) bool {
			more = yield(e, nil)
			return more
		})
		if more && err != nil {
			yield(Event{}, err)
		}
	}
}

func (b *EventBus) follow(ctx context.Context, after string, fn func(Event) bool) error {
	s, how, err := b.subscribe(ctx, after)
	if err != nil {
		return err
	}
	defer s.leave()
	switch how {
	case ResumeMalformed:
		return fmt.Errorf("%w: subscribe: %q is no position: give \"\", \"0\" or the ID of an event", ErrInvalid, after)
	case ResumeUnknown:
		return fmt.Errorf("%w: subscribe: the log does not hold position %q", ErrNotFound, after)
	case ResumeMismatch:
		return fmt.Errorf("%w: subscribe: the log no longer holds what was seen at position %q: it was rewritten or cut", ErrNotFound, after)
	}
	for {
		run, wait, err := s.next(ctx)
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
func (b *EventBus) Stats() BusStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := BusStats{Subscribers: len(b.subscribers), Published: b.published}
	newest := b.log.Seq()
	for s := range b.subscribers {
		given := s.given.Load()
		if given >= newest {
			continue
		}
		lag := newest - given
		st.SlowestLag = max(st.SlowestLag, lag)
		if s.fed.Load() {
			st.CatchUp += lag
		}
	}
	return st
}

// Close ends all subscriptions and every [Stream] on this bus. It does not wait
// for them. It may be called twice.
func (b *EventBus) Close() error {
	b.mu.Lock()
	b.close()
	b.mu.Unlock()
	b.log.Close()
	return nil
}
