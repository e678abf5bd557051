//go:build !linux

package main

import (
	"fmt"
	"os"
)

// What a process uses is read from /proc, and a sync is an fdatasync.
func main() {
	fmt.Fprintln(os.Stderr, "bench: it measures on Linux only")
	os.Exit(1)
}
