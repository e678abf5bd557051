package ledger

import (
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
)

const (
	MaxBatch     = maxBatch
	MaxEvent     = maxEvent
	MaxAppend    = maxAppend
	MaxQueued    = maxQueued
	MaxIndexes   = maxIndexes
	LineOverhead = lineOverhead
)

func CheckLine(line []byte, f *record.Fields) *failure.CorruptError { return selfFault(line, f) }
func ValidID(s string) bool                                         { return record.ValidID(s) }
func ZeroHash() [64]byte                                            { return zeroHash }
func (c *Ledger) Pruned() Pruned                                    { return c.state.pruned() }
func (c *Ledger) Seq() uint64 {
	c.state.mu.RLock()
	defer c.state.mu.RUnlock()
	return c.state.seq
}
func (c *Ledger) QueuedBytes() int {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	return c.queue.bytes
}
func (c *Ledger) LoadedIndexes() int {
	c.state.indexMu.Lock()
	defer c.state.indexMu.Unlock()
	return len(c.state.loaded)
}
func (c *Ledger) KeptValues() (counted, kept int) {
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
