//go:build linux

// Command bench measures rampart and its peers, on loopback and in one directory,
// and prints tables as Markdown. docs/benchmarks.md has the results and says how to
// repeat them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/rampartlog/rampart/bench/audit"
	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/fanout"
	"github.com/rampartlog/rampart/bench/ingest"
	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

// suites in the order in which they are run.
var suites = slices.Concat(
	fanout.Suites,
	ingest.Suites,
	audit.Suites,
)

func main() {
	fanout.Register()
	ingest.Register()
	audit.Register()
	child.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	tiny := flags.Bool("tiny", false, "the smallest sizes, one run: shows that everything works, measures nothing")
	runs := flags.Int("runs", 3, "how often each cell is measured; tables show medians")
	targets := flags.String("targets", "", "only these targets, separated by commas")
	profiles := flags.String("profiles", "", "`directory` for CPU profiles of our rows")
	dir := flags.String("dir", "", "`directory` for the measured logs, on the disk to measure; a temporary one by default")
	out := flags.String("out", "out", "`directory` for tables and plots")
	document := flags.String("document", "", "Markdown `file` to update with the tables; plots go to the directory of its name: ../docs/benchmarks.md")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "bench [flags] [suite ...], or make bench FLAGS='[flags] [suite ...]'\n\nAll suites run when none is named:")
		for _, s := range suites {
			fmt.Fprintf(flags.Output(), "  %-10s %s\n", s.Name, s.Does)
		}
		fmt.Fprintln(flags.Output(), "\nFlags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	for _, name := range flags.Args() {
		if !slices.ContainsFunc(suites, func(s suite.Suite) bool { return s.Name == name }) {
			return fmt.Errorf("there is no suite %q: see -h", name)
		}
	}
	r := &suite.Run{
		Tiny: *tiny, Runs: max(1, *runs), Profiles: *profiles,
		Output: report.Output{Dir: *out, Document: *document},
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	if *tiny {
		r.Runs = 1
	}
	if *targets != "" {
		r.Targets = strings.Split(*targets, ",")
	}
	if r.Profiles != "" {
		if err := os.MkdirAll(r.Profiles, 0o755); err != nil {
			return err
		}
	}
	var err error
	if r.Dir, err = os.MkdirTemp(*dir, "rampart-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.Dir)
	for _, s := range suites {
		if flags.NArg() > 0 && !slices.Contains(flags.Args(), s.Name) {
			continue
		}
		r.Log("== %s: %s", s.Name, s.Does)
		if err := s.Run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}
