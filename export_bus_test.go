package rampart

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/rampartlog/rampart/internal/ledger"
)

// AppendBatch appends events as a bulk resolution does: announced as one
// audit_batch and, since they have an approval member, one approvals.
func (c *AuditChain) AppendBatch(ctx context.Context, runID string, events ...AuditEvent) ([]AuditEvent, error) {
	saved := slices.Clone(events)
	for i := range saved {
		saved[i].Approval = json.RawMessage(`{}`)
	}
	b, err := newBatch(saved)
	if err != nil {
		return nil, err
	}
	b.Bulk, b.RunID = true, runID
	if err := c.ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	for i := range saved {
		saved[i].place(&b.Records[i])
	}
	return saved, nil
}

// AppendAsQueue appends an event that may have an approval member.
func (c *AuditChain) AppendAsQueue(ctx context.Context, e AuditEvent) error {
	b, err := newBatch([]AuditEvent{e})
	if err != nil {
		return err
	}
	return c.ledger.Append(ctx, b)
}

// Announcer returns the committer's call of the bus for n audit messages with
// that line.
func (b *EventBus) Announcer(n int, line []byte) func() {
	notices := make([]ledger.Notice, n)
	var seq uint64
	return func() {
		for i := range notices {
			seq++
			notices[i] = ledger.Notice{Kind: ledger.NoticeEvent, Seq: seq, ID: "01KD3V5F2R7WQX9Z4M8N6B1C0A", Hash: "0b77c2e91d3fa604", Line: line}
		}
		b.bus.Announce(notices)
	}
}
