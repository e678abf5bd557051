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

	// holds reports whether event i is still right where it would be appended:
	// after all that is folded, and after the changes in in, which precede it in the
	// same write. note adds event i to in. Both are called with a.mu held.
	holds func(i int, in *linked) bool
	note  func(i int, in *linked)

	// partial leaves out the events that no longer hold. Without it, one of them
	// keeps the whole change out.
	partial bool
}

// linked sums up the changes that were linked into one write. The fold learns of
// them once that write is durable.
type linked struct {
	write       uint64
	now         time.Time
	opened      int
	openedBytes int
	calls       map[call]bool   // of the approvals that are opened
	ended       map[string]bool // ids
}

// errMoved: other changes came first, nothing was appended, and the caller has to
// decide anew. By then the fold knows of them, unless they could not be made durable.
var errMoved = errors.New("other changes of the approvals came first")

// commit appends c as far as it holds where it would be appended. It returns the
// id of each event, empty for one that was left out. When commit returns, the
// fold has them.
func (a *Approvals) commit(ctx context.Context, c change) (ids []string, err error) {
	b, err := newBatch(c.events)
	if err != nil {
		return nil, err
	}
	b.Bulk, b.RunID = c.bulk, c.runID
	places := make([]int, len(c.events)) // of the batch's records among the events
	for i := range places {
		places[i] = i
	}
	b.Check = func(write uint64) error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		if a.broken != nil {
			return a.broken
		}
		if a.linked.write != write {
			a.linked = linked{write: write, calls: map[call]bool{}, ended: map[string]bool{}}
		}
		in := &a.linked
		in.now = wallClock()
		n := 0
		for j, i := range places {
			if c.holds(i, in) {
				places[n], b.Records[n] = i, b.Records[j]
				n++
			} else if !c.partial {
				return errMoved
			}
		}
		if n == 0 {
			return errMoved
		}
		places, b.Records = places[:n], b.Records[:n]
		for _, i := range places {
			c.note(i, in)
		}
		return nil
	}
	if err := a.chain.ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	ids = make([]string, len(c.events))
	for j, i := range places {
		ids[i] = b.Records[j].ID
	}
	return ids, nil
}

// open appends the event that opens an approval, and returns the approval as it
// was opened: it may have ended since.
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
	e, same := newEntry(&event, q), call{r.Agent, r.ToolCallID}
	ids, err := a.commit(ctx, change{
		events: []AuditEvent{event},
		holds: func(_ int, in *linked) bool {
			n, size := len(a.fold.pending)+in.opened, a.fold.pendingBytes+in.openedBytes
			return n < a.opts.MaxPending && size < maxPendingBytes &&
				(same.toolCallID == "" || a.fold.calls[same] == nil && !in.calls[same])
		},
		note: func(_ int, in *linked) {
			in.opened++
			in.openedBytes += e.size()
			in.calls[same] = true
		},
	})
	if err != nil {
		return Approval{}, err
	}
	e.ID = ids[0]
	return e.Approval, nil
}

// end appends the events that end the entries with r, in one write. It returns
// the entries that this ended: all of them, unless c is partial.
func (a *Approvals) end(ctx context.Context, c change, entries []*entry, r Resolution, at time.Time) ([]*entry, error) {
	c.events = make([]AuditEvent, len(entries))
	for i, e := range entries {
		var err error
		if c.events[i], err = ending(e, r, at); err != nil {
			return nil, err
		}
	}
	c.holds = func(i int, in *linked) bool {
		e := entries[i]
		late := r.Status != Expired && !in.now.Before(e.ExpiresAt)
		return a.fold.pending[e.ID] == e && !in.ended[e.ID] && !late
	}
	c.note = func(i int, in *linked) { in.ended[entries[i].ID] = true }
	ids, err := a.commit(ctx, c)
	if err != nil {
		return nil, err
	}
	var ended []*entry
	for i, id := range ids {
		if id != "" {
			ended = append(ended, entries[i])
		}
	}
	return ended, nil
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
