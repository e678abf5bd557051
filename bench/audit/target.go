//go:build linux

// Package audit measures the log beside what else a Go program would keep an
// audit log in, and beside the least that the machine has to do.
package audit

import (
	"fmt"

	"github.com/rampartlog/rampart"
)

// journal is a target's log, open.
type journal interface {
	// Append is durable when it returns, and may be called concurrently.
	Append(e rampart.AuditEvent) error
	AppendAll(es []rampart.AuditEvent) error
	Len() (int, error)
	Query(q *query, decode bool) (answer, error)
	Close() error
}

// mode is how a target is to be used.
type mode struct {
	NoSync bool // do not wait for the disk
	Shared bool // many append at a time: where the library has a way for that, take it
	Group  bool // concurrent appends go through the bench's committer
}

type target struct {
	open func(dir string, m mode) (journal, error)
	// verify checks all of the log in dir and counts it; seen, if not nil, is
	// given each line.
	verify func(dir string, cores int, seen func(line []byte) error) (int, error)
	bulk   int  // events in one AppendAll of a bulk load
	once   bool // it opens a log once in a process
}

const (
	ours  = "rampart"
	limit = "limit"
)

// targets by their names.
var targets = map[string]target{
	ours:  {open: openOurs, verify: verifyOurs, bulk: 1000},
	limit: {open: openLimit, verify: verifyLimit, bulk: 1000},
	// It has no mode without sync, and its Close keeps a lock.
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
