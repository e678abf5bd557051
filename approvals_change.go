package rampart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// change is an append that was decided on the state of the fold.
type change struct {
	events []AuditEvent
	bulk   bool // announced as one audit_batch
	runID  string

	// holds reports whether the change is still right where it would be appended:
	// after all that is folded, and after the changes in in. note adds this change
	// to in. Both are called with a.mu held.
	holds func(in *linked) bool
	note  func(in *linked)
}

// linked sums up the changes that were linked into one write. The fold learns of
// them once that write is durable.
type linked struct {
	write       uint64
	opened      int
	openedBytes int
	calls       map[call]bool   // of the approvals that are opened
	ended       map[string]bool // ids
}

// errMoved: another change came first, and the caller has to decide anew. By
// then the fold knows of the other one, unless that could not be made durable.
var errMoved = errors.New("another change of the approvals came first")

// commit appends c if c still holds where it would be appended, and returns the
// ids of its events. When commit returns, the fold has them.
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
	ids = make([]string, len(b.Records))
	for i := range b.Records {
		ids[i] = b.Records[i].ID
	}
	return ids, nil
}

// open appends the event that opens an approval.
func (a *Approvals) open(ctx context.Context, r *ApprovalRequest, digest string, now time.Time) (Approval, error) {
	q := question{expiresAt: now.Add(cmp.Or(r.TTL, a.opts.TTL)), credential: r.Credential, requestSHA256: digest}
	event := AuditEvent{
		Timestamp: now, Agent: r.Agent, Session: r.Session, RunID: r.RunID, ToolCallID: r.ToolCallID,
		Tool: r.Tool, Request: r.Request,
		Decision: Decision{Action: ActionAsk, MatchedPolicies: r.MatchedPolicies, Message: r.Message},
	}
	var err error
	if event.Approval, err = q.encode(); err != nil {
		return Approval{}, err
	}
	same, size := call{r.Agent, r.ToolCallID}, newEntry(&event, q).size()
	ids, err := a.commit(ctx, change{
		events: []AuditEvent{event},
		holds: func(in *linked) bool {
			n, waiting := len(a.fold.pending)+in.opened, a.fold.pendingBytes+in.openedBytes
			return n < a.opts.MaxPending && waiting < maxPendingBytes &&
				(same.toolCallID == "" || a.fold.calls[same] == nil && !in.calls[same])
		},
		note: func(in *linked) {
			in.opened++
			in.openedBytes += size
			in.calls[same] = true
		},
	})
	if err != nil {
		return Approval{}, err
	}
	// The fold has it in memory, unless many approvals were opened and ended since.
	e, err := a.lookup(context.WithoutCancel(ctx), ids[0])
	if err != nil {
		return Approval{}, err
	}
	return a.snapshot(e), nil
}

// end appends the events that end the entries with r, in one write.
func (a *Approvals) end(ctx context.Context, c change, entries []*entry, r Resolution, at time.Time) error {
	c.events = make([]AuditEvent, len(entries))
	for i, e := range entries {
		var err error
		if c.events[i], err = ending(e, r, at); err != nil {
			return err
		}
	}
	c.holds = func(in *linked) bool {
		now := wallClock()
		return !slices.ContainsFunc(entries, func(e *entry) bool {
			late := r.Status != Expired && !now.Before(e.ExpiresAt)
			return a.fold.pending[e.ID] != e || in.ended[e.ID] || late
		})
	}
	c.note = func(in *linked) {
		for _, e := range entries {
			in.ended[e.ID] = true
		}
	}
	_, err := a.commit(ctx, c)
	return err
}

// choose finds the entries that r answers.
func (a *Approvals) choose(r *BulkResolution, now time.Time) ([]*entry, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	matches := func(e *entry) bool {
		return (r.Agent == "" || e.Agent == r.Agent) && (r.Session == "" || e.Session == r.Session)
	}
	var out []*entry
	if r.IDs == nil {
		for _, e := range a.fold.pending {
			if e.RunID == r.RunID && now.Before(e.ExpiresAt) && matches(e) {
				out = append(out, e)
			}
		}
		slices.SortFunc(out, byID)
		return out, nil
	}
	all := true
	for _, id := range r.IDs {
		switch e := a.fold.pending[id]; {
		case e == nil:
			return nil, fmt.Errorf("%w: %.40q; nothing was resolved", ErrNotPending, id)
		case e.RunID != r.RunID:
			return nil, fmt.Errorf("%w in run %.70q: %s is of another run; nothing was resolved", ErrNotPending, r.RunID, id)
		case !now.Before(e.ExpiresAt):
			return nil, fmt.Errorf("%w: %s has passed its deadline; nothing was resolved", ErrNotPending, id)
		default:
			all = all && matches(e)
			out = append(out, e)
		}
	}
	if !all {
		return nil, nil
	}
	return out, nil
}
