//go:build race

package ledger_test

// every says that one of so many cases of a sweep is tried. Under the race
// detector a sync.Pool drops what it is given, and each case takes long.
const every = 29
