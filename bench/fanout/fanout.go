//go:build linux

// Package fanout measures how servers send events to many subscribers over SSE:
// rampart, its peers, and a limit that does only the physical work.
//
// The server is one process and the subscribers are another, over TCP on loopback.
package fanout

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

// Suites of this package.
var Suites = []suite.Suite{
	{Name: "fanout", Does: "one event to many subscribers, beside peers", Run: run},
	{Name: "growth-fanout", Does: "how the cost of telling subscribers grows with their number", Run: grow},
}

// Register registers this package's child processes: see [child.Register].
func Register() {
	child.Register(serverChild, runServer)
	child.Register(loadChild, runLoad)
}

// part is a scenario with its table.
type part struct {
	scenario
	title   string
	columns []report.Column
	note    string
}

var (
	cpu        = report.Column{Key: "cpu", Name: "CPU-s per million", Ratio: true}
	rate       = report.Column{Key: "rate", Name: "deliveries/s", Ratio: true}
	p50        = report.Column{Key: "p50", Name: "p50 ms"}
	p99        = report.Column{Key: "p99", Name: "p99 ms", Ratio: true}
	p999       = report.Column{Key: "p999", Name: "p99.9 ms"}
	lost       = report.Column{Key: "lost", Name: "lost %"}
	duplicates = report.Column{Key: "duplicates", Name: "twice"}
	dropped    = report.Column{Key: "dropped", Name: "dropped subscribers"}
	mean       = report.Column{Key: "mean", Name: "publish mean µs"}
	longest    = report.Column{Key: "longest", Name: "publish longest ms"}
	peakMB     = report.Column{Key: "peak", Name: "peak MB"}
	memory     = report.Column{Key: "memory", Name: "KB per subscriber", Ratio: true}
	published  = report.Column{Key: "published", Name: "published"}
	complete   = report.Column{Key: "complete", Name: "of the others, got all"}
	seconds    = report.Column{Key: "seconds", Name: "s"}
	late       = report.Column{Key: "late", Name: "the stalled one lost %"}
)

func parts(tiny bool) []part {
	steady := scenario{Name: "steady", Subscribers: 1000, Events: 1200, Every: 5 * time.Millisecond, Sample: 1}
	saturated := scenario{Name: "saturated", Subscribers: 100, Events: 50_000, Sample: 8}
	stalled := scenario{Name: "stalled", Subscribers: 100, Events: 20_000, Stalled: true, Sample: 8}
	idle := scenario{Name: "idle", Subscribers: 10_000, Events: 5, Every: 2 * time.Second, Sample: 1}
	if tiny {
		steady.Subscribers, steady.Events = 10, 40
		saturated.Subscribers, saturated.Events = 5, 500
		stalled.Subscribers, stalled.Events = 4, 500
		idle.Subscribers, idle.Events, idle.Every = 20, 2, 50*time.Millisecond
	}
	return []part{
		{steady, fmt.Sprintf("%s subscribers, %s events/s for %v", count(steady.Subscribers), count(int(time.Second/steady.Every)), time.Duration(steady.Events)*steady.Every),
			[]report.Column{cpu, rate, p50, p99, p999, lost, duplicates, dropped, mean, longest, peakMB}, ""},
		{saturated, fmt.Sprintf("%s subscribers, %s events at full speed", count(saturated.Subscribers), count(saturated.Events)),
			[]report.Column{cpu, rate, p50, p99, lost, duplicates, dropped, mean, longest, peakMB}, ""},
		{stalled, fmt.Sprintf("%s subscribers, one of which never reads, %s events at full speed", count(stalled.Subscribers), count(stalled.Events)),
			[]report.Column{complete, published, seconds, cpu, rate, p99, lost, dropped, mean, longest, late, peakMB},
			fmt.Sprintf("Never: publishing did not return and nothing was delivered for %v, so the run was ended. Figures leave out the stalled subscriber. It begins to read when the others are done, and its column says what it still did not get.", watch)},
		{idle, fmt.Sprintf("%s subscribers, one event every %v", count(idle.Subscribers), idle.Every),
			[]report.Column{memory, cpu, p50, p99, p999, lost, dropped, mean, peakMB},
			"Memory is the growth of the resident set from before the subscribers connected until all had a first event, each time after a garbage collection."},
	}
}

// count formats n with a comma at each thousand.
func count(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", count(n/1000), n%1000)
}

func run(ctx context.Context, r *suite.Run) error {
	for _, p := range parts(r.Tiny) {
		if err := runPart(ctx, r, p); err != nil {
			return err
		}
	}
	return nil
}

func runPart(ctx context.Context, r *suite.Run, p part) error {
	table := &report.Table{Name: "fanout-" + p.Name, Title: p.title, Columns: p.columns, Ours: chainTarget().Title}
	frames, notes := spread{math.Inf(1), math.Inf(-1)}, []string(nil)
	for n := range r.Runs { // each round measures all targets, so that drift affects all alike
		for _, t := range targets() {
			if !r.Wants(t.Name) {
				continue
			}
			profile := ""
			if t.Ours {
				profile = r.Profile("fanout", p.Name+"-"+t.Name)
			}
			f, err := measure(ctx, r, t, p.scenario, profile)
			if err != nil {
				return err
			}
			logFigures(r, t, p.scenario, n, f)
			if t.Ours {
				if err := whole(t, p.scenario, f); err != nil {
					return err
				}
			}
			enter(table.Row(t.Title), p.scenario, f)
			frames.add(f)
			if n == 0 && t.Note != "" {
				notes = append(notes, "- "+t.Note)
			}
		}
	}
	if len(table.Rows) == 0 {
		return nil
	}
	table.Notes = append(table.Notes, fmt.Sprintf("CPU is the server process's, with its publishers. An event takes %.0f to %.0f bytes on the wire; targets that write each event by itself add an HTTP chunk to each. Latency is from publishing to the subscriber's read, of %s. A dropped subscriber does not reconnect here. Only ours checks a token.", frames.low, frames.high, sampled(p.Sample)))
	if p.note != "" {
		table.Notes = append(table.Notes, p.note)
	}
	table.Notes = append(table.Notes, strings.Join(notes, "\n"))
	return r.Output.Table(table)
}

func sampled(n int) string {
	if n == 1 {
		return "every delivery"
	}
	return fmt.Sprintf("every %dth delivery", n)
}

// spread is the range of bytes per event on the wire.
type spread struct{ low, high float64 }

func (s *spread) add(f *figures) {
	if f.Load.Received == 0 || f.Load.Lost > 0 || f.Never {
		return // the bytes include events that came only in part
	}
	b := float64(f.Load.Bytes) / float64(f.Load.Received)
	s.low, s.high = min(s.low, b), max(s.high, b)
}

// whole checks that no event was lost or came twice, and no connection was cut off.
func whole(t target, s scenario, f *figures) error {
	var errs []error
	is := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s, %s: %s: %d, not %d", t.Name, s.Name, what, got, want))
		}
	}
	readers := s.Subscribers
	if s.Stalled {
		readers--
		is("events that the stalled subscriber got in the end", f.Load.Stalled.Received, s.Events)
		is("events that it lost", f.Load.Stalled.Lost, 0)
		is("events that it got twice", f.Load.Stalled.Duplicates, 0)
	}
	is("published", int(f.Server.Published), s.Events)
	is("delivered", f.Load.Received, readers*s.Events)
	is("lost", f.Load.Lost, 0)
	is("delivered twice", f.Load.Duplicates, 0)
	is("subscribers with everything", f.Load.Complete, readers)
	is("subscribers dropped", int(f.Dropped), 0)
	return errors.Join(errs...)
}

func enter(row *report.Row, s scenario, f *figures) {
	readers := s.Subscribers
	if s.Stalled {
		readers--
	}
	expected := float64(readers * s.Events)
	if f.Load.Received > 0 {
		row.Add("cpu", f.perMillion())
		row.Add("rate", float64(f.Load.Received)/f.Seconds)
	}
	if f.Load.Timed > 0 {
		row.Add("p50", f.Load.P50)
		row.Add("p99", f.Load.P99)
		row.Add("p999", f.Load.P999)
	}
	row.Add("lost", float64(f.Load.Lost)/expected*100)
	row.Add("duplicates", float64(f.Load.Duplicates))
	row.Add("dropped", float64(f.Dropped))
	row.Add("published", float64(f.Server.Published))
	row.Add("complete", float64(f.Load.Complete))
	row.Add("memory", float64(f.RSS)/1024/float64(s.Subscribers))
	row.Add("peak", float64(f.Server.Peak)/(1<<20))
	row.Add("mean", float64(f.Server.Mean)/1e3)
	if f.Never {
		for _, key := range []string{"seconds", "mean", "longest", "rate", "cpu"} {
			row.Say(key, "never")
		}
		row.Say("late", "–")
		return
	}
	row.Add("seconds", f.Seconds)
	row.Add("longest", float64(f.Server.Longest)/1e6)
	row.Add("late", float64(f.Load.Stalled.Lost)/float64(s.Events)*100)
}

func logFigures(r *suite.Run, t target, s scenario, n int, f *figures) {
	r.Log("%-10s %-12s run %d: %.3g CPU-s/M, %.3g/s, p50 %.3g p99 %.3g ms, lost %d, twice %d, dropped %d, publish mean %v longest %v, %.1f KB each, %.0f B an event",
		s.Name, t.Name, n+1, f.perMillion(), float64(f.Load.Received)/f.Seconds, f.Load.P50, f.Load.P99, f.Load.Lost, f.Load.Duplicates, f.Dropped,
		f.Server.Mean, f.Server.Longest, float64(f.RSS)/1024/float64(s.Subscribers), float64(f.Load.Bytes)/float64(max(1, f.Load.Received)))
}
