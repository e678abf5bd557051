//go:build linux

package audit

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/rampartlog/rampart"
)

// store is a library that keeps lines, numbered from 1.
type store interface {
	// put stores lines, the encoded events es, after the newest line, and makes them
	// durable with one sync.
	put(first uint64, lines [][]byte, es []rampart.AuditEvent) error
	len() (uint64, error)
	// scan calls fn for each line, oldest first or newest first, until fn returns
	// false. A line is valid during the call.
	scan(newest bool, fn func(line []byte) bool) error
	close() error
}

// batcher is a store with a way of its own for concurrent appends.
type batcher interface {
	batch(e rampart.AuditEvent) error
}

// searcher is a store that can search events itself.
type searcher interface {
	search(q *query) ([][]byte, error)
}

// chained is a store with the chain around it.
type chained struct {
	store
	batch func(e rampart.AuditEvent) error // the library's own way for concurrent appends, or nil
	group *committer[rampart.AuditEvent]   // the bench's committer in its place, or nil; without either, appends take turns

	mu    sync.Mutex
	chain chain
	next  uint64
}

// peer completes t for a library.
func peer(open func(dir string, noSync bool) (store, error), t target) target {
	t.open = func(dir string, m mode) (journal, error) {
		s, err := open(dir, m.NoSync)
		if err != nil {
			return nil, err
		}
		c := &chained{store: s}
		if err := c.resume(); err != nil {
			return nil, err
		}
		if b, ok := s.(batcher); ok && m.Shared {
			c.batch = b.batch
		}
		if m.Group {
			c.group = newCommitter(c.AppendAll)
		}
		return c, nil
	}
	t.verify = func(dir string, _ int, seen func([]byte) error) (n int, err error) {
		s, err := open(dir, false)
		if err != nil {
			return 0, err
		}
		defer s.close()
		return verifyStore(s, seen)
	}
	return t
}

// resume finds the head, so that the chain can be continued.
func (c *chained) resume() error {
	n, err := c.len()
	if err != nil {
		return err
	}
	c.next = n + 1
	if n == 0 {
		return nil
	}
	var chainErr error
	if err := c.scan(true, func(line []byte) bool {
		chainErr = c.chain.resume(line)
		return false
	}); err != nil {
		return err
	}
	return chainErr
}

func (c *chained) Append(e rampart.AuditEvent) error {
	if c.group != nil {
		return c.group.append(e)
	}
	if c.batch != nil {
		return c.batch(e)
	}
	return c.AppendAll([]rampart.AuditEvent{e})
}

func (c *chained) AppendAll(es []rampart.AuditEvent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines, err := c.chain.linkAll(es)
	if err != nil {
		return err
	}
	if err := c.put(c.next, lines, es); err != nil {
		return err
	}
	c.next += uint64(len(es))
	return nil
}

func (c *chained) Len() (int, error) {
	n, err := c.len()
	return int(n), err
}

func (c *chained) Query(q *query, decode bool) (a answer, err error) {
	if s, ok := c.store.(searcher); ok {
		lines, err := s.search(q)
		if err != nil || !decode {
			return answer{lines: lines}, err
		}
		for _, line := range lines {
			var e rampart.AuditEvent
			if err := json.Unmarshal(line, &e); err != nil {
				return a, err
			}
			a.events = append(a.events, e)
		}
		return a, nil
	}
	var bad error
	if err := c.scan(true, func(line []byte) bool {
		var e rampart.AuditEvent
		if bad = json.Unmarshal(line, &e); bad != nil {
			return false
		}
		if q.matches(&e) {
			a.events = append(a.events, e)
		}
		return len(a.events) < page
	}); err != nil {
		return a, err
	}
	return a, bad
}

func (c *chained) Close() error {
	if c.group != nil {
		c.group.close()
	}
	return c.close()
}

// verifyStore reads, decodes and hashes all lines.
func verifyStore(s store, seen func([]byte) error) (n int, err error) {
	var c chain
	scanErr := s.scan(false, func(line []byte) bool {
		if err = c.follow(line); err == nil && seen != nil {
			err = seen(line)
		}
		if err != nil {
			return false
		}
		n++
		return true
	})
	if scanErr != nil {
		return n, scanErr
	}
	if err != nil {
		return n, fmt.Errorf("line %d: %w", n+1, err)
	}
	return n, nil
}
