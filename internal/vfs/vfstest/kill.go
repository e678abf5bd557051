package vfstest

// Kill returns the directory as the next process finds it when this one is
// killed and the machine goes on: a copy that reads as this one does, in which
// what is not durable here is not durable either. It is unlocked, with no fault
// armed and no limit set.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := New()
	copies := map[*node]*node{nil: nil}
	of := func(n *node) *node {
		if _, ok := copies[n]; !ok {
			copies[n] = &node{data: append([]byte(nil), n.data...), durable: append([]byte(nil), n.durable...), pending: append([]change(nil), n.pending...)}
		}
		return copies[n]
	}
	for name, n := range f.names {
		g.names[name] = of(n)
	}
	for name, n := range f.synced {
		g.synced[name] = of(n)
	}
	for _, e := range f.entries {
		e.node = of(e.node)
		g.entries = append(g.entries, e)
	}
	g.changes = f.changes
	return g
}
