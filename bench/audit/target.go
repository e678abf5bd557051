//go:build linux

// Package audit measures rampart's log, the libraries in which a Go program could
// keep an audit log instead, and the least work that the machine has to do.
package audit

import (
	"fmt"

	"github.com/rampartlog/rampart"
)

// journal is a target's log, open.
type journal interface {
	// Append returns when e is durable. It may be called concurrently.
	Append(e rampart.AuditEvent) error
	AppendAll(es []rampart.AuditEvent) error
	Len() (int, error)
	Query(q *query, decode bool) (answer, error)
	Close() error
}

// mode says how to use a target.
type mode struct {
	NoSync bool // do not wait for the disk
	Shared bool // appends are concurrent: use the library's own way for them, if it has one
	Group  bool // concurrent appends go through the bench's committer
}

type target struct {
	open func(dir string, m mode) (journal, error)
	// verify checks the whole log in dir and returns the number of its lines. It
	// passes each line to seen, if that is not nil.
	verify func(dir string, cores int, seen func(line []byte) error) (int, error)
	bulk   int  // events in one AppendAll of a bulk load
	once   bool // a process can open the log only once
}

const (
	ours  = "rampart"
	limit = "limit"
)

// targets by their names.
var targets = map[string]target{
	ours:  {open: openOurs, verify: verifyOurs, bulk: 1000},
	limit: {open: openLimit, verify: verifyLimit, bulk: 1000},
	// raft-wal has no mode without sync, and its Close does not release its lock.
	"raft-wal": peer(openRaft, target{bulk: 10_000, once: true}),
	"tidwall":  peer(openTidwall, target{bulk: 1000}),
	"bbolt":    peer(openBolt, target{bulk: 1000}),
	"sqlite":   peer(openSQLite, target{bulk: 1000}),
}

// peers in the order of the tables.
var peers = []string{"raft-wal", "tidwall", "bbolt", "sqlite"}

func targetOf(name string) (target, error) {
	t, ok := targets[name]
	if !ok {
		return target{}, fmt.Errorf("no target %q", name)
	}
	return t, nil
}
