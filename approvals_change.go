package rampart

import (
	"context"
	"errors"
)

// change is an append that was decided on the state of the fold.
type change struct {
	events []AuditEvent
	bulk   bool // announced as one audit_batch
	runID  string

	// holds reports whether the change is still right at the head that it would
	// be appended to: behind all that is folded, and behind in. note adds to in
	// what the change does. Both are called with a.mu held.
	holds func(in *linked) bool
	note  func(in *linked)
}

// linked is what the changes of one write do, which the fold learns of once that
// write is durable.
type linked struct {
	write       uint64
	opened      int
	openedBytes int
	calls       map[call]bool   // of those that are opened
	ended       map[string]bool // ids
}

// errMoved: another change came first, and the caller has to decide anew. By
// then the fold knows of the other one, unless that could not be made durable.
var errMoved = errors.New("another change of the approvals came first")

// commit appends c if it still holds where it will stand, and returns the ids of
// its events. When it returns the fold has them.
func (a *Approvals) commit(ctx context.Context, c change) (ids []string, err error) {
	b, err := newBatch(c.events)
	if err != nil {
		return nil, err
	}
	b.Bulk, b.RunID = c.bulk, c.runID
	b.Check = func(write uint64) error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		if a.broken != nil {
			return a.broken
		}
		if a.linked.write != write {
			a.linked = linked{write: write, calls: map[call]bool{}, ended: map[string]bool{}}
		}
		if !c.holds(&a.linked) {
			return errMoved
		}
		c.note(&a.linked)
		return nil
	}
	if err := a.chain.ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	ids = make([]string, len(b.Places))
	for i := range b.Places {
		ids[i] = b.Places[i].ID
	}
	return ids, nil
}
