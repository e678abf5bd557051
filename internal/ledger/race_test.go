//go:build race

package ledger_test

// every is that of so many cases of an adversary's sweep one is tried. Under the
// race detector a sync.Pool drops what it is given, and each takes long.
const every = 29
