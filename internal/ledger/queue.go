package ledger

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
)

// queue is where requests wait for the committer. It is bounded in bytes.
type queue struct {
	mu      sync.Mutex
	waiting []*Batch
	bytes   int
	room    chan struct{} // closed when requests were taken; nil while nobody waits for that
	closed  bool

	kick chan struct{} // something waits, or the queue was closed
	tail chan struct{} // full while somebody has the tail of the log

	// Of who has the tail; back is changed under mu.
	back  int       // requests that may wait soon
	began time.Time // the write that is being made
	size  int       // bytes in it
	lines int       // events in it
}

func (q *queue) init() { q.kick, q.tail = make(chan struct{}, 1), make(chan struct{}, 1) }

// alone gives the caller the tail if nobody has it and nobody is expected to
// want it: a lone writer's request needs no hand-off to the committer and back,
// which is a tenth of what it takes. The caller empties q.tail afterwards.
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

// push adds r as soon as there is room for it.
func (q *queue) push(ctx context.Context, r *Batch) error {
	q.mu.Lock()
	for !q.closed && q.bytes > 0 && q.bytes+r.size > maxQueued {
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
	q.waiting = append(q.waiting, r)
	q.bytes += r.size
	q.signal()
	return nil
}

// withdraw removes r if the committer has not taken it yet.
func (q *queue) withdraw(r *Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.freed(r.size)
	return true
}

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
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	q.signal()
}

// Writers that were answered together come back together, and those that came
// meanwhile wait: for as many it is worth waiting a moment, since that fills one
// write where there would be two. A lone writer is never waited for.
const (
	gatherFor   = 100 * time.Microsecond
	gatherTurns = 1024 // bounds the wait where time stands still, as in a synctest bubble
)

// answered notes that n requests are about to be answered: their callers may come
// back, and with those that wait already fill the next write.
func (q *queue) answered(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.back = n + len(q.waiting)
}

// take begins a write: it moves requests that wait into batch, as many as one
// write holds, and reports whether more may ever come.
func (q *queue) take(batch []*Batch) (_ []*Batch, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.began, q.size, q.lines = time.Now(), 0, 0
	batch = q.move(batch)
	return batch, !q.closed || len(q.waiting) > 0
}

// gather adds to a write the requests that come while it is worth waiting for
// them; none when that time is over.
func (q *queue) gather(batch []*Batch) []*Batch {
	n := len(batch)
	for turn := 0; len(batch) == n && n < q.back && turn < gatherTurns && time.Since(q.began) < gatherFor; turn++ {
		runtime.Gosched()
		q.mu.Lock()
		batch = q.move(batch)
		q.mu.Unlock()
	}
	return batch
}

// move is take within a write. The caller holds q.mu.
func (q *queue) move(batch []*Batch) []*Batch {
	n, size := 0, 0
	for _, r := range q.waiting {
		if q.lines > 0 && (q.size+r.size > maxWrite || q.lines+len(r.Bodies) > maxBatch) {
			break
		}
		n, size = n+1, size+r.size
		q.size, q.lines = q.size+r.size, q.lines+len(r.Bodies)
	}
	if n > 0 {
		batch = append(batch, q.waiting[:n]...)
		q.waiting = slices.Delete(q.waiting, 0, n)
		q.freed(size)
	}
	if len(q.waiting) > 0 {
		q.signal()
	}
	return batch
}
