//go:build !race

package rampart_test

const every = 1
