package rampart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/vfs"
)

// SyncPolicy says when appended events are forced to the disk. What a crash of
// the process alone leaves behind is the same under all of them.
type SyncPolicy string

const (
	// SyncAlways makes events durable before Append returns and before anyone
	// sees them. A power cut loses nothing that was acknowledged.
	SyncAlways SyncPolicy = "always"
	// SyncInterval makes events durable every [AuditOptions.SyncEvery]. A power cut
	// may lose events of that interval that were acknowledged and seen. If the disk
	// kept later ones and lost earlier ones, Open refuses the log.
	SyncInterval SyncPolicy = "interval"
	// SyncNever leaves syncing to the operating system, except when a segment is
	// full and at Close. A power cut may lose what was not written back, often
	// half a minute of events, and leave a log that Open refuses, as above.
	SyncNever SyncPolicy = "never"
)

// AuditOptions configures [OpenAuditChain]. Nil, and each zero value, is the
// documented default.
type AuditOptions struct {
	Bus       *EventBus     // told of each event once it is durable; none when nil
	Sync      SyncPolicy    // SyncAlways when empty
	SyncEvery time.Duration // for SyncInterval; 1 s when zero
	Logger    *slog.Logger  // nil discards

	fs          vfs.FS // in place of the directory; tests
	segmentSize int64  // tests
}

// AuditChain is an append-only log in a directory, in which each event carries
// the hash of the one before. All methods may be called concurrently.
type AuditChain struct{ ledger *ledger.Ledger }

// OpenAuditChain opens the log in dir, which is made (0700) when missing, and
// locks it until Close.
//
// It reads the ends of the full segments, and the last segment; only
// [AuditChain.Verify] reads the whole history. After a stop that was not a Close,
// the lines of the last segment are checked one by one and copied to a new file
// that is synced, since a readable page need not be a durable one. An unfinished
// write at the very end, cut short or with zeros in it, was never acknowledged: it
// is cut off, logged, and counted in [AuditStats.Torn].
//
// ErrLocked: the log is open already; the message names the process. ErrInvalid:
// opts has an unknown value, or a bus that announces another log.
// [*CorruptError]: the log holds what no chain wrote; the files are untouched.
func OpenAuditChain(dir string, opts *AuditOptions) (*AuditChain, error) {
	var o AuditOptions
	if opts != nil {
		o = *opts
	}
	lo := ledger.Options{Sync: ledger.SyncPolicy(o.Sync), SyncEvery: o.SyncEvery, Logger: o.Logger, FS: o.fs, SegmentSize: o.segmentSize}
	if o.Bus != nil {
		lo.Announce = o.Bus.bus.Announce
	}
	l, err := ledger.Open(dir, &lo)
	if err != nil {
		return nil, public(err)
	}
	// Nobody can append before this returns, so the bus misses nothing.
	if o.Bus != nil {
		if err := o.Bus.bus.Attach(l); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return &AuditChain{l}, nil
}

// public gives a fault of the log the type that this package documents.
func public(err error) error {
	var fault *failure.CorruptError
	if errors.As(err, &fault) {
		return (*CorruptError)(fault)
	}
	return err
}

// Append makes e durable, links it to the log's head and returns it as stored.
//
// When it returns nil the event is on disk as [AuditOptions.Sync] says, and
// every subscriber of the bus will see it; concurrent appends share a sync.
// ctx limits the wait for a turn: once the event is being written, its outcome
// is waited for and reported whatever ctx says.
//
// ErrInvalid: e breaks a rule of its type, and nothing was stored. ErrFailed:
// the log takes no more events. ErrClosed. Any other error is of the write, such
// as a full disk: the event is not in the log and may be appended again.
func (c *AuditChain) Append(ctx context.Context, e AuditEvent) (AuditEvent, error) {
	if err := ctx.Err(); err != nil {
		return AuditEvent{}, err
	}
	body, err := encodeOne(&e)
	if err != nil {
		return AuditEvent{}, err
	}
	b := ledger.One(body)
	if err := c.ledger.Append(ctx, b); err != nil {
		return AuditEvent{}, err
	}
	e.place(&b.Records[0])
	return e, nil
}

// place sets what the log gave e.
func (e *AuditEvent) place(r *ledger.Record) { e.ID, e.PrevHash, e.Hash = r.ID, r.PrevHash, r.Hash }

// AppendAll appends events in one write: they follow one another in the log,
// and when it returns all are stored or none. A crash before that may leave only
// the first of them. At most 65536 events and 64 MiB. Otherwise as
// [AuditChain.Append].
func (c *AuditChain) AppendAll(ctx context.Context, events []AuditEvent) ([]AuditEvent, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].Approval != nil {
			return nil, invalid(i, len(events), approvalGiven)
		}
	}
	saved := append(make([]AuditEvent, 0, len(events)), events...)
	b, err := newBatch(saved)
	if err != nil {
		return nil, err
	}
	if err := c.ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	for i := range b.Records {
		saved[i].place(&b.Records[i])
	}
	return saved, nil
}

// newBatch checks the events, fills in what they leave open and encodes them.
func newBatch(events []AuditEvent) (*ledger.Batch, error) {
	n := len(events)
	if n > ledger.MaxBatch {
		return nil, fmt.Errorf("%w: %d events in one append, at most %d are taken; append them in parts", ErrInvalid, n, ledger.MaxBatch)
	}
	b := &ledger.Batch{Records: make([]ledger.Record, n)}
	size := 0
	for i := range events {
		body, err := encode(&events[i])
		if err != nil {
			return nil, invalid(i, n, "%v", err)
		}
		b.Records[i].Body = body
		if size += len(body) + ledger.LineOverhead + 1; size > ledger.MaxAppend {
			return nil, fmt.Errorf("%w: more than %d bytes in one append; append them in parts", ErrInvalid, ledger.MaxAppend)
		}
	}
	return b, nil
}

// Get returns the stored line of one event, or ErrNotFound. A line whose hash
// does not fit is a [*CorruptError].
func (c *AuditChain) Get(ctx context.Context, id string) (Record, error) {
	line, err := c.ledger.Get(ctx, id)
	return line, public(err)
}

// Filter chooses events. Values of one field are alternatives, fields combine
// with and; an empty field chooses every event. Letter case counts.
type Filter struct {
	Agent, Session, Tool, Action, RunID []string
}

// Query chooses events of the log and their order. The zero value chooses all of
// them, newest first.
type Query struct {
	Filter
	Since, Until  time.Time // by the event's timestamp: Since ≤ t < Until; zero is open
	After, Before string    // ids, exclusive, in the log or not; empty is open
	Ascending     bool      // oldest first
}

// Query yields the stored lines of the events that q chooses, in log order or
// its reverse. It sees the log as it is when the iteration begins; events that
// arrive meanwhile neither appear nor move others. To go on after a page, give the
// id of its last event as After or Before.
//
// A yielded line has the form of an event, but its hash is not checked: a line
// that was edited on the disk comes with a hash that does not fit, which
// [AuditChain.Verify] finds.
//
// Memory does not grow with the log. The caller may keep the records. An error
// comes last and once: ErrInvalid, ErrClosed, ctx's, [*CorruptError], or one of
// reading.
func (c *AuditChain) Query(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := c.scan(ctx, &q, func(_ uint64, line []byte, _ *record.Fields) bool {
			return yield(bytes.Clone(line), nil)
		}); err != nil {
			yield(nil, err)
		}
	}
}

// scan is Query without copies: line and fields are valid during the call of fn.
func (c *AuditChain) scan(ctx context.Context, q *Query, fn func(seq uint64, line []byte, f *record.Fields) bool) error {
	return public(c.ledger.Scan(ctx, &ledger.Query{
		Filter: ledger.Filter(q.Filter), Since: q.Since, Until: q.Until, After: q.After, Before: q.Before, Ascending: q.Ascending,
	}, fn))
}

// Anchor is an event's id and hash, kept where nobody who can write the log can
// change it: in a stream position, a ticket, another machine's log.
type Anchor struct {
	ID   string `json:"id"`
	Hash string `json:"hash"` // or its first digits, 16 of them as in a stream position; empty proves presence alone
}

// Head returns the newest visible event's id and hash; both are empty while
// the log is. Kept elsewhere, they are an anchor for [VerifyChain].
func (c *AuditChain) Head() Anchor {
	_, head := c.ledger.Head()
	return Anchor(head)
}

// Verdict is what a verification found.
type Verdict string

const (
	VerdictOK         Verdict = "ok"
	VerdictTornTail   Verdict = "torn tail"  // the log ends as an unfinished write does, which was never acknowledged; an anchor can prove otherwise
	VerdictTampered   Verdict = "tampered"   // a line is not what was written
	VerdictMissing    Verdict = "missing"    // lines or segments are missing, doubled or out of order
	VerdictTruncated  Verdict = "truncated"  // an anchor is not on the log, which was cut or rewritten
	VerdictPruned     Verdict = "pruned"     // all is well, but an anchor is older than what the log holds: it can't be checked
	VerdictUnreadable Verdict = "unreadable" // reading gave an error
)

// Report is the outcome of a verification. A bare chain proves that nothing in
// it was changed, removed or moved. Only anchors prove that its end is still
// there, and that it was not written anew as a whole.
type Report struct {
	Verdict  Verdict
	Pruned   Pruned // what was dropped from the front, as the log itself says
	Events   uint64 // how many after those are good, up to the fault
	FirstID  string
	LastID   string
	HeadHash string
	Fault    *CorruptError // the first fault; nil when Verdict is VerdictOK
}

// OK reports whether the log is whole.
func (r Report) OK() bool { return r.Verdict == VerdictOK }

// VerifyChain reads the log in fsys, a directory of a live log, of a backup or
// of an archive, and checks every line's hash, every link, the sequence of the
// segments and every anchor. It takes no lock and writes nothing. All cores
// hash; memory does not grow with the log.
//
// A log that was pruned is whole when it begins with the event after the last
// one dropped, and holds the event that says so: see [AuditChain.Prune].
//
// A fault in the data is a verdict. The error is ctx's, or ErrInvalid for a
// malformed anchor. While a log is being written, its end may look like a torn
// tail.
func VerifyChain(ctx context.Context, fsys fs.FS, anchors ...Anchor) (Report, error) {
	return report(ledger.VerifyFS(ctx, fsys, inLedger(anchors)))
}

// Verify is [VerifyChain] for the part of the open log that is visible when it
// is called. The newest event of that part is an anchor. Appending goes on
// meanwhile.
func (c *AuditChain) Verify(ctx context.Context, anchors ...Anchor) (Report, error) {
	return report(c.ledger.Verify(ctx, inLedger(anchors)))
}

func inLedger(anchors []Anchor) []ledger.Anchor {
	out := make([]ledger.Anchor, len(anchors))
	for i, a := range anchors {
		out[i] = ledger.Anchor(a)
	}
	return out
}

func report(r ledger.Report, err error) (Report, error) {
	return Report{
		Verdict: Verdict(r.Verdict), Pruned: Pruned(r.Pruned), Events: r.Events,
		FirstID: r.FirstID, LastID: r.LastID, HeadHash: r.HeadHash, Fault: (*CorruptError)(r.Fault),
	}, err
}

// Pruned says what was dropped from the front of a log; the zero value is nothing.
type Pruned struct {
	Records  uint64 `json:"records"`   // how many were dropped so far, which is the number of the last one
	LastID   string `json:"last_id"`   // of that one
	LastHash string `json:"last_hash"` // the prev_hash of the first event that is still there
}

// Prune drops whole segments, of 16 MiB, from the front of the log, and returns
// how many events they held. A segment goes if all its events were appended before
// that time, as their ids say. The segment that is being written stays. So does
// the first segment with the request of an approval that was not answered before
// that time, and so do all after it.
//
// What stays can be proved as before. First an event of the agent "rampart"
// states the number, id and hash of the last event dropped. When it is durable,
// whatever [AuditOptions.Sync] says, a copy of it in the file PRUNED becomes
// the beginning of the log; then the segments are removed. A crash leaves the
// log as it was or pruned, and the next opening removes what is left over.
// Nothing is verified before it is dropped, see [AuditChain.Verify] for that.
//
// Queries and verifications that are under way go on over all that they began
// with: a file that one still needs is removed by the next Prune or opening.
// A subscriber that is fed from the log, and has yet to be given what was
// dropped, gets [ErrLagged].
//
// ctx limits what comes before the append of the event. The error is one of
// [AuditChain.Query] or [AuditChain.Append], or one of writing the file. After an
// error nothing was dropped, but after one of writing the file the next opening
// may still drop it.
func (c *AuditChain) Prune(ctx context.Context, before time.Time) (events uint64, err error) {
	events, err = c.ledger.Prune(ctx, before, c.unanswered)
	return events, public(err)
}

// AuditStats are figures of an [AuditChain] at one moment.
type AuditStats struct {
	Events   uint64 // that the log holds
	Pruned   Pruned // what was dropped before them
	Segments int
	Bytes    int64 // of the segments, without their indexes
	Sync     SyncPolicy
	Torn     int64             // bytes of an unfinished write that opening cut off
	Appended uint64            // events since it was opened
	Errors   map[string]uint64 // failed operations since it was opened: OpWrite and others
	Append   Histogram         // seconds from the call of Append to its return
}

// Histogram counts observations, in the manner of Prometheus.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound to the number of observations at or below it
}

// Stats returns the chain's figures.
func (c *AuditChain) Stats() AuditStats {
	s := c.ledger.Stats()
	return AuditStats{
		Events: s.Events, Pruned: Pruned(s.Pruned), Segments: s.Segments, Bytes: s.Bytes, Sync: SyncPolicy(s.Sync),
		Torn: s.Torn, Appended: s.Appended, Errors: s.Errors, Append: Histogram(s.Append),
	}
}

// Err returns nil while the chain takes events, otherwise why it does not: an
// error that is ErrFailed or ErrClosed.
func (c *AuditChain) Err() error { return c.ledger.Err() }

// Close takes no further appends, finishes those admitted, makes the log
// durable and releases the directory. Further calls return the same.
func (c *AuditChain) Close() error { return c.ledger.Close() }
