// Package ledger is the log on disk: it links lines into a chain, writes and
// syncs them, and reads, queries, verifies and prunes what it wrote.
//
// It takes the bodies of lines and gives their places. It looks at two things in a
// body: the fields that queries go by, and whether there is an approval member,
// because an observer is told of each line that has one. All else that a body says
// is its caller's business.
//
// A write has two halves. Linking is a function of the bodies and of the head
// that they follow: it runs each batch's Check, gives ids and hashes, and makes
// the lines. Adopting puts lines that follow the head on the disk, and then tells
// the observer, the index, the readers and Announce of them, in this order.
package ledger

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/tally"
	"github.com/rampartlog/rampart/internal/vfs"
)

// SyncPolicy says when lines are forced to the disk, as rampart.SyncPolicy does.
type SyncPolicy string

const (
	SyncAlways   SyncPolicy = "always"
	SyncInterval SyncPolicy = "interval"
	SyncNever    SyncPolicy = "never"
)

// Options configures [Open]. The zero value of a field is its default.
type Options struct {
	// Announce is told of each write once it is durable as Sync says, in log
	// order. It must not block and must not append. Nil tells nobody.
	Announce    func([]Notice)
	Sync        SyncPolicy    // SyncAlways when empty
	SyncEvery   time.Duration // for SyncInterval; 1 s when zero
	Logger      *slog.Logger  // nil discards
	FS          vfs.FS        // in place of the directory
	SegmentSize int64         // bytes after which a segment is sealed; 16 MiB when zero
}

const (
	MaxBatch    = 1 << 16  // lines in one batch, for which the ids have room
	MaxAppend   = 64 << 20 // bytes of lines in one batch
	maxQueued   = 64 << 20 // bytes that wait for the committer
	maxWrite    = 8 << 20  // bytes after which a write takes no further batch
	segmentSize = 16 << 20
)

// Ledger is an append-only log in a directory, in which each line carries the
// hash of the one before. All methods may be called concurrently.
type Ledger struct {
	opts   Options
	fs     vfs.FS
	log    *slog.Logger
	unlock func() error

	queue queue
	tail  tail
	state state

	pruning sync.Mutex // held from the choice of what to prune until the state says so

	stopped  chan struct{}  // closed when the committer has ended
	sealing  sync.WaitGroup // sidecars on their way to the disk
	closing  sync.Once
	closeErr error

	appends tally.Recorder
	errors  tally.Counters
}

// Batch is what is appended in one write, whole or not at all.
type Batch struct {
	Records []Record // at most MaxBatch, and MaxAppend bytes of lines
	Bulk    bool     // announced as one NoticeBatch in place of single notices
	RunID   string   // of the NoticeBatch
	Sync    bool     // made durable whatever the policy

	// Check, unless nil, is called when the batch is linked, at the head that it
	// will follow. It may take records out of Records, which are then not appended.
	// An error drops this batch alone, and Append returns it. write tells writes
	// apart: it is the same for all batches that are linked into one write. The
	// observer has been told of the lines of earlier writes, and not yet of those
	// of this one. Check must not block or append.
	Check func(write uint64) error

	size int
	done chan struct{}
	err  error // set before done is closed

	one [1]Record // of a single record, so that a batch of it takes one allocation
}

// One returns a batch of one record, in one allocation.
func One(body []byte) *Batch {
	b := &Batch{one: [1]Record{{Body: body}}}
	b.Records = b.one[:]
	return b
}

// Record is one record of a batch: what its caller has of it, and what the log
// gives it.
type Record struct {
	Body []byte // of record.Event.AppendBody

	// Given by Append.
	ID, PrevHash, Hash string
}

// Notice is one message for those who watch the log.
type Notice struct {
	Kind  NoticeKind
	Seq   uint64 // number of the last record that it covers; for NoticeApprovals, of the newest record
	ID    string // that record's id and hash; unused by NoticeApprovals
	Hash  string
	RunID string // of NoticeBatch
	Line  []byte // of NoticeEvent; valid only during the call
}

// NoticeKind is what a notice says.
type NoticeKind uint8

const (
	NoticeEvent     NoticeKind = iota + 1 // a line was appended
	NoticeBatch                           // a bulk batch was appended
	NoticeApprovals                       // some of the lines before have an approval member
)

// Append makes b durable, as [Options.Sync] says, and gives its records their
// places.
//
// ctx limits the wait for a turn: once b is being written, its outcome is waited
// for and reported whatever ctx says. The error is b.Check's, [failure.ErrFailed],
// [failure.ErrClosed], or one of the write, after which b is not in the log and
// may be appended again.
func (l *Ledger) Append(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(b.Records) == 0 {
		return nil
	}
	began := time.Now()
	b.err, b.size = nil, 0
	for i := range b.Records {
		b.size += len(b.Records[i].Body) + LineOverhead + 1
	}
	if l.queue.alone() {
		l.writeAlone(b)
	} else if err := l.await(ctx, b); err != nil {
		return err
	}
	if b.err == nil {
		l.appends.Observe(time.Since(began).Seconds())
	}
	return b.err
}

// await has the committer write b.
func (l *Ledger) await(ctx context.Context, b *Batch) error {
	b.done = make(chan struct{})
	if err := l.queue.push(ctx, b); err != nil {
		return err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		if l.queue.withdraw(b) {
			return ctx.Err()
		}
		<-b.done
	}
	return nil
}

// Observe has fn called, from here on, with the lines of each write that have an
// approval member, if there are any: in log order, once the write is durable as
// [Options.Sync] says, and before any reader and Announce know of it. fn must not
// block or append, and the lines are valid only during the call. Observe returns
// the number of the newest record before those, and a function that ends the calls.
//
// A log has one observer: ErrInvalid while there is another. ErrClosed. ctx limits
// the wait for a write under way.
func (l *Ledger) Observe(ctx context.Context, fn func(lines [][]byte)) (seq uint64, stop func(), err error) {
	if err := l.holdTail(ctx); err != nil {
		return 0, nil, err
	}
	defer l.releaseTail()
	if l.tail.observe != nil {
		return 0, nil, failure.ErrInvalid
	}
	l.tail.observe = fn
	return l.tail.seq, sync.OnceFunc(func() {
		if l.holdTail(context.Background()) == nil {
			l.tail.observe = nil
			l.releaseTail()
		}
	}), nil
}

// holdTail waits until nobody writes, and keeps writers out until releaseTail.
// ErrClosed, or ctx's error.
func (l *Ledger) holdTail(ctx context.Context) error {
	select {
	case l.queue.tail <- struct{}{}:
		return nil
	case <-l.stopped:
		return failure.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Ledger) releaseTail() { <-l.queue.tail }

// Head returns the number, id and hash of the newest visible record; zero and
// empty while the log is.
func (l *Ledger) Head() (seq uint64, a Anchor) {
	l.state.mu.RLock()
	defer l.state.mu.RUnlock()
	return l.state.seq, l.state.head
}

// Pruned returns what was dropped from the front.
func (l *Ledger) Pruned() Pruned { return l.state.pruned() }

// Err returns nil while the log takes lines, otherwise why it does not: an
// error that is ErrFailed or ErrClosed.
func (l *Ledger) Err() error {
	return cmp.Or(l.queue.err(), l.state.failure())
}

// Close takes no further batches, finishes those admitted, makes the log
// durable and releases the directory. Further calls return the same.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		l.queue.close()
		<-l.stopped
		l.pruning.Lock() // a pruning under way ends first
		defer l.pruning.Unlock()
		l.sealing.Wait()
		l.closeErr = l.shut()
	})
	return l.closeErr
}

// Stats are figures of a log at one moment.
type Stats struct {
	Events   uint64 // that the log holds
	Pruned   Pruned // what was dropped before them
	Segments int
	Bytes    int64 // of the segments, without their indexes
	Sync     SyncPolicy
	Torn     int64             // bytes of an unfinished write that opening cut off
	Appended uint64            // lines since it was opened
	Errors   map[string]uint64 // since it was opened, by operation
	Append   tally.Histogram   // seconds from the call of Append to its return
}

// Operations that fail, by which Stats.Errors counts.
const (
	opWrite  = "write"
	opSync   = "sync"
	opCreate = "create"
	opIndex  = "index"
	opPrune  = "prune"
)

// Stats returns the log's figures.
func (l *Ledger) Stats() Stats {
	out := Stats{Sync: l.opts.Sync, Append: l.appends.Read(), Errors: l.errors.Read()}
	l.state.mu.RLock()
	segments := l.state.segments
	out.Pruned = l.state.dropped
	out.Events, out.Appended, out.Torn, out.Segments = l.state.seq-out.Pruned.Records, l.state.appended, l.state.torn, len(segments)
	l.state.mu.RUnlock()
	for _, g := range segments {
		h, _ := l.state.headOf(g)
		out.Bytes += h.Size
	}
	return out
}
