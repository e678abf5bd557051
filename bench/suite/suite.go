// Package suite defines a part of the benchmarks and its options.
package suite

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/rampartlog/rampart/bench/report"
)

// Suite is a part of the benchmarks that runs as a whole.
type Suite struct {
	Name string
	Does string // one line for the help text
	Run  func(ctx context.Context, r *Run) error
}

// Run has the options of one run of a suite.
type Run struct {
	Tiny     bool     // smallest sizes and one run, to show that everything works; the figures mean nothing
	Runs     int      // runs of each cell; tables show medians
	Targets  []string // only these; all when empty
	Profiles string   // a directory for CPU profiles of rampart's rows; "" for none
	Dir      string   // a directory on a real disk, for the files under test
	Output   report.Output
	Log      func(format string, args ...any) // progress
}

// Wants reports whether to measure target.
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

// Profile returns the file for the profile of one cell, "" for none.
func (r *Run) Profile(suite, cell string) string {
	if r.Profiles == "" {
		return ""
	}
	return filepath.Join(r.Profiles, fmt.Sprintf("%s-%s.pprof", suite, cell))
}
