//go:build linux

package audit

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

// Suites of this package.
var Suites = []suite.Suite{
	{Name: "audit", Does: "the log beside raft-wal, tidwall/wal, bbolt and sqlite with a hash chain around them", Run: beside},
	{Name: "growth-audit", Does: "how the log's cost grows with writers and with its length", Run: growth},
}

// size says how much of everything a suite does.
type size struct {
	events int
	turns  int // turns of durable appends, each one slice long
	slice  time.Duration
	opens  int
}

func sizeOf(r *suite.Run) size {
	if r.Tiny {
		return size{events: 2000, turns: 1, slice: 30 * time.Millisecond, opens: 1}
	}
	return size{events: 1_000_000, turns: 4, slice: time.Second, opens: 3}
}

// tables of the suite audit.
type tables struct{ append, bulk, verify, open, query *report.Table }

func newTables() tables {
	rate := report.Column{Key: "rate", Name: "events/s", Ratio: true}
	cpu := report.Column{Key: "cpu", Name: "CPU µs/event", Ratio: true}
	query := func(key, name string) report.Column {
		return report.Column{Key: key, Name: name + ", ms", Ratio: true}
	}
	return tables{
		append: &report.Table{
			Name: "audit-append", Title: "Durable append", Ours: ours,
			Columns: []report.Column{
				{Key: "1-rate", Name: "1 writer: events/s", Ratio: true},
				{Key: "1-p50", Name: "p50 ms"}, {Key: "1-p99", Name: "p99 ms"},
				{Key: "1-cpu", Name: "CPU µs/event", Ratio: true},
				{Key: "64-rate", Name: "64 writers: events/s", Ratio: true},
				{Key: "64-p50", Name: "p50 ms"}, {Key: "64-p99", Name: "p99 ms"},
				{Key: "64-cpu", Name: "CPU µs/event", Ratio: true},
			},
			Notes: []string{"*group*: with the benchmark's group committer, since the library has none. *limit*: writes and syncs lines that were made before; 64 writers share the same committer. Without *group*, 64 writers use bbolt's Batch, and take turns with the other libraries."},
		},
		bulk: &report.Table{
			Name: "audit-bulk", Title: "Bulk load", Ours: ours,
			Columns: []report.Column{rate, cpu, {Key: "mbs", Name: "MB/s of lines"}, {Key: "disk", Name: "disk MiB", Ratio: true}, {Key: "heap", Name: "heap MiB"}, {Key: "index", Name: "index, % of lines"}},
			Notes:   []string{"In batches of 1,000 that do not wait for the disk. *durable* and raft-wal, which can't skip the sync, use batches of 10,000 with one sync each. *limit*: encodes without checks, hashes and writes, no index."},
		},
		verify: &report.Table{
			Name: "audit-verify", Title: "Verification", Ours: ours,
			Columns: []report.Column{rate, {Key: "mbs", Name: "MB/s of lines"}, {Key: "ms", Name: "ms for all"}, cpu},
			Notes:   []string{"*limit*: hashes each line, and checks no links, order or syntax."},
		},
		open: &report.Table{
			Name: "audit-open", Title: "Open", Ours: ours,
			Columns: []report.Column{{Key: "clean", Name: "after Close, ms", Ratio: true}, {Key: "unclean", Name: "after a kill, ms", Ratio: true}},
			Notes:   []string{"Time until the head is known, in a process that has just started. Before the kill, rampart has 15 of at most 16 MiB in its live segment, all of which it checks and copies; the others have appended 100 events, one by one."},
		},
		query: &report.Table{
			Name: "audit-query", Title: "The newest 50", Ours: ours,
			Columns: []report.Column{
				query("newest", "of all"), query("agent", "of an agent, 1 %"), query("deny", "deny and exec, 0.1 %"),
				query("middle", "10 minutes in the middle"), query("absent", "of no agent"),
				{Key: "heap", Name: "heap MiB"},
			},
			Notes: []string{"rampart and sqlite return stored lines, *decoded* returns events. The others can only be read from the end, and each event must be decoded to see whether it matches."},
		},
	}
}

func beside(ctx context.Context, r *suite.Run) error {
	s, t := sizeOf(r), newTables()
	for run := range r.Runs {
		for _, writers := range []int{1, 64} {
			r.Log("run %d: durable append, writers: %d", run+1, writers)
			if err := t.appendCell(ctx, r, s, writers); err != nil {
				return err
			}
		}
		for _, name := range append([]string{ours, limit}, peers...) {
			if r.Wants(name) {
				r.Log("run %d: %d events, %s", run+1, s.events, name)
				if err := t.history(ctx, r, s, name); err != nil {
					return err
				}
			}
		}
	}
	for _, table := range []*report.Table{t.append, t.bulk, t.verify, t.open, t.query} {
		if err := r.Output.Table(table); err != nil {
			return err
		}
	}
	return nil
}

func (t *tables) appendCell(ctx context.Context, r *suite.Run, s size, writers int) error {
	list := []appender{{ours, ours, mode{}}, {limit, limit, mode{Group: writers > 1}}}
	for _, p := range peers {
		list = append(list, appender{p, p, mode{Shared: writers > 1}})
		if writers > 1 {
			list = append(list, appender{p + ", group", p, mode{Group: true}})
		}
	}
	list = wanted(r, list)
	got, err := appends(ctx, r, "audit", writers, list, s.turns, s.slice)
	if err != nil {
		return err
	}
	prefix := map[bool]string{true: "1-", false: "64-"}[writers == 1]
	for _, a := range list {
		add(t.append.Row(a.row), prefix, got[a.row])
	}
	return nil
}

func wanted(r *suite.Run, list []appender) (out []appender) {
	for _, a := range list {
		if r.Wants(a.target) {
			out = append(out, a)
		}
	}
	return out
}

func add(row *report.Row, prefix string, f figures) {
	for key, v := range f {
		row.Add(prefix+key, v)
	}
}

// history fills a target's log, and measures every kind of work on it.
func (t *tables) history(ctx context.Context, r *suite.Run, s size, name string) error {
	dir, err := os.MkdirTemp(r.Dir, "history-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	do := func(table *report.Table, row string, j job) error {
		j.Target, j.Events, j.Long = name, s.events, !r.Tiny
		if j.Dir == "" {
			j.Dir = filepath.Join(dir, "log")
		}
		f, err := ask(ctx, j, profile(r, "audit", &j))
		if err == nil {
			add(table.Row(row), "", f)
		}
		return err
	}
	if err := do(t.bulk, name, job{Work: "bulk", Mode: mode{NoSync: true}}); err != nil {
		return err
	}
	if name == ours {
		durable := filepath.Join(dir, "durable")
		if err := do(t.bulk, name+", durable", job{Work: "bulk", Batch: 10_000, Dir: durable}); err != nil {
			return err
		}
		if err := os.RemoveAll(durable); err != nil {
			return err
		}
	}
	if err := do(t.verify, name, job{Work: "verify"}); err != nil {
		return err
	}
	if name == limit {
		return do(t.verify, name+", one core", job{Work: "verify", Cores: 1})
	}
	if err := do(t.query, name, job{Work: "query"}); err != nil {
		return err
	}
	if name == ours || name == "sqlite" {
		if err := do(t.query, name+", decoded", job{Work: "query", Decode: true}); err != nil {
			return err
		}
	}
	row := t.open.Row(name)
	return opens(ctx, s, job{Target: name, Dir: filepath.Join(dir, "log"), Events: s.events, Long: !r.Tiny}, row.Add)
}

// opens opens j's log several times after a Close, then several times after a kill.
// The kills come last, because they add events.
func opens(ctx context.Context, s size, j job, add func(key string, v float64)) error {
	j.Work = "open"
	for range s.opens {
		f, err := ask(ctx, j, "")
		if err != nil {
			return err
		}
		add("clean", f["ms"])
	}
	j.Work, j.Leave = "fill", true
	f, err := ask(ctx, j, "")
	if err != nil {
		return err
	}
	j.Work = "open"
	for range s.opens {
		j.Events = int(f["events"])
		if f, err = ask(ctx, j, ""); err != nil {
			return err
		}
		add("unclean", f["ms"])
	}
	return nil
}
