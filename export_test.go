package rampart

import "github.com/rampartlog/rampart/internal/vfs"

// WithFS makes OpenAuditChain use fs in place of a directory.
func (o AuditOptions) WithFS(fs vfs.FS) *AuditOptions { o.fs = fs; return &o }

// WithSegmentSize makes segments full at n bytes.
func (o AuditOptions) WithSegmentSize(n int64) *AuditOptions { o.segmentSize = n; return &o }

// QueuedBytes is what waits for the committer.
func (c *AuditChain) QueuedBytes() int {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	return c.queue.bytes
}

// LoadedIndexes is how many sealed segments' indexes are in memory.
func (c *AuditChain) LoadedIndexes() int {
	c.state.indexMu.Lock()
	defer c.state.indexMu.Unlock()
	return len(c.state.loaded)
}

// KeptValues is how many bytes of values are counted, and how many there are.
func (c *AuditChain) KeptValues() (counted, kept int) {
	v, err := c.state.view()
	if err != nil {
		return 0, 0
	}
	defer v.release()
	c.state.indexMu.Lock()
	defer c.state.indexMu.Unlock()
	for _, g := range v.segments {
		if g.values != nil {
			kept += g.values.Size()
		}
	}
	return c.state.values, kept
}

const (
	MaxQueued  = maxQueued
	MaxIndexes = maxIndexes
)
