package main

import (
	"sync"
	"time"
)

const (
	// maxWaiting is how many alerts wait for the webhook; further ones are only
	// counted. Twice as many may wait if the alert is of an approval, which
	// somebody can still answer. An alert that the log was changed always fits.
	maxWaiting = 500
	// A message has at most so many lines, and so many bytes without its first
	// line.
	maxLines, maxText = 30, 3500
)

// entry is an alert on its way to the webhook.
type entry struct {
	alert     alert
	position  string   // once this alert is delivered, so is everything up to here; empty: the state stays where it is
	approvals []string // ids of the approvals that this alert is about
}

// queue holds the alerts that are not delivered yet, in order. The state moves on
// as they are delivered. Adding an alert waits for the state's file at most, and
// never for the webhook.
type queue struct {
	state   *state
	posting bool // false without a webhook: an alert is delivered once it is printed

	mu      sync.Mutex
	waiting []entry
	sending int           // how many of waiting, from the first on, are being posted
	wake    chan struct{} // holds a token when there is something to send
}

func newQueue(s *state, posting bool) *queue {
	return &queue{state: s, posting: posting, wake: make(chan struct{}, 1)}
}

// add queues an alert that was printed.
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

// advance notes that no event up to the position needs another alert than those
// that wait.
func (q *queue) advance(position string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.waiting); n > 0 {
		q.waiting[n-1].position = position
		return
	}
	q.state.advance(position)
}

// take returns the alerts of the next message, none if none wait.
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

// sent notes that the alerts of the last take are delivered.
func (q *queue) sent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state.delivered(q.waiting[:q.sending]...)
	q.waiting = append([]entry(nil), q.waiting[q.sending:]...)
	q.sending = 0
}

// left returns how many alerts were not posted.
func (q *queue) left() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.waiting {
		n += max(1, e.alert.NotPosted)
	}
	return n
}
