// Package rampart records what AI agents do on a machine, shows it live, and
// holds dangerous calls until a person says yes or no.
//
// A record is durable before anyone sees it, and whoever saw it can prove it.
//
// # The parts
//
// [AuditChain] is an append-only log of tool calls in a directory, one line of
// JSON each, in which every event carries the SHA-256 of the one before.
// [EventBus] tells every watcher of what was appended, and never waits for one.
// [Stream] is an http.Handler that sends the bus's messages as Server-Sent Events.
// [Approvals] is the queue of calls that wait for an answer; it is kept in the
// log itself. [Open] wires all of them up, and [Rampart.Handler] serves them
// over HTTP, see docs/api.md. Each works alone: a chain without a web server, a
// bus and a stream for a host that has a log of its own.
//
// [Gate] stands in a host's program between an agent's calls and its tools: it
// asks the host's policy, records, waits for a person, and runs. Package client
// is for programs that follow or use a server: its events resume by themselves
// and are checked one by one.
//
// # What holds
//
// Durability. When [AuditChain.Append] returns nil the event is on disk, unless
// the host chose a weaker [SyncPolicy]. No reader, subscriber or waiter learns
// of an event or an answer before then. A write that failed is reported to exactly
// those whose events it held, and leaves nothing behind; after a failed sync
// nothing is accepted until the log is opened again.
//
// Order. There is one order, that of the log: ids rise in it, the bus announces
// in it, and every subscriber is given it without gap or repetition, whether
// from memory or from disk, and across reconnects. An approval's change is an
// event first, then state, then an announcement.
//
// Evidence. Anybody can check a line with sed and sha256sum, and the log with
// [VerifyChain], which names what was edited, removed, moved or cut. An id and
// hash that a reader noted down, as each client of the stream does, is an
// [Anchor]: it shows that the log still goes through that point. What
// [AuditChain.Prune] drops from the front is itself on record.
//
// Approval. Only a person's answer approves. A crash, a full disk, a deadline or
// an event that somebody forged never does.
//
// # What does not hold
//
// Rampart decides nothing: the host's policy does, and calls that the host sends
// past its [Gate] are not seen. Anybody who can write the directory can write the
// whole log anew, and only an anchor kept elsewhere shows that. Nothing is
// encrypted. One process has a log open at a time.
//
// # For all parts
//
// Methods may be called concurrently unless their doc says otherwise. Options
// are structs; nil, and each zero value, is the documented default. Errors are
// told apart with [errors.Is] and the values below. Close may be called twice,
// finishes what was admitted, and leaves ErrClosed behind.
package rampart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
)

// Errors that callers tell apart with [errors.Is]. Every error of the package
// wraps at most one of them and says beside it what happened and what to do.
var (
	// ErrClosed: the part was closed before the call.
	ErrClosed = failure.ErrClosed
	// ErrFailed: the log could not be made durable and takes no more events
	// until it is opened again.
	ErrFailed = failure.ErrFailed
	// ErrInvalid: the caller's input was refused; nothing of it was stored.
	ErrInvalid = failure.ErrInvalid
	// ErrLocked: another process, or another chain of this one, has the log open.
	ErrLocked = failure.ErrLocked
	// ErrLagged: a subscriber fell behind what is still held: in memory, if the
	// bus has no chain; otherwise in the log, which was pruned.
	ErrLagged = failure.ErrLagged
	// ErrLimit: a configured bound was reached: subscribers, or pending approvals.
	ErrLimit = failure.ErrLimit
	// ErrNotFound: no event or approval has that id.
	ErrNotFound = failure.ErrNotFound
	// ErrNotPending: the approval was resolved or has expired.
	ErrNotPending = errors.New("rampart: not pending")
	// ErrRefused: a gate did not let a call through.
	ErrRefused = errors.New("rampart: refused")
	// ErrUnauthorized: the server does not accept the token, or not for this call.
	ErrUnauthorized = errors.New("rampart: unauthorized")
)

// CorruptError reports something in the log that no chain wrote: where it is, and
// what was expected there. The files are untouched.
type CorruptError struct {
	Segment  string // file name within the log's directory; empty if an anchor is not on the log
	Line     int    // from 1; 0 when the fault is not in a line
	Offset   int64  // byte offset of the line in its segment; 0 if not known
	ID       string // of the line, if it can be read
	Expected string
	Found    string
}

func (e *CorruptError) Error() string { return (*failure.CorruptError)(e).Error() }

// Keys of the maps in which figures count.
const (
	// Reasons for which a stream ended: [StreamStats.Closed].
	ClosedClient       = "client"        // the client left
	ClosedWriteTimeout = "write_timeout" // the client took nothing
	ClosedWriteError   = "write_error"
	ClosedShutdown     = "shutdown"
	ClosedError        = "error" // the log gave an error

	// Results of resuming: [StreamStats.Resumes].
	ResumeOK        = "ok"        // the events after the position follow
	ResumeUnknown   = "unknown"   // well-formed, but not in this log, or no longer
	ResumeMalformed = "malformed" // not a position
	ResumeMismatch  = "mismatch"  // in this log with another hash, or beyond its head

	// Operations of the log that failed: [AuditStats.Errors].
	OpWrite  = "write"
	OpSync   = "sync"
	OpCreate = "create" // of a segment
	OpIndex  = "index"
	OpPrune  = "prune"
)

// Options configures [Open]. Nil, and each zero value, is the documented default.
type Options struct {
	Audit     AuditOptions // without a Bus: Open makes one
	Bus       BusOptions
	Approvals ApprovalOptions
	Stream    StreamOptions
	Version   string       // what GET /healthz and /v1/status report; "dev" when empty
	Logger    *slog.Logger // for the parts that have none of their own; nil discards
}

// Rampart is the chain, the bus, the queue and the stream of one log, wired up.
// The fields are for reading.
type Rampart struct {
	Bus       *EventBus
	Chain     *AuditChain
	Approvals *Approvals
	Stream    *Stream

	version string
	started time.Time
	log     *slog.Logger
}

// Open opens the log in dir, and the bus, the queue and the stream on top of it.
// dir holds the log's files themselves, and is made when missing. Approvals that
// were pending are pending again. The Rampart must be closed. Errors are those of
// [OpenAuditChain] and [NewApprovals], and ErrInvalid if opts has a bus.
func Open(dir string, opts *Options) (*Rampart, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Audit.Logger = cmp.Or(o.Audit.Logger, o.Logger)
	o.Approvals.Logger = cmp.Or(o.Approvals.Logger, o.Logger)
	o.Stream.Logger = cmp.Or(o.Stream.Logger, o.Logger)

	if o.Audit.Bus != nil {
		return nil, fmt.Errorf("%w: Options.Audit.Bus must be nil: Open makes the bus, and Options.Bus configures it", ErrInvalid)
	}

	r := &Rampart{version: cmp.Or(o.Version, "dev"), started: time.Now(), log: o.Logger}
	r.Bus = NewEventBus(&o.Bus)
	o.Audit.Bus = r.Bus
	var err error
	if r.Chain, err = OpenAuditChain(dir, &o.Audit); err == nil {
		r.Approvals, err = NewApprovals(context.Background(), r.Chain, &o.Approvals)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Stream = NewStream(r.Bus, &o.Stream)
	return r, nil
}

// Close ends the streams and the queue, makes the log durable and closes it.
// It waits for what was admitted. Further calls do nothing more.
func (r *Rampart) Close() error {
	var errs []error
	if r.Stream != nil {
		errs = append(errs, r.Stream.Close())
	}
	if r.Approvals != nil {
		errs = append(errs, r.Approvals.Close())
	}
	if r.Chain != nil {
		errs = append(errs, r.Chain.Close())
	}
	return errors.Join(append(errs, r.Bus.Close())...)
}
