//go:build linux

package fanout

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

// growthTargets are rampart and the limit. The limit shows how much of rampart's
// growth is physical.
func growthTargets() []target { return []target{chainTarget(), limitTarget()} }

// With fewer subscribers, their memory is lost in the noise of the process's own.
const memorySubscribers = 100

// atSpeed publishes at full speed. It bounds the deliveries, so that all sizes take
// about the same time.
func atSpeed(subscribers int, tiny bool) scenario {
	most, events := 3_000_000, 50_000
	if tiny {
		most, events = 2_000, 500
	}
	return scenario{Name: "saturated", Subscribers: subscribers, Events: min(events, most/subscribers), Sample: 8}
}

// paced publishes at a rate that one processor can deliver event by event.
func paced(subscribers int, tiny bool) scenario {
	perSecond, length := min(100, 200_000/subscribers), 5*time.Second
	if tiny {
		length = 200 * time.Millisecond
	}
	return scenario{Name: "steady", Subscribers: subscribers, Events: perSecond * int(length/time.Millisecond) / 1000, Every: time.Second / time.Duration(perSecond), Sample: 1}
}

func grow(ctx context.Context, r *suite.Run) error {
	sizes, remember := []int{1, 10, 100, 1_000, 10_000}, memorySubscribers
	if r.Tiny {
		sizes, remember = []int{1, 10}, 10
	}
	table := &report.Table{
		Name: "growth-fanout", Title: "target, subscribers",
		Columns: []report.Column{
			{Key: "cpu", Name: "at full speed: CPU-s per million"},
			{Key: "rate", Name: "deliveries/s"},
			mean, longest,
			{Key: "pace", Name: "paced: events/s"},
			p50, p99,
			{Key: "memory", Name: "KB per subscriber"},
		},
		Notes: []string{"At full speed: as many events as make three million deliveries, 50,000 at most; latency there is not shown. CPU is the server process's with its publishers, so that with few subscribers it is mostly the appending. Paced: 100 events/s for 5 s, fewer where that would be more than 200,000 deliveries/s. Memory as in the table of idle subscribers."},
	}
	at := func(t target, subscribers int) *report.Row {
		return table.Row(fmt.Sprintf("%s, %s", t.Title, count(subscribers)))
	}
	for _, t := range growthTargets() { // so that the rows of a target stand together
		for _, subscribers := range sizes {
			if r.Wants(t.Name) {
				at(t, subscribers)
			}
		}
	}
	for n := range r.Runs {
		for _, subscribers := range sizes {
			for _, t := range growthTargets() {
				if !r.Wants(t.Name) {
					continue
				}
				row := at(t, subscribers)
				for _, s := range []scenario{atSpeed(subscribers, r.Tiny), paced(subscribers, r.Tiny)} {
					profile := r.Profile("growth-fanout", fmt.Sprintf("%s-%s-%d", s.Name, t.Name, subscribers))
					f, err := measure(ctx, r, t, s, profile)
					if err != nil {
						return err
					}
					logFigures(r, t, s, n, f)
					if err := whole(t, s, f); err != nil {
						return err
					}
					if s.Every == 0 {
						row.Add("cpu", f.perMillion())
						row.Add("rate", float64(f.Load.Received)/f.Seconds)
						row.Add("mean", float64(f.Server.Mean)/1e3)
						row.Add("longest", float64(f.Server.Longest)/1e6)
						continue
					}
					row.Add("pace", float64(time.Second/s.Every))
					row.Add("p50", f.Load.P50)
					row.Add("p99", f.Load.P99)
					if subscribers >= remember {
						row.Add("memory", float64(f.RSS)/1024/float64(subscribers))
					}
				}
			}
		}
	}
	if len(table.Rows) == 0 {
		return nil
	}
	if err := r.Output.Table(table); err != nil {
		return err
	}
	for _, p := range []struct{ key, name, title, y string }{
		{"cpu", "cpu", "What a delivery costs, at full speed", "CPU-seconds per million deliveries"},
		{"p99", "latency", "99th percentile of latency, paced", "ms"},
		{"memory", "memory", "Memory of an idle subscriber", "KB"},
	} {
		plot := &report.Plot{Name: "growth-fanout-" + p.name, Title: p.title, X: "subscribers", Y: p.y}
		for _, t := range growthTargets() {
			line := report.Line{Name: t.Title}
			for _, subscribers := range sizes {
				if v := at(t, subscribers).Median(p.key); r.Wants(t.Name) && !math.IsNaN(v) && v > 0 {
					line.Points = append(line.Points, report.Point{X: float64(subscribers), Y: v})
				}
			}
			if len(line.Points) > 0 {
				plot.Lines = append(plot.Lines, line)
			}
		}
		if len(plot.Lines) == 0 {
			return fmt.Errorf("no figures for the plot %s", plot.Name)
		}
		if err := r.Output.Plot(plot); err != nil {
			return err
		}
	}
	return nil
}
