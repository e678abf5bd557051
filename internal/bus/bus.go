// Package bus keeps the newest frames of one log in memory for many readers. Each
// reads at its own pace, and from the log when memory has passed it by.
//
// Publishing renders a frame once for all readers. A reader is a cursor, so that
// publishing costs the same for one reader and for ten thousand, and waits for
// none of them.
package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// Kinds of frames.
const (
	KindApprovals framelog.Kind = iota
	KindAudit
	KindBatch
	KindLarge // one event that is too long for a frame, sent as audit_batch
)

// ApprovalsFrame is the frame of KindApprovals.
var ApprovalsFrame = []byte(sse.Approvals)

// Options has the fields of rampart.BusOptions, which documents them.
type Options struct {
	Window         int
	MaxSubscribers int
}

// Stats has the fields of rampart.BusStats, which documents them.
type Stats struct {
	Subscribers int
	Published   uint64
	SlowestLag  uint64
	CatchUp     uint64
}

// Bus is the memory and its readers. Its methods may be called concurrently, and
// it must be closed.
type Bus struct {
	log     *framelog.Log
	limit   int
	closing context.Context // done once Close was called
	close   context.CancelFunc

	mu          sync.Mutex
	ledger      *ledger.Ledger // nil without one
	position    []byte         // of the newest event in log, as subscribers get it
	frame       []byte         // the frame being rendered
	subscribers map[*Subscriber]struct{}
	published   uint64
}

// New returns an empty bus. It holds 64 KiB until something is published.
func New(o Options) *Bus {
	if o.Window <= 0 {
		o.Window = 16 << 20
	}
	if o.MaxSubscribers <= 0 {
		o.MaxSubscribers = 16384
	}
	b := &Bus{
		log:         framelog.New(max(o.Window, 1<<20)),
		limit:       o.MaxSubscribers,
		position:    []byte(sse.Start),
		subscribers: make(map[*Subscriber]struct{}),
	}
	b.closing, b.close = context.WithCancel(context.Background())
	return b
}

// Attach makes l the bus's history. It is called before anything is appended to
// l through Announce. ErrInvalid: the bus has a history already, be it a ledger
// or messages of a host's own log. ErrClosed.
func (b *Bus) Attach(l *ledger.Ledger) error {
	seq, head := l.Head()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return errClosed()
	}
	if b.ledger != nil || !b.log.Start(seq) {
		return fmt.Errorf("%w: the event bus announces another log already: give each log a bus of its own", failure.ErrInvalid)
	}
	b.ledger = l
	b.position = sse.AppendPosition(b.position[:0], head.ID, head.Hash)
	b.log.Wake() // subscribers that came earlier are at the log's head, wherever that is
	return nil
}

// Announce puts durable records into memory, in order. Called only by the holder
// of the log's tail. A no-op once the bus is closed.
func (b *Bus) Announce(notices []ledger.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return
	}
	for i := range notices {
		n := &notices[i]
		switch n.Kind {
		case ledger.NoticeApprovals:
			b.add(KindApprovals, n.Seq, "", nil)
			continue
		case ledger.NoticeBatch:
			b.position = sse.AppendPosition(b.position[:0], n.ID, n.Hash)
			b.add(KindBatch, n.Seq, n.RunID, nil)
		case ledger.NoticeEvent:
			b.position = sse.AppendPosition(b.position[:0], n.ID, n.Hash)
			b.add(KindAudit, n.Seq, "", n.Line)
		}
	}
	b.log.Wake()
}

// Publish puts one message of a host's own log into memory, as
// rampart.EventBus.Publish says. kind is KindApprovals, KindAudit or KindBatch.
func (b *Bus) Publish(kind framelog.Kind, id, runID string, line []byte) error {
	if kind != KindApprovals && (!sse.ValidID(id) || id == sse.Start) {
		return fmt.Errorf("%w: publish: the ID must be 1 to %d bytes of text other than %q, without control characters or spaces around it", failure.ErrInvalid, sse.MaxID, sse.Start)
	}
	var compact bytes.Buffer
	if kind == KindAudit {
		if err := json.Compact(&compact, line); err != nil {
			return fmt.Errorf("%w: publish: the record is not JSON: %w", failure.ErrInvalid, err)
		}
		if !utf8.Valid(compact.Bytes()) || compact.Bytes()[0] != '{' {
			return fmt.Errorf("%w: publish: the record must be a JSON object in UTF-8", failure.ErrInvalid)
		}
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: publish", failure.ErrClosed)
	}
	if kind != KindApprovals {
		if b.ledger != nil {
			return fmt.Errorf("%w: publish: this bus announces an audit chain: append the event to that", failure.ErrInvalid)
		}
		b.position = append(b.position[:0], id...)
	}
	b.add(kind, b.log.Seq()+1, runID, compact.Bytes())
	b.log.Wake()
	return nil
}

// add puts one message into memory; b.position is that of its event. The caller
// holds b.mu, so that the position and the end of the memory agree for every
// reader that subscribes.
func (b *Bus) add(kind framelog.Kind, seq uint64, runID string, line []byte) {
	b.published++
	switch kind {
	case KindApprovals:
		b.log.Append(ApprovalsFrame, KindApprovals, 0)
		return
	case KindBatch:
		b.frame = sse.AppendBatch(b.frame[:0], runID, b.position)
	default:
		b.frame, kind = appendEvent(b.frame[:0], line, b.position)
	}
	b.log.Append(b.frame, kind, seq)
}

// appendEvent appends the frame of one stored line: audit, or audit_batch if the
// line does not fit into an audit frame.
func appendEvent(dst, line, position []byte) ([]byte, framelog.Kind) {
	if out, err := sse.AppendAudit(dst, line, position); err == nil {
		return out, KindAudit
	}
	return sse.AppendBatch(dst, record.Text(FieldsOf(line).RunID), position), KindLarge
}

// Ledger returns the bus's history, nil without one.
func (b *Bus) Ledger() *ledger.Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger
}

// Context is done once the bus is closed.
func (b *Bus) Context() context.Context { return b.closing }

// Full says why there can be no further subscriber, or returns nil.
func (b *Bus) Full() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admits()
}

// admits is Full for a caller that holds b.mu.
func (b *Bus) admits() error {
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: subscribe", failure.ErrClosed)
	}
	if len(b.subscribers) >= b.limit {
		return fmt.Errorf("%w: %d subscribers: raise BusOptions.MaxSubscribers", failure.ErrLimit, b.limit)
	}
	return nil
}

// Stats returns the bus's figures. It looks at every subscriber.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := Stats{Subscribers: len(b.subscribers), Published: b.published}
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

// Close ends all subscriptions. It does not wait for them. It may be called twice.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.close()
	b.mu.Unlock()
	b.log.Close()
	return nil
}

func errClosed() error { return fmt.Errorf("%w: the event bus", failure.ErrClosed) }
