package ledger

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
)

// queue is where batches wait for the committer. It is bounded in bytes.
type queue struct {
	mu      sync.Mutex
	waiting []*Batch
	bytes   int
	room    chan struct{} // closed when batches were taken; nil while nobody waits for that
	closed  bool

	kick chan struct{} // something waits, or the queue was closed
	tail chan struct{} // holds a token while a goroutine owns the tail of the log

	// Owned by the holder of the tail; back is also guarded by mu.
	back  int       // batches that may wait soon
	began time.Time // when the write under way began
	size  int       // bytes in it
	lines int       // lines in it
}

func (q *queue) init() { q.kick, q.tail = make(chan struct{}, 1), make(chan struct{}, 1) }

// alone gives the caller the tail if nobody holds it and nobody is expected to
// want it. A lone writer's batch then needs no hand-off to the committer and
// back, which is a tenth of its time. The caller empties q.tail afterwards.
func (q *queue) alone() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) > 0 || q.back > 1 {
		return false
	}
	select {
	case q.tail <- struct{}{}:
		return true
	default:
		return false
	}
}

func (q *queue) signal() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

func (q *queue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return failure.ErrClosed
	}
	return nil
}

// push adds b as soon as there is room for it.
func (q *queue) push(ctx context.Context, b *Batch) error {
	q.mu.Lock()
	for !q.closed && q.bytes > 0 && q.bytes+b.size > maxQueued {
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	if q.closed {
		return failure.ErrClosed
	}
	q.waiting = append(q.waiting, b)
	q.bytes += b.size
	q.signal()
	return nil
}

// withdraw removes b if the committer has not taken it yet.
func (q *queue) withdraw(b *Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, b)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.freed(b.size)
	return true
}

// freed takes n bytes off the queue, and wakes those that wait for room. The
// caller holds q.mu.
func (q *queue) freed(n int) {
	q.bytes -= n
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.freed(0)
	q.signal()
}

// Writers that were answered together come back together, and those that came
// meanwhile are waiting. So the committer waits a moment for as many batches as
// both make: they then fill one write in place of two. It never waits for a lone
// writer.
const (
	gatherFor   = 100 * time.Microsecond
	gatherTurns = 1024 // bounds the wait where time stands still, as in a synctest bubble
)

// answered notes that n batches are about to be answered. Their callers may come
// back, and fill the next write together with the batches that wait already.
func (q *queue) answered(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.back = n + len(q.waiting)
}

// take begins a write: it moves waiting batches into taken, as many as one write
// holds, and reports whether more may ever come.
func (q *queue) take(taken []*Batch) (_ []*Batch, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.began, q.size, q.lines = time.Now(), 0, 0
	taken = q.move(taken)
	return taken, !q.closed || len(q.waiting) > 0
}

// gather adds to a write the batches that come while it is worth waiting for
// them; none when that time is over.
func (q *queue) gather(taken []*Batch) []*Batch {
	n := len(taken)
	for turn := 0; len(taken) == n && n < q.back && turn < gatherTurns && time.Since(q.began) < gatherFor; turn++ {
		runtime.Gosched()
		q.mu.Lock()
		taken = q.move(taken)
		q.mu.Unlock()
	}
	return taken
}

// move is take within a write. The caller holds q.mu.
func (q *queue) move(taken []*Batch) []*Batch {
	n, size := 0, 0
	for _, b := range q.waiting {
		if q.lines > 0 && (q.size+b.size > maxWrite || q.lines+len(b.Records) > MaxBatch) {
			break
		}
		n, size = n+1, size+b.size
		q.size, q.lines = q.size+b.size, q.lines+len(b.Records)
	}
	if n > 0 {
		taken = append(taken, q.waiting[:n]...)
		q.waiting = slices.Delete(q.waiting, 0, n)
		q.freed(size)
	}
	if len(q.waiting) > 0 {
		q.signal()
	}
	return taken
}
