package ledger

import "github.com/rampartlog/rampart/internal/tally"

// Stats are figures of an [Ledger] at one moment.
type Stats struct {
	Events   uint64 // that the log holds
	Pruned   Pruned // and those before them
	Segments int
	Bytes    int64 // of the segments, without their indexes
	Sync     SyncPolicy
	Torn     int64             // bytes of an unfinished write that opening cut off
	Appended uint64            // events since it was opened
	Errors   map[string]uint64 // since it was opened, by operation: write, sync, create, index, prune
	Append   tally.Histogram   // seconds from the call of Append to its return
}

// Stats returns the chain's figures.
func (c *Ledger) Stats() Stats {
	out := Stats{Sync: c.opts.Sync, Append: c.appends.Read(), Errors: c.errors.Read()}
	c.state.mu.RLock()
	segments := c.state.segments
	out.Pruned = c.state.dropped
	out.Events, out.Appended, out.Torn, out.Segments = c.state.seq-out.Pruned.Records, c.state.appended, c.state.torn, len(segments)
	c.state.mu.RUnlock()
	for _, g := range segments {
		h, _ := c.state.headOf(g)
		out.Bytes += h.Size
	}
	return out
}
