package ledger

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/tally"
	"github.com/rampartlog/rampart/internal/vfs"
)

// SyncPolicy says when appended events are forced to the disk. What a crash of
// the process alone leaves behind is the same under all of them.
type SyncPolicy string

const (
	// SyncAlways makes events durable before Append returns and before anyone
	// sees them. A power cut loses nothing that was acknowledged.
	SyncAlways SyncPolicy = "always"
	// SyncInterval does so every [AuditOptions.SyncEvery]. A power cut may lose
	// events of that time that were acknowledged and seen; a disk that kept later
	// ones of them and lost earlier ones leaves a log that Open refuses.
	SyncInterval SyncPolicy = "interval"
	// SyncNever leaves it to the operating system, except when a segment is
	// full and at Close. A power cut may lose what was not written back, often
	// half a minute of events, and leave a log that Open refuses, as above.
	SyncNever SyncPolicy = "never"
)

// Options are rampart.AuditOptions, and what only tests set.
type Options struct {
	Announce    func([]Notice) // told of each write once it is durable, in log order; may be nil
	Sync        SyncPolicy
	SyncEvery   time.Duration
	Logger      *slog.Logger
	FS          vfs.FS // in place of the directory
	SegmentSize int64
}

const (
	maxEvent    = 1 << 20  // bytes of a line
	maxAppend   = 64 << 20 // bytes in one AppendAll
	maxQueued   = 64 << 20 // bytes that wait for the committer
	maxWrite    = 8 << 20  // bytes after which a write takes no further request
	segmentSize = 16 << 20
)

// lineOverhead is what a line has around the part that its caller encodes.
const lineOverhead = len(`{"id":"",`) + 26 + len(`"prev_hash":"","hash":""}`) + 2*64

var zeroHash = func() (h [64]byte) {
	copy(h[:], bytes.Repeat([]byte("0"), len(h)))
	return h
}()

// Ledger is an append-only log in a directory, in which each event carries
// the hash of the one before. All methods may be called concurrently.
type Ledger struct {
	opts   Options
	fs     vfs.FS
	log    *slog.Logger
	unlock func() error

	queue queue
	tail  tail
	state state

	pruning sync.Mutex // held from what is to be pruned until that is in the state

	stopped  chan struct{}  // closed when the committer has ended
	sealing  sync.WaitGroup // sidecars on their way to the disk
	closing  sync.Once
	closeErr error

	appends tally.Recorder
	errors  tally.Counters
}

// Place is what the log gave a line.
type Place struct{ ID, PrevHash, Hash string }

// Notice is one message for those who watch the log.
type Notice struct {
	Kind  NoticeKind
	Seq   uint64 // of the last record it covers; for Approvals, of the newest
	ID    string
	Hash  string
	RunID string // Batch
	Line  []byte // Event: valid only during the call
}

// NoticeKind is what a notice says.
type NoticeKind uint8

const (
	NoticeEvent NoticeKind = iota + 1
	NoticeBatch
	NoticeApprovals
)

// Batch is what is appended in one write: bodies of record.Event.AppendBody.
type Batch struct {
	Bodies    [][]byte
	Places    []Place // given by the log, one for each body
	RunID     string
	Bulk      bool            // one NoticeBatch in place of single notices
	Sync      bool            // durable whatever the policy
	Approvals bool            // NoticeApprovals after them
	Durable   func(p []Place) // called once durable, before anything is announced; must not block or append

	size int
	done chan struct{}
	err  error
	body [1][]byte
	one  [1]Place
}

// One returns a batch of one body, in one allocation.
func One(body []byte) *Batch {
	b := &Batch{}
	b.body[0] = body
	b.Bodies, b.Places = b.body[:], b.one[:]
	return b
}

// Append makes b durable and fills in its Places.
func (c *Ledger) Append(ctx context.Context, r *Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(r.Bodies) == 0 {
		return nil
	}
	began := time.Now()
	r.size = 0
	for _, b := range r.Bodies {
		r.size += len(b) + lineOverhead + 1
	}
	if r.Places == nil {
		r.Places = make([]Place, len(r.Bodies))
	}
	if c.queue.alone() {
		c.writeAlone(r)
	} else if err := c.await(ctx, r); err != nil {
		return err
	}
	if r.err == nil {
		c.appends.Observe(time.Since(began).Seconds())
	}
	return r.err
}

// await has the committer write r.
func (c *Ledger) await(ctx context.Context, r *Batch) error {
	r.done = make(chan struct{})
	if err := c.queue.push(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if c.queue.withdraw(r) {
			return ctx.Err()
		}
		<-r.done
	}
	return nil
}

// Err returns nil while the chain takes events, otherwise why it does not: an
// error that is ErrFailed or ErrClosed.
func (c *Ledger) Err() error {
	if err := c.queue.err(); err != nil {
		return err
	}
	return c.state.failure()
}

// Close takes no further appends, finishes those admitted, makes the log
// durable and gives the directory free. Further calls return the same.
func (c *Ledger) Close() error {
	c.closing.Do(func() {
		c.queue.close()
		<-c.stopped
		c.pruning.Lock() // until one under way has ended
		defer c.pruning.Unlock()
		c.sealing.Wait()
		c.closeErr = c.shut()
	})
	return c.closeErr
}
