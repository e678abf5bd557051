package main

import (
	"sync"
	"time"
)

const (
	// So many alerts wait for the webhook; those beyond are counted. Approvals,
	// which somebody can do something about, may have as many places again, and
	// a log that is not what it was always finds one.
	maxWaiting = 500
	// A message has at most so many lines, and bytes but for its first line.
	maxLines, maxText = 30, 3500
)

// entry is an alert on its way to the webhook.
type entry struct {
	alert     alert
	position  string   // up to here everything is told once this is; empty: the alert moves nothing
	approvals []string // told of with this
}

// queue is the alerts that the webhook has yet to be told, in order. The state
// moves on behind them. Adding waits for nothing but the state's file.
type queue struct {
	state   *state
	posting bool // otherwise there is no webhook, and what was printed is delivered

	mu      sync.Mutex
	waiting []entry
	sending int           // of waiting, the first that are under way
	wake    chan struct{} // holds one: there is something to send
}

func newQueue(s *state, posting bool) *queue {
	return &queue{state: s, posting: posting, wake: make(chan struct{}, 1)}
}

// add takes an alert that was printed.
func (q *queue) add(e entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.posting {
		q.state.delivered(e)
		return
	}
	limit := maxWaiting
	if e.alert.Kind == kindPending {
		limit *= 2
	}
	if len(q.waiting) >= limit && e.alert.Kind != kindWitness {
		last := len(q.waiting) - 1
		if last < q.sending || q.waiting[last].alert.Kind != kindOverflow {
			q.waiting = append(q.waiting, entry{alert: alert{Kind: kindOverflow, Time: time.Now()}})
			last++
		}
		more := &q.waiting[last]
		more.alert.NotPosted++
		more.approvals = append(more.approvals, e.approvals...)
		if e.position != "" {
			more.position = e.position
		}
		return
	}
	q.waiting = append(q.waiting, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// advance notes that there is nothing to tell, but for what waits, up to the
// position.
func (q *queue) advance(position string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.waiting); n > 0 {
		q.waiting[n-1].position = position
		return
	}
	q.state.advance(position)
}

// take returns what goes into the next message; nothing when nothing waits.
func (q *queue) take() []alert {
	q.mu.Lock()
	defer q.mu.Unlock()
	var group []alert
	size := 0
	for i := range q.waiting {
		a := q.waiting[i].alert
		size += len(posted(&a))
		if len(group) > 0 && (size > maxText || len(group) == maxLines) {
			break
		}
		group = append(group, a)
	}
	q.sending = len(group)
	return group
}

// sent notes that what was taken is delivered.
func (q *queue) sent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state.delivered(q.waiting[:q.sending]...)
	q.waiting = append([]entry(nil), q.waiting[q.sending:]...)
	q.sending = 0
}

// left is how many alerts were not posted.
func (q *queue) left() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.waiting {
		n += max(1, e.alert.NotPosted)
	}
	return n
}
