//go:build linux

package audit

import (
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/rampartlog/rampart"
)

type raftStore struct{ *wal.WAL }

func openRaft(dir string, _ bool) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	return raftStore{w}, nil
}

func (s raftStore) put(first uint64, lines [][]byte, _ []rampart.AuditEvent) error {
	logs := make([]*raft.Log, len(lines))
	for i, line := range lines {
		logs[i] = &raft.Log{Index: first + uint64(i), Data: line}
	}
	return s.StoreLogs(logs)
}

func (s raftStore) len() (uint64, error) { return s.LastIndex() }

func (s raftStore) scan(newest bool, fn func([]byte) bool) error {
	return scanIndexed(s.LastIndex, newest, func(i uint64) ([]byte, error) {
		var log raft.Log
		err := s.GetLog(i, &log)
		return log.Data, err
	}, fn)
}

func (s raftStore) close() error { return s.Close() }

// scanIndexed implements scan for a log that reads entries by number.
func scanIndexed(last func() (uint64, error), newest bool, read func(i uint64) ([]byte, error), fn func([]byte) bool) error {
	n, err := last()
	if err != nil {
		return err
	}
	for i := uint64(1); i <= n; i++ {
		at := i
		if newest {
			at = n + 1 - i
		}
		line, err := read(at)
		if err != nil {
			return err
		}
		if !fn(line) {
			break
		}
	}
	return nil
}
