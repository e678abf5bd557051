//go:build linux

package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

func growth(ctx context.Context, r *suite.Run) error {
	writers, events := []int{1, 2, 4, 8, 16, 32, 64, 128, 256}, []int{10_000, 100_000, 1_000_000, 10_000_000}
	if r.Tiny {
		writers, events = []int{1, 64}, []int{100, 1000}
	}
	if err := growWriters(ctx, r, writers); err != nil {
		return err
	}
	return growEvents(ctx, r, events)
}

// curve is a line of a plot and the column that it shows.
type curve struct{ name, key string }

// plot adds the curves to p. Row i of t has the values at xs[i].
func plot(t *report.Table, p report.Plot, xs []int, curves ...curve) *report.Plot {
	for _, c := range curves {
		line := report.Line{Name: c.name}
		for i, x := range xs {
			line.Points = append(line.Points, report.Point{X: float64(x), Y: t.Rows[i].Median(c.key)})
		}
		p.Lines = append(p.Lines, line)
	}
	return &p
}

func output(r *suite.Run, t *report.Table, plots ...*report.Plot) error {
	if err := r.Output.Table(t); err != nil {
		return err
	}
	for _, p := range plots {
		if err := r.Output.Plot(p); err != nil {
			return err
		}
	}
	return nil
}

func growWriters(ctx context.Context, r *suite.Run, writers []int) error {
	t := &report.Table{
		Name: "growth-append", Title: "Durable append",
		Columns: []report.Column{
			{Key: "rate", Name: "events/s"}, {Key: "limit-rate", Name: "limit"}, {Key: "share", Name: "of the limit"},
			{Key: "p50", Name: "p50 ms"}, {Key: "p99", Name: "p99 ms"}, {Key: "limit-p99", Name: "limit p99 ms"},
			{Key: "cpu", Name: "CPU µs/event"},
		},
	}
	s := sizeOf(r)
	for run := range r.Runs {
		for _, n := range writers {
			r.Log("run %d: durable append, writers: %d", run+1, n)
			got, err := appends(ctx, r, "growth-audit", n, []appender{{ours, ours, mode{}}, {limit, limit, mode{Group: n > 1}}}, s.turns, s.slice)
			if err != nil {
				return err
			}
			row := t.Row(fmt.Sprintf("writers: %d", n))
			add(row, "", got[ours])
			add(row, "limit-", got[limit])
			row.Add("share", got[ours]["rate"]/got[limit]["rate"])
		}
	}
	return output(r, t,
		plot(t, report.Plot{Name: "growth-append-rate", Title: "Durable append: rate", X: "writers", Y: "events/s"}, writers,
			curve{ours, "rate"}, curve{limit, "limit-rate"}),
		plot(t, report.Plot{Name: "growth-append-latency", Title: "Durable append: latency", X: "writers", Y: "ms"}, writers,
			curve{ours + " p50", "p50"}, curve{ours + " p99", "p99"}, curve{limit + " p99", "limit-p99"}))
}

func growEvents(ctx context.Context, r *suite.Run, sizes []int) error {
	t := &report.Table{
		Name: "growth-size", Title: "The log's length",
		Columns: []report.Column{
			{Key: "newest", Name: "newest 50 of all, µs"}, {Key: "agent", Name: "of an agent, 1 %"},
			{Key: "deny", Name: "deny and exec, 0.1 %"}, {Key: "middle", Name: "10 minutes in the middle"},
			{Key: "absent", Name: "of no agent"},
			{Key: "clean", Name: "open after Close, ms"}, {Key: "unclean", Name: "after a kill, ms"},
			{Key: "verify", Name: "verify, events/s"}, {Key: "limit", Name: "limit"}, {Key: "share", Name: "of the limit"},
			{Key: "heap", Name: "index, heap MiB"}, {Key: "index", Name: "disk, % of lines"},
		},
		Notes: []string{"Opening after a kill: with 15 of at most 16 MiB in the live segment, added after the other figures were taken."},
	}
	for _, n := range sizes {
		if err := growSize(ctx, r, n, t.Row(report.Format(float64(n))+" events")); err != nil {
			return err
		}
	}
	return output(r, t,
		plot(t, report.Plot{Name: "growth-query", Title: "The newest 50", X: "events in the log", Y: "µs"}, sizes,
			curve{"of all", "newest"}, curve{"of an agent, 1 %", "agent"}, curve{"deny and exec, 0.1 %", "deny"},
			curve{"10 min in the middle", "middle"}, curve{"of no agent", "absent"}),
		plot(t, report.Plot{Name: "growth-open", Title: "Open", X: "events in the log", Y: "ms"}, sizes,
			curve{"after Close", "clean"}, curve{"after a kill", "unclean"}),
		plot(t, report.Plot{Name: "growth-verify", Title: "Verification", X: "events in the log", Y: "events/s"}, sizes,
			curve{ours, "verify"}, curve{limit, "limit"}))
}

// growSize fills a log with n events and measures it. Only the last step changes the log.
func growSize(ctx context.Context, r *suite.Run, n int, row *report.Row) error {
	dir, err := os.MkdirTemp(r.Dir, "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	j := job{Target: ours, Dir: filepath.Join(dir, "log"), Events: n, Long: !r.Tiny}
	do := func(work, target string, m mode) (figures, error) {
		j := j
		j.Work, j.Target, j.Mode = work, target, m
		return ask(ctx, j, profile(r, "growth-audit", &j))
	}
	r.Log("%d events: fill", n)
	f, err := do("bulk", ours, mode{NoSync: true})
	if err != nil {
		return err
	}
	row.Add("index", f["index"])
	for run := range r.Runs {
		r.Log("%d events: run %d", n, run+1)
		f, err := do("query", ours, mode{})
		if err != nil {
			return err
		}
		row.Add("heap", f["heap"])
		for _, q := range queries(n) {
			row.Add(q.name, 1e3*f[q.name])
		}
		checked, err := do("verify", ours, mode{})
		if err != nil {
			return err
		}
		// The limit reads the same files.
		least, err := do("verify", limit, mode{})
		if err != nil {
			return err
		}
		row.Add("verify", checked["rate"])
		row.Add("limit", least["rate"])
		row.Add("share", checked["rate"]/least["rate"])
	}
	s := sizeOf(r)
	s.opens *= r.Runs
	return opens(ctx, s, j, row.Add)
}
