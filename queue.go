package rampart

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// queue is where requests wait for the committer. It is bounded in bytes.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	bytes   int
	room    chan struct{} // closed when requests were taken; nil while nobody waits for that
	closed  bool

	kick chan struct{} // something waits, or the queue was closed
	back int           // requests that may wait soon; owned by the committer
}

func (q *queue) init() { q.kick = make(chan struct{}, 1) }

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
		return ErrClosed
	}
	return nil
}

// push adds r as soon as there is room for it.
func (q *queue) push(ctx context.Context, r *request) error {
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
		return ErrClosed
	}
	q.waiting = append(q.waiting, r)
	q.bytes += r.size
	q.signal()
	return nil
}

// withdraw removes r if the committer has not taken it yet.
func (q *queue) withdraw(r *request) bool {
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

// answered notes that n requests were answered: their callers may come back, and
// with those that wait already fill the next write.
func (q *queue) answered(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.back = n + len(q.waiting)
}

// take moves requests that wait into batch, as many as one write holds, and
// reports whether more may ever come. Only the committer calls it.
func (q *queue) take(batch []*request) (_ []*request, open bool) {
	q.mu.Lock()
	if q.back > 1 && len(q.waiting) > 0 {
		began := time.Now()
		for turn := 0; len(q.waiting) < q.back && !q.closed && turn < gatherTurns && time.Since(began) < gatherFor; turn++ {
			q.mu.Unlock()
			runtime.Gosched()
			q.mu.Lock()
		}
	}
	defer q.mu.Unlock()
	n, size, events := 0, 0, 0
	for _, r := range q.waiting {
		if n > 0 && (size+r.size > maxWrite || events+len(r.bodies) > maxBatch) {
			break
		}
		n, size, events = n+1, size+r.size, events+len(r.bodies)
	}
	batch = append(batch, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	if n > 0 {
		q.freed(size)
	}
	if len(q.waiting) > 0 {
		q.signal()
	}
	return batch, !q.closed || len(q.waiting) > 0
}
