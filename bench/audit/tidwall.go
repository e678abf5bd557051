//go:build linux

package audit

import (
	"github.com/tidwall/wal"

	"github.com/rampartlog/rampart"
)

type tidwallStore struct {
	*wal.Log
	pending wal.Batch
}

func openTidwall(dir string, noSync bool) (store, error) {
	opts := *wal.DefaultOptions
	opts.NoSync, opts.NoCopy = noSync, true
	l, err := wal.Open(dir, &opts)
	if err != nil {
		return nil, err
	}
	return &tidwallStore{Log: l}, nil
}

func (s *tidwallStore) put(first uint64, lines [][]byte, _ []rampart.AuditEvent) error {
	s.pending.Clear()
	for i, line := range lines {
		s.pending.Write(first+uint64(i), line)
	}
	return s.WriteBatch(&s.pending)
}

func (s *tidwallStore) len() (uint64, error) { return s.LastIndex() }

func (s *tidwallStore) scan(newest bool, fn func([]byte) bool) error {
	return scanIndexed(s.LastIndex, newest, s.Read, fn)
}

func (s *tidwallStore) close() error { return s.Close() }
