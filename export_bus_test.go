package rampart

import (
	"context"
	"testing"
)

// AppendBatch appends events as a bulk resolution does: announced as one
// audit_batch and one approvals.
func (c *AuditChain) AppendBatch(ctx context.Context, runID string, events ...AuditEvent) ([]AuditEvent, error) {
	return c.commit(ctx, op{events: events, batch: true, runID: runID, approvals: true})
}

// AppendHooked appends events and calls durable between their being durable
// and their being announced.
func (c *AuditChain) AppendHooked(ctx context.Context, durable func([]AuditEvent), events ...AuditEvent) ([]AuditEvent, error) {
	return c.commit(ctx, op{events: events, apply: durable})
}

// AllocsPerPublish is what the committer's call of publish allocates for n
// audit messages with that line.
func (b *EventBus) AllocsPerPublish(n int, line []byte) float64 {
	batch := make([]announcement, n)
	var seq uint64
	return testing.AllocsPerRun(20, func() {
		for i := range batch {
			seq++
			batch[i] = announcement{typ: TypeAudit, seq: seq, id: "01KD3V5F2R7WQX9Z4M8N6B1C0A", hash: "0b77c2e91d3fa604", line: line}
		}
		b.publish(batch)
	})
}
