package ledger

const (
	MaxQueued  = maxQueued
	MaxIndexes = maxIndexes
)

// QueuedBytes is what waits for the committer.
func (l *Ledger) QueuedBytes() int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.bytes
}

// LoadedIndexes is how many sealed segments' indexes are in memory.
func (l *Ledger) LoadedIndexes() int {
	l.state.indexMu.Lock()
	defer l.state.indexMu.Unlock()
	return len(l.state.loaded)
}

// KeptValues is how many bytes of values are counted, and how many there are.
func (l *Ledger) KeptValues() (counted, kept int) {
	v, err := l.state.view()
	if err != nil {
		return 0, 0
	}
	defer v.release()
	l.state.indexMu.Lock()
	defer l.state.indexMu.Unlock()
	for _, g := range v.segments {
		if g.values != nil {
			kept += g.values.Size()
		}
	}
	return l.state.values, kept
}

// OK reports whether the log is whole, as rampart.Report's does.
func (r Report) OK() bool { return r.Verdict == VerdictOK }
