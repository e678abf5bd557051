// Package suite says what a part of the benchmarks is given and gives back.
package suite

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/rampartlog/rampart/bench/report"
)

// Suite is a part of the benchmarks that is run as a whole.
type Suite struct {
	Name string
	Does string // one line for the help
	Run  func(ctx context.Context, r *Run) error
}

// Run is what a suite is given.
type Run struct {
	Tiny     bool     // smallest sizes, one run: it shows that everything works, and measures nothing
	Runs     int      // of each cell; tables show medians
	Targets  []string // only these; all when empty
	Profiles string   // a directory for CPU profiles of our rows; "" for none
	Dir      string   // for files under test; on a real disk
	Output   report.Output
	Log      func(format string, args ...any) // progress
}

// Wants reports whether target is to be measured.
func (r *Run) Wants(target string) bool {
	if len(r.Targets) == 0 {
		return true
	}
	for _, t := range r.Targets {
		if t == target {
			return true
		}
	}
	return false
}

// Profile is the file for the profile of one cell, "" for none.
func (r *Run) Profile(suite, cell string) string {
	if r.Profiles == "" {
		return ""
	}
	return filepath.Join(r.Profiles, fmt.Sprintf("%s-%s.pprof", suite, cell))
}
