//go:build !linux

package main

import (
	"fmt"
	"os"
)

// The measurements need Linux: they read /proc and call fdatasync.
func main() {
	fmt.Fprintln(os.Stderr, "bench: it measures on Linux only")
	os.Exit(1)
}
