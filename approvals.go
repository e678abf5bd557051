package rampart

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/tally"
)

// ApprovalStatus says where an approval stands. The zero value is no status.
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
	Logger     *slog.Logger  // nil discards

	keepEnded int // in place of maxEnded; tests
}

const (
	maxTTL          = 30 * 24 * time.Hour
	maxPendingBytes = 64 << 20
	maxEndedBytes   = 64 << 20
	maxEnded        = 10_000 // ended approvals that stay in memory; earlier ones are read from the log
	// maxName bounds each name that the event of an ending repeats from the
	// request, so that every ending fits into an event.
	maxName = 4 << 10
)

// ApprovalRequest asks a person for a yes or no. Agent and Tool are required.
// Agent, Session, RunID, ToolCallID, Tool and Credential are at most 4 KiB each.
type ApprovalRequest struct {
	Agent           string
	Session         string
	RunID           string
	ToolCallID      string // while pending, the same ToolCallID of the same agent is the same approval
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
	Command       string          `json:"command"` // for a person to read: Request's command, else its path
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
	RequestSHA256 string          `json:"request_sha256"`   // compare with RequestSHA256(what you are about to run)
	Reason        string          `json:"reason,omitempty"` // why, in the words of whoever answered

	ToolCallID string `json:"-"`
	Credential string `json:"-"` // of whoever asked
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
// one, the event that ended it. The log tells the queue of each such event once
// it is durable, whoever appended it, and before the bus announces it. When a
// change can't be made durable, nothing changes and nobody is woken. Only an
// event's approval member counts, which no host can append. Of several endings the
// first counts.
//
// All methods may be called concurrently. A chain has one queue at a time.
type Approvals struct {
	chain *AuditChain
	opts  ApprovalOptions
	log   *slog.Logger

	wake    chan struct{}   // says that a deadline is earlier than the one slept for
	closing context.Context // done once Close was called
	close   context.CancelFunc
	stopped chan struct{}  // closed when the goroutine that expires has ended
	changes sync.WaitGroup // changes under way; grows only under mu and while not closing
	ignore  func()         // ends the log's calls of observe

	linked linked // owned by the holder of the log's tail

	mu       sync.RWMutex
	fold     fold
	broken   error // why the fold could not follow the log; nil while it does
	created  uint64
	resolved map[ApprovalStatus]uint64
	next     time.Time // deadline slept for; zero for none

	wait tally.Recorder
}

// NewApprovals rebuilds the queue from chain's log: what is pending, until
// when, and who asked. An approval whose deadline has passed meanwhile is expired.
//
// ctx limits the rebuilding. An append that changes approvals, and all behind it,
// wait until that is done. ErrInvalid: opts is out of its limits, or chain has a
// queue that was not closed. Other errors are of reading the log. The queue must
// be closed before the chain.
func NewApprovals(ctx context.Context, chain *AuditChain, opts *ApprovalOptions) (*Approvals, error) {
	var o ApprovalOptions
	if opts != nil {
		o = *opts
	}
	o.TTL = cmp.Or(o.TTL, 5*time.Minute)
	o.MaxPending = cmp.Or(o.MaxPending, 10_000)
	o.keepEnded = cmp.Or(o.keepEnded, maxEnded)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkTTL(o.TTL); err != nil {
		return nil, err
	}
	if o.MaxPending < 0 {
		return nil, fmt.Errorf("%w: MaxPending must not be negative", ErrInvalid)
	}
	a := &Approvals{
		chain: chain, opts: o, log: o.Logger,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		fold:     newFold(o.keepEnded),
		resolved: map[ApprovalStatus]uint64{Approved: 0, Denied: 0, Expired: 0},
	}
	if err := a.rebuild(ctx); err != nil {
		return nil, err
	}
	a.closing, a.close = context.WithCancel(context.Background())
	sleep, err := a.expireDue(ctx)
	if err != nil {
		// They can't be approved any more. Recording that is tried again.
		a.log.Error("expired approvals not recorded", "error", err)
		sleep = minRetry
	}
	go a.run(sleep)
	return a, nil
}

// rebuild folds the log as it is, and has observe called for all that follows.
// observe, and with it the log, waits until rebuild is done.
func (a *Approvals) rebuild(ctx context.Context) error {
	a.mu.Lock()
	upto, ignore, err := a.chain.ledger.Observe(ctx, a.observe)
	if errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w: this chain has an approvals queue already: close that first", err)
	}
	if err == nil {
		a.ignore = ignore
		err = a.fold.replay(ctx, a.chain, ledger.Query{Ascending: true, Approval: true}, upto)
	}
	a.mu.Unlock()
	if err != nil && ignore != nil {
		ignore()
	}
	if err != nil && !errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("rampart: rebuild the approvals: %w", err)
	}
	return err
}

// observe folds the lines of one write that have an approval member, whether this
// queue appended them or another. The holder of the log's tail calls it.
func (a *Approvals) observe(lines [][]byte) {
	decoded, err := make([]*approvalLine, 0, len(lines)), error(nil)
	for _, line := range lines {
		var l *approvalLine
		if l, err = decodeApproval(line); err != nil {
			err = fmt.Errorf("%w: the approvals queue can't follow the log and takes no more changes: %w; open the log with a version that knows this", ErrFailed, err)
			a.log.Error("the approvals queue stopped", "error", err)
			break
		}
		decoded = append(decoded, l)
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range decoded {
		switch e := a.fold.add(l); {
		case e == nil:
		case e.Status == Pending:
			a.created++
			if a.next.IsZero() || e.ExpiresAt.Before(a.next) {
				select {
				case a.wake <- struct{}{}:
				default:
				}
			}
		default:
			a.resolved[e.Status]++
			a.wait.Observe(e.ResolvedAt.Sub(e.CreatedAt).Seconds())
		}
	}
	// Going on might approve a call that the unreadable line denied.
	a.broken = cmp.Or(a.broken, err)
}

// err returns nil while changes can be made, otherwise the reason as ErrFailed.
func (a *Approvals) err() error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.broken
}

func checkTTL(d time.Duration) error {
	if d < 0 || d > maxTTL {
		return fmt.Errorf("%w: a TTL of %v is out of range; it is positive and at most %v (30 days)", ErrInvalid, d, maxTTL)
	}
	return nil
}

// enter admits a change, for which Close waits until leave is called.
func (a *Approvals) enter() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing.Err() != nil {
		return ErrClosed
	}
	a.changes.Add(1)
	return nil
}

func (a *Approvals) leave() { a.changes.Done() }

// Request puts r into the queue and returns its approval once that is durable.
// When r's ToolCallID is already pending for the same agent, the answer is that
// approval and nothing is written, whatever else r says: compare
// [Approval.RequestSHA256] with what you are about to run.
//
// ctx limits the wait for a turn; the outcome of a write is always reported.
// ErrInvalid: r breaks a rule of its type, or of [AuditChain.Append]. ErrLimit:
// MaxPending, or 64 MiB, are waiting. Otherwise the errors of Append.
func (a *Approvals) Request(ctx context.Context, r ApprovalRequest) (Approval, error) {
	if err := r.check(); err != nil {
		return Approval{}, err
	}
	request, digest, err := storedRequest(r.Request)
	if err != nil {
		return Approval{}, err
	}
	r.Request = request
	if err := a.enter(); err != nil {
		return Approval{}, err
	}
	defer a.leave()
	for {
		now := wallClock()
		if e, p := a.sameCall(r.Agent, r.ToolCallID); e != nil {
			if now.Before(p.ExpiresAt) {
				return p, nil
			}
			if _, err := a.end(ctx, change{}, []*entry{e}, Resolution{Status: Expired}, now); err != nil && err != errMoved {
				return Approval{}, err
			}
			continue
		}
		if n, size := a.waiting(); n >= a.opts.MaxPending || size >= maxPendingBytes {
			return Approval{}, fmt.Errorf("%w: %d approvals (%d bytes) wait for an answer; resolve some, or ask again later", ErrLimit, n, size)
		}
		p, err := a.open(ctx, &r, digest, now)
		if err != errMoved {
			return p, err
		}
	}
}

func (r *ApprovalRequest) check() error {
	for name, s := range map[string]string{
		"agent": r.Agent, "session": r.Session, "run_id": r.RunID, "tool_call_id": r.ToolCallID, "tool": r.Tool, "credential": r.Credential,
	} {
		if len(s) > maxName {
			return fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrInvalid, name, len(s), maxName)
		}
	}
	return checkTTL(r.TTL)
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
// ErrNotFound: no approval has that id. ErrNotPending: the approval was answered,
// or its deadline has passed. Otherwise the errors of Append, after which the
// approval is as pending as before.
func (a *Approvals) Resolve(ctx context.Context, id string, r Resolution) (Approval, error) {
	if err := r.check(); err != nil {
		return Approval{}, err
	}
	e, err := a.find(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	if err := a.enter(); err != nil {
		return Approval{}, err
	}
	defer a.leave()
	for {
		p, now := a.snapshot(e), wallClock()
		if p.Status != Pending {
			return Approval{}, fmt.Errorf("%w: approval %s: %s at %s", ErrNotPending, p.ID, p.Status, p.ResolvedAt.Format(time.RFC3339))
		}
		answer := r
		if !now.Before(p.ExpiresAt) {
			answer = Resolution{Status: Expired}
		}
		switch _, err := a.end(ctx, change{}, []*entry{e}, answer, now); {
		case err == errMoved, err == nil && answer.Status == Expired:
		case err != nil:
			return Approval{}, err
		default:
			return a.snapshot(e), nil
		}
	}
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
// name an approval twice. Otherwise as [Approvals.Resolve].
func (a *Approvals) ResolveAll(ctx context.Context, r BulkResolution) ([]Approval, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	for {
		now := wallClock()
		chosen, err := a.choose(&r, now)
		if err != nil || len(chosen) == 0 {
			return nil, err
		}
		// Without IDs, approvals that end meanwhile are left out. With IDs it is all or none.
		ended, err := a.end(ctx, change{bulk: true, runID: r.RunID, partial: r.IDs == nil}, chosen, r.Resolution, now)
		if err == errMoved {
			continue
		}
		if err != nil {
			return nil, err
		}
		out := make([]Approval, len(ended))
		for i, e := range ended {
			out[i] = a.snapshot(e)
		}
		return out, nil
	}
}

func (r *BulkResolution) check() error {
	if err := r.Resolution.check(); err != nil {
		return err
	}
	if r.RunID == "" {
		return fmt.Errorf("%w: run_id is required", ErrInvalid)
	}
	if r.IDs != nil && len(r.IDs) == 0 {
		return fmt.Errorf("%w: ids is empty; leave it out to answer all of the run", ErrInvalid)
	}
	seen := map[string]bool{}
	for _, id := range r.IDs {
		if seen[id] {
			return fmt.Errorf("%w: ids has %.40q twice", ErrInvalid, id)
		}
		seen[id] = true
	}
	return nil
}

// Wait returns the approval as soon as it is no longer pending. Any number of
// callers may wait for one approval, also for one requested before a restart. ctx
// ends the wait, and not the approval. ErrNotFound, ErrClosed, or the error of
// reading the log.
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
	case <-a.closing.Done():
		return Approval{}, ErrClosed
	}
}

// Get returns the approval as it stands. One that ended before those kept in
// memory is read from the log. ErrNotFound: no approval has that id, or it was
// pruned. ErrClosed, or the error of reading.
func (a *Approvals) Get(ctx context.Context, id string) (Approval, error) {
	e, err := a.find(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	return a.snapshot(e), nil
}

// find is lookup while the queue is open.
func (a *Approvals) find(ctx context.Context, id string) (*entry, error) {
	if a.closing.Err() != nil {
		return nil, ErrClosed
	}
	return a.lookup(ctx, id)
}

// lookup returns the approval's entry. One that is not in memory has ended.
func (a *Approvals) lookup(ctx context.Context, id string) (*entry, error) {
	if e := a.inMemory(id); e != nil {
		return e, nil
	}
	e, err := a.fromLog(ctx, id)
	// The fold knows of an approval before the log shows it, so one that was
	// requested meanwhile is in memory by now.
	if opened := a.inMemory(id); opened != nil {
		return opened, nil
	}
	return e, err
}

// fromLog reads an approval that has ended.
func (a *Approvals) fromLog(ctx context.Context, id string) (*entry, error) {
	notFound := fmt.Errorf("%w: no approval %.40q", ErrNotFound, id)
	line, err := a.chain.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, notFound
	} else if err != nil {
		return nil, err
	}
	asked, err := decodeApproval(line)
	if err != nil {
		return nil, err
	}
	if asked == nil {
		return nil, notFound
	}
	f := newFold(1)
	e := f.add(asked)
	if e == nil {
		return nil, notFound
	}
	f.closed = true
	if err := f.replay(ctx, a.chain, ledger.Query{After: id, Ascending: true, Approval: true}, math.MaxUint64); err != nil {
		return nil, err
	}
	if e.Status == Pending {
		return nil, notFound
	}
	return e, nil
}

func (a *Approvals) inMemory(id string) *entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if e := a.fold.pending[id]; e != nil {
		return e
	}
	if id <= a.chain.ledger.Pruned().LastID {
		return nil
	}
	return a.fold.ended[id]
}

// sameCall returns the pending approval of the same call, and how it stands; nil
// if there is none.
func (a *Approvals) sameCall(agent, toolCallID string) (*entry, Approval) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	e := a.fold.calls[call{agent, toolCallID}]
	if e == nil {
		return nil, Approval{}
	}
	return e, e.Approval
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

// ApprovalFilter chooses approvals. The zero value chooses all that are pending.
type ApprovalFilter struct {
	Status                ApprovalStatus // Pending when empty
	Agent, Session, RunID string         // when set, only those that have it
}

// List returns the approvals that f chooses, in the order of their requests. Of
// those that ended it has only the ones kept in memory: the newest 10,000, and 64
// MiB of them.
func (a *Approvals) List(f ApprovalFilter) []Approval {
	status := cmp.Or(f.Status, Pending)
	a.mu.RLock()
	defer a.mu.RUnlock()
	from := a.fold.ended
	if status == Pending {
		from = a.fold.pending
	}
	is := func(value, wanted string) bool { return wanted == "" || value == wanted }
	out, pruned := []Approval{}, a.chain.ledger.Pruned().LastID
	for _, e := range from {
		if e.Status == status && e.ID > pruned && is(e.Agent, f.Agent) && is(e.Session, f.Session) && is(e.RunID, f.RunID) {
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
	out := ApprovalStats{Pending: len(a.fold.pending), Created: a.created, Resolved: map[ApprovalStatus]uint64{}, Wait: Histogram(a.wait.Read())}
	for s, n := range a.resolved {
		out.Resolved[s] = n
	}
	return out
}

// Close ends every Wait with ErrClosed and waits for changes under way. What is
// pending stays so in the log, for the next opening. Further calls do nothing.
func (a *Approvals) Close() error {
	a.mu.Lock()
	a.close()
	a.mu.Unlock()
	<-a.stopped
	a.changes.Wait()
	a.ignore()
	return nil
}
