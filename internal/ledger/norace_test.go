//go:build !race

package ledger_test

const every = 1
