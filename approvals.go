package rampart

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// ApprovalStatus is where an approval stands. The zero value is none of them.
type ApprovalStatus string

const (
	Pending  ApprovalStatus = "pending"
	Approved ApprovalStatus = "approved"
	Denied   ApprovalStatus = "denied"
	Expired  ApprovalStatus = "expired" // nobody answered in time; not a denial
)

// ApprovalOptions configures [NewApprovals]. Nil, and each zero value, is the
// documented default.
type ApprovalOptions struct {
	TTL        time.Duration // of a request that names none; 5 minutes when zero, 30 days at most
	MaxPending int           // Request beyond it gets ErrLimit; 10000 when zero
	KeepEnded  int           // ended approvals kept in memory, at most 64 MiB of them; 10000 when zero
	Logger     *slog.Logger  // nil discards
}

const (
	maxTTL          = 30 * 24 * time.Hour
	maxPendingBytes = 64 << 20
	maxEndedBytes   = 64 << 20
	// maxName bounds what an ending repeats of the request it ends, so that the
	// ending of every approval fits into an event.
	maxName = 4 << 10
)

// ApprovalRequest asks a person for a yes or no. Agent and Tool are required.
// Agent, Session, RunID, ToolCallID, Tool and Credential are at most 4 KiB each.
type ApprovalRequest struct {
	Agent           string
	Session         string
	RunID           string
	ToolCallID      string // the same from the same agent while pending: the same approval
	Tool            string
	Request         json.RawMessage // an object: exactly what would run; {} when nil
	Message         string
	MatchedPolicies []string
	TTL             time.Duration // [ApprovalOptions.TTL] when zero, 30 days at most
	Credential      string        // name of the token, or whatever the host knows its callers by
}

// Approval is one entry of the queue, in the form of GET /v1/approvals.
type Approval struct {
	ID            string          `json:"id"` // of the event that opened it
	Tool          string          `json:"tool"`
	Command       string          `json:"command"` // of Request, for a person to read: its command, else its path
	Request       json.RawMessage `json:"request"` // as stored; shared, for reading
	Agent         string          `json:"agent"`
	Session       string          `json:"session"`
	RunID         string          `json:"run_id,omitempty"`
	Message       string          `json:"message"`
	Status        ApprovalStatus  `json:"status"`
	CreatedAt     time.Time       `json:"created_at"`
	ExpiresAt     time.Time       `json:"expires_at"`
	ResolvedAt    time.Time       `json:"resolved_at,omitzero"` // or expired
	ResolvedBy    string          `json:"resolved_by,omitempty"`
	RequestSHA256 string          `json:"request_sha256"`   // hold what runs against it
	Reason        string          `json:"reason,omitempty"` // of the answer, for who asked

	ToolCallID string `json:"-"`
	Credential string `json:"-"` // that asked
}

// Resolution is a person's answer.
type Resolution struct {
	Status     ApprovalStatus // Approved or Denied; anything else is ErrInvalid
	ResolvedBy string         // what the caller says; Credential when empty
	Credential string         // the name of the token that was used
	Reason     string
}

// BulkResolution answers several approvals of one run at once.
type BulkResolution struct {
	Resolution
	RunID   string   // required
	Agent   string   // when set, only this agent's
	Session string   // when set, only this session's
	IDs     []string // exactly these; nil means all pending of the run
}

// ApprovalStats are figures of an [Approvals] queue at one moment.
type ApprovalStats struct {
	Pending  int
	Created  uint64                    // since the queue was opened
	Resolved map[ApprovalStatus]uint64 // since the queue was opened
	Wait     Histogram                 // seconds from the request to its end
}

// Approvals is the queue of things that wait for a person's yes or no.
//
// It is a fold over the log: an approval is its ask event and, once there is
// one, the event that ended it. A change is durable before anybody sees it, and
// visible here before the bus announces it; when it can't be made durable,
// nothing changes and nobody is woken. Of the log only the approval member
// counts, which no host can append, and of several endings the first.
//
// All methods may be called concurrently. One queue serves one chain.
type Approvals struct {
	chain *AuditChain
	opts  ApprovalOptions
	log   *slog.Logger

	turn    chan struct{} // holds one while a change is decided and made durable
	wake    chan struct{} // a deadline came up before the one slept for
	closing <-chan struct{}
	stop    context.CancelFunc
	stopped chan struct{}

	mu       sync.RWMutex
	fold     fold
	created  uint64
	resolved map[ApprovalStatus]uint64
	next     time.Time // deadline slept for; zero for none

	wait histogram
}

// NewApprovals rebuilds the queue from chain's log: what is pending, until
// when, and who asked. What has passed its deadline meanwhile is expired.
//
// ctx limits the rebuilding. ErrInvalid: opts is out of its limits. Other
// errors are of reading the log. The queue must be closed before the chain.
func NewApprovals(ctx context.Context, chain *AuditChain, opts *ApprovalOptions) (*Approvals, error) {
	var o ApprovalOptions
	if opts != nil {
		o = *opts
	}
	o.TTL = cmp.Or(o.TTL, 5*time.Minute)
	o.MaxPending = cmp.Or(o.MaxPending, 10_000)
	o.KeepEnded = cmp.Or(o.KeepEnded, 10_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkTTL(o.TTL); err != nil {
		return nil, err
	}
	if o.MaxPending < 0 || o.KeepEnded < 0 {
		return nil, fmt.Errorf("%w: MaxPending and KeepEnded must not be negative", ErrInvalid)
	}
	a := &Approvals{
		chain: chain, opts: o, log: o.Logger,
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		fold:     newFold(o.KeepEnded),
		resolved: map[ApprovalStatus]uint64{Approved: 0, Denied: 0, Expired: 0},
	}
	for r, err := range chain.Query(ctx, Query{Ascending: true, Approval: true}) {
		if err == nil {
			err = a.fold.add(r)
		}
		if err != nil {
			return nil, fmt.Errorf("rampart: rebuild the approvals: %w", err)
		}
	}
	running, stop := context.WithCancel(context.Background())
	a.stop, a.closing = stop, running.Done()
	sleep, err := a.expireDue(ctx)
	if err != nil {
		// They can't be approved any more; the record of it is tried again.
		a.log.Error("expired approvals not recorded", "error", err)
		sleep = minRetry
	}
	go a.run(running, sleep)
	return a, nil
}

func checkTTL(d time.Duration) error {
	if d < 0 || d > maxTTL {
		return fmt.Errorf("%w: a TTL of %v is out of range; it is positive and at most %v (30 days)", ErrInvalid, d, maxTTL)
	}
	return nil
}

// take waits for the right to change the queue.
func (a *Approvals) take(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.closing:
		return ErrClosed
	}
	select {
	case <-a.closing:
		a.release()
		return ErrClosed
	default:
		return nil
	}
}

func (a *Approvals) release() { <-a.turn }

// Request puts r into the queue and returns its approval once that is durable.
// When r's ToolCallID is already pending for the same agent, the answer is that
// approval and nothing is written, whatever else r says: hold what runs against
// [Approval.RequestSHA256].
//
// ctx limits the wait for a turn; the outcome of a write is always reported.
// ErrInvalid: r breaks a rule of its type, or of [AuditChain.Append]. ErrLimit:
// MaxPending, or 64 MiB, are waiting. Otherwise the errors of Append.
func (a *Approvals) Request(ctx context.Context, r ApprovalRequest) (Approval, error) {
	if err := checkTTL(r.TTL); err != nil {
		return Approval{}, err
	}
	for name, s := range map[string]string{
		"agent": r.Agent, "session": r.Session, "run_id": r.RunID, "tool_call_id": r.ToolCallID, "tool": r.Tool, "credential": r.Credential,
	} {
		if len(s) > maxName {
			return Approval{}, fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrInvalid, name, len(s), maxName)
		}
	}
	if r.Request == nil {
		r.Request = json.RawMessage("{}")
	}
	request, err := record.AppendObject(nil, r.Request)
	if err != nil {
		return Approval{}, fmt.Errorf("%w: request: %w", ErrInvalid, err)
	}
	sum := sha256.Sum256(request)

	if err := a.take(ctx); err != nil {
		return Approval{}, err
	}
	defer a.release()
	now := wallClock()
	if e := a.sameCall(r.Agent, r.ToolCallID); e != nil {
		if now.Before(e.ExpiresAt) {
			return a.snapshot(e), nil
		}
		if err := a.end(ctx, op{}, []*entry{e}, Resolution{Status: Expired}, now); err != nil {
			return Approval{}, err
		}
	}
	if n, size := a.waiting(); n >= a.opts.MaxPending || size >= maxPendingBytes {
		return Approval{}, fmt.Errorf("%w: %d approvals (%d bytes) wait for an answer; resolve some, or ask again later", ErrLimit, n, size)
	}
	q := question{
		expiresAt:  now.Add(cmp.Or(r.TTL, a.opts.TTL)),
		credential: r.Credential, requestSHA256: hex.EncodeToString(sum[:]),
	}
	event := AuditEvent{
		Timestamp: now, Agent: r.Agent, Session: r.Session, RunID: r.RunID, ToolCallID: r.ToolCallID,
		Tool: r.Tool, Request: request,
		Decision: Decision{Action: actionAsk, MatchedPolicies: r.MatchedPolicies, Message: r.Message},
	}
	if event.Approval, err = q.encode(); err != nil {
		return Approval{}, err
	}
	e := newEntry(&event, q)
	err = a.change(ctx, op{events: []AuditEvent{event}}, func(saved []AuditEvent) {
		e.ID = saved[0].ID
		a.fold.open(e)
		a.created++
		if a.next.IsZero() || e.ExpiresAt.Before(a.next) {
			select {
			case a.wake <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return Approval{}, err
	}
	return a.snapshot(e), nil
}

// change appends o and applies it to memory once it is durable. The caller has
// the turn.
func (a *Approvals) change(ctx context.Context, o op, apply func(saved []AuditEvent)) error {
	o.approvals = true
	o.apply = func(saved []AuditEvent) {
		a.mu.Lock()
		defer a.mu.Unlock()
		apply(saved)
	}
	_, err := a.chain.commit(ctx, o)
	return err
}

// end ends the entries with r, in one write. The caller has the turn.
func (a *Approvals) end(ctx context.Context, o op, entries []*entry, r Resolution, at time.Time) error {
	o.events = make([]AuditEvent, len(entries))
	for i, e := range entries {
		var err error
		if o.events[i], err = ending(e, r, at); err != nil {
			return err
		}
	}
	return a.change(ctx, o, func([]AuditEvent) {
		for _, e := range entries {
			a.fold.end(e, r, at)
			a.resolved[r.Status]++
			a.wait.Observe(at.Sub(e.CreatedAt).Seconds())
		}
	})
}

func (r *Resolution) check() error {
	if r.Status != Approved && r.Status != Denied {
		return fmt.Errorf("%w: a resolution's status is approved or denied, not %q", ErrInvalid, r.Status)
	}
	r.ResolvedBy = cmp.Or(r.ResolvedBy, r.Credential)
	return nil
}

// Resolve answers an approval and returns it once the answer is durable. Of
// several answers the first wins.
//
// ctx limits the wait for a turn; the outcome of a write is always reported.
// ErrInvalid: r has no verdict, or breaks a rule of [AuditChain.Append].
// ErrNotFound. ErrNotPending: it was answered, or its deadline has passed.
// Otherwise the errors of Append, and it is as pending as before.
func (a *Approvals) Resolve(ctx context.Context, id string, r Resolution) (Approval, error) {
	if err := r.check(); err != nil {
		return Approval{}, err
	}
	e, err := a.find(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	if err := a.take(ctx); err != nil {
		return Approval{}, err
	}
	defer a.release()
	now := wallClock()
	if e.Status == Pending && !now.Before(e.ExpiresAt) {
		if err := a.end(ctx, op{}, []*entry{e}, Resolution{Status: Expired}, now); err != nil {
			return Approval{}, err
		}
	}
	if e.Status != Pending {
		return Approval{}, notPending(e)
	}
	if err := a.end(ctx, op{}, []*entry{e}, r, now); err != nil {
		return Approval{}, err
	}
	return a.snapshot(e), nil
}

func notPending(e *entry) error {
	return fmt.Errorf("%w: approval %s: %s at %s", ErrNotPending, e.ID, e.Status, e.ResolvedAt.Format(time.RFC3339))
}

// ResolveAll answers approvals of one run in one durable write, which the bus
// announces as one audit_batch, and returns them.
//
// With IDs it answers exactly those: if one of them is not pending, unknown, or
// of another run, ErrNotPending and nothing changes; if one does not match
// Agent or Session, nothing changes and the result is empty. Without IDs it
// answers all pending of the run that match. When there is nothing to answer,
// nothing is written or announced. At most 65536 at once.
//
// ErrInvalid: no verdict, an empty RunID, IDs that are empty but not nil, or
// name an approval twice. Otherwise it is [Approvals.Resolve].
func (a *Approvals) ResolveAll(ctx context.Context, r BulkResolution) ([]Approval, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.RunID == "" {
		return nil, fmt.Errorf("%w: run_id is required", ErrInvalid)
	}
	if r.IDs != nil && len(r.IDs) == 0 {
		return nil, fmt.Errorf("%w: ids is empty; leave it out to answer all of the run", ErrInvalid)
	}
	seen := map[string]bool{}
	for _, id := range r.IDs {
		if seen[id] {
			return nil, fmt.Errorf("%w: ids has %.40q twice", ErrInvalid, id)
		}
		seen[id] = true
	}
	if err := a.take(ctx); err != nil {
		return nil, err
	}
	defer a.release()
	now := wallClock()
	chosen, err := a.choose(&r, now)
	if err != nil || len(chosen) == 0 {
		return nil, err
	}
	if err := a.end(ctx, op{batch: true, runID: r.RunID}, chosen, r.Resolution, now); err != nil {
		return nil, err
	}
	out := make([]Approval, len(chosen))
	for i, e := range chosen {
		out[i] = a.snapshot(e)
	}
	return out, nil
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
			return nil, fmt.Errorf("%w: %s in run %.70q but in another; nothing was resolved", ErrNotPending, id, r.RunID)
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

// Wait returns the approval as soon as it is no longer pending. Any number may
// wait for one, also for one that was requested before a restart. ctx ends the
// waiting alone. ErrNotFound, ErrClosed, or the error of reading the log.
func (a *Approvals) Wait(ctx context.Context, id string) (Approval, error) {
	e, err := a.find(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	select {
	case <-e.done:
		return a.snapshot(e), nil
	case <-ctx.Done():
		return Approval{}, ctx.Err()
	case <-a.closing:
		return Approval{}, ErrClosed
	}
}

// Get returns the approval as it stands; one that ended before those kept in
// memory is read from the log. ErrNotFound, also once it was pruned; ErrClosed,
// or the error of reading.
func (a *Approvals) Get(ctx context.Context, id string) (Approval, error) {
	e, err := a.find(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	return a.snapshot(e), nil
}

// find returns the approval's entry. One that is not in memory has ended.
func (a *Approvals) find(ctx context.Context, id string) (*entry, error) {
	select {
	case <-a.closing:
		return nil, ErrClosed
	default:
	}
	if e := a.inMemory(id); e != nil {
		return e, nil
	}
	// A change on its way is in the log a moment before it is in memory.
	if err := a.take(ctx); err != nil {
		return nil, err
	}
	a.release()
	if e := a.inMemory(id); e != nil {
		return e, nil
	}
	return a.fromLog(ctx, id)
}

func (a *Approvals) fromLog(ctx context.Context, id string) (*entry, error) {
	notFound := fmt.Errorf("%w: no approval %.40q", ErrNotFound, id)
	line, err := a.chain.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, notFound
	} else if err != nil {
		return nil, err
	}
	f := newFold(1)
	if err := f.add(line); err != nil {
		return nil, err
	}
	e := f.pending[id]
	if e == nil {
		return nil, notFound
	}
	for r, err := range a.chain.Query(ctx, Query{After: id, Ascending: true, Approval: true}) {
		if err == nil {
			err = f.answer(r)
		}
		if err != nil {
			return nil, err
		}
		if e.Status != Pending {
			return e, nil
		}
	}
	return nil, notFound
}

func (a *Approvals) inMemory(id string) *entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if e := a.fold.pending[id]; e != nil {
		return e
	}
	if id <= a.chain.pruned().LastID {
		return nil
	}
	return a.fold.ended[id]
}

func (a *Approvals) sameCall(agent, toolCallID string) *entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.fold.calls[call{agent, toolCallID}]
}

func (a *Approvals) waiting() (n, size int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.fold.pending), a.fold.pendingBytes
}

func (a *Approvals) snapshot(e *entry) Approval {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return e.Approval
}

// List returns the approvals with that status in the order of their requests;
// of the ended ones those kept in memory.
func (a *Approvals) List(status ApprovalStatus) []Approval {
	a.mu.RLock()
	defer a.mu.RUnlock()
	from := a.fold.ended
	if status == Pending {
		from = a.fold.pending
	}
	out, pruned := []Approval{}, a.chain.pruned().LastID
	for _, e := range from {
		if e.Status == status && e.ID > pruned {
			out = append(out, e.Approval)
		}
	}
	slices.SortFunc(out, func(x, y Approval) int { return cmp.Compare(x.ID, y.ID) })
	return out
}

// Stats returns the queue's figures.
func (a *Approvals) Stats() ApprovalStats {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := ApprovalStats{Pending: len(a.fold.pending), Created: a.created, Resolved: map[ApprovalStatus]uint64{}, Wait: a.wait.Read()}
	for s, n := range a.resolved {
		out.Resolved[s] = n
	}
	return out
}

// Close ends every Wait with ErrClosed and waits for changes on their way. What
// is pending stays so in the log, for the next opening. Further calls do nothing.
func (a *Approvals) Close() error {
	a.stop()
	<-a.stopped
	a.turn <- struct{}{}
	a.release()
	return nil
}
