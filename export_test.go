package rampart

import (
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs"
)

// WithFS makes OpenAuditChain use fs in place of a directory.
func (o AuditOptions) WithFS(fs vfs.FS) *AuditOptions { o.fs = fs; return &o }

// WithSegmentSize makes segments full at n bytes.
func (o AuditOptions) WithSegmentSize(n int64) *AuditOptions { o.segmentSize = n; return &o }

// QueuedBytes is what waits for the committer.
func (c *AuditChain) QueuedBytes() int {
	return c.ledger.QueuedBytes()
}

// LoadedIndexes is how many sealed segments' indexes are in memory.
func (c *AuditChain) LoadedIndexes() int {
	return c.ledger.LoadedIndexes()
}

// KeptValues is how many bytes of values are counted, and how many there are.
func (c *AuditChain) KeptValues() (counted, kept int) {
	return c.ledger.KeptValues()
}

const (
	MaxQueued  = ledger.MaxQueued
	MaxIndexes = ledger.MaxIndexes
)
