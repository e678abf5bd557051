//go:build linux

package audit

import (
	"runtime"
	"sync"
	"time"
)

// gather is how long a committer waits for all writers of the last batch to append
// again. Without it, 64 writers split into two batches of half the size.
const gather = 60 * time.Microsecond

// committer puts concurrent appends into one write with one sync. The peer libraries
// have none. With this one they get rampart's greatest advantage, so that the rest
// of the difference is their own.
type committer[T any] struct {
	commit func([]T) error

	mu      sync.Mutex
	waiting []*waiter[T]
	closed  bool
	kick    chan struct{}
	stopped chan struct{}
}

type waiter[T any] struct {
	item T
	done chan error
}

func newCommitter[T any](commit func([]T) error) *committer[T] {
	c := &committer[T]{commit: commit, kick: make(chan struct{}, 1), stopped: make(chan struct{})}
	go c.run()
	return c
}

// append returns once item is committed.
func (c *committer[T]) append(item T) error {
	w := &waiter[T]{item, make(chan error, 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	c.signal()
	return <-w.done
}

// close commits the items that wait. Nothing may be appended afterwards.
func (c *committer[T]) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.signal()
	<-c.stopped
}

func (c *committer[T]) signal() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *committer[T]) run() {
	defer close(c.stopped)
	var items []T
	for last, closed := 0, false; !closed; {
		<-c.kick
		var batch []*waiter[T]
		batch, closed = c.take(last)
		if len(batch) == 0 {
			continue
		}
		last = len(batch)
		items = items[:0]
		for _, w := range batch {
			items = append(items, w.item)
		}
		err := c.commit(items)
		for _, w := range batch {
			w.done <- err
		}
	}
}

// take takes all waiting items. It first waits, for gather at most, until they are
// as many as last, the size of the last batch.
func (c *committer[T]) take(last int) (batch []*waiter[T], closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last > 1 {
		for began := time.Now(); len(c.waiting) < last && !c.closed && time.Since(began) < gather; {
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
	}
	batch, c.waiting = c.waiting, nil
	return batch, c.closed
}
