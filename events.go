package rampart

import (
	"context"
	"iter"
)

// Message types of the stream (events-stream.txt, "Event Types").
const (
	TypeConnected  = "connected"
	TypeApprovals  = "approvals"
	TypeAudit      = "audit"
	TypeAuditBatch = "audit_batch"
)

// Event is one message of the bus.
type Event struct {
	Type   string
	ID     string // position in the log, to resume after; empty for approvals
	RunID  string // audit_batch only
	Record Record // audit only: the line as stored
}

// BusOptions configures [NewEventBus].
type BusOptions struct {
	Window         int // bytes of recent messages kept in memory; 16 MiB when zero, 1 MiB at least
	MaxSubscribers int // Subscribe and Stream beyond it get ErrLimit; 16384 when zero
}

// BusStats are figures of an [EventBus] at one moment.
type BusStats struct {
	Subscribers int
	Published   uint64 // messages since the bus was made
	SlowestLag  uint64 // events that the slowest subscriber has yet to be given
	CatchUp     uint64 // events yet to be given to all subscribers now fed from the log, summed
}

// EventBus tells every watcher at once, and never lets a slow one hurt anybody.
type EventBus struct{}

func NewEventBus(opts *BusOptions) *EventBus { return &EventBus{} }

func (b *EventBus) Publish(e Event) error { panic("not written yet") }

// Subscribe yields stored, then live messages; each once, in log order.
// after "" begins with what comes next, "0" with the log's first event.
func (b *EventBus) Subscribe(ctx context.Context, after string) iter.Seq2[Event, error] {
	panic("not written yet")
}

func (b *EventBus) Stats() BusStats { panic("not written yet") }

func (b *EventBus) Close() error { return nil }

// announcement is what the committer hands to the bus for one message.
type announcement struct {
	typ   string // TypeAudit, TypeAuditBatch or TypeApprovals
	seq   uint64 // number of the last record it covers; for approvals, of the newest record
	id    string // that record's id and hash; unused for approvals
	hash  string
	runID string // audit_batch
	line  []byte // audit: the stored line; valid only during the call
}

// attach makes c the bus's history. seq, id and hash are those of c's newest
// record (0, "", "" while it is empty). It fails if the bus has a history already.
func (b *EventBus) attach(c *AuditChain, seq uint64, id, hash string) error { return nil }

// publish announces durable records, in order. Only the committer calls it.
func (b *EventBus) publish(batch []announcement) {}
