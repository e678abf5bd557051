//go:build linux

package audit

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

// doAppend appends durably, one slice of time for each command. Between the slices
// the other targets have theirs, because the disk's speed drifts.
func doAppend(c *child.Conn, j *job, t target) error {
	log, err := t.open(j.Dir, j.Mode)
	if err != nil {
		return err
	}
	if err := c.Send("open"); err != nil {
		return err
	}
	var (
		next  atomic.Int64
		times = make([][]time.Duration, j.Writers)
		errs  = make([]error, j.Writers)
		spent time.Duration
		cpu   = child.CPU()
	)
	for {
		var slice time.Duration
		if err := c.Receive(&slice); err != nil {
			return err
		}
		if slice == 0 {
			break
		}
		began := time.Now()
		var wg sync.WaitGroup
		for w := range j.Writers {
			wg.Go(func() {
				for before := time.Now(); before.Sub(began) < slice && errs[w] == nil; {
					errs[w] = log.Append(event(int(next.Add(1) - 1)))
					now := time.Now()
					times[w], before = append(times[w], now.Sub(before)), now
				}
			})
		}
		wg.Wait()
		spent += time.Since(began)
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if err := c.Send("slice"); err != nil {
			return err
		}
	}
	if err := log.Close(); err != nil {
		return err
	}
	cpu = child.CPU() - cpu // with background work between the slices
	all := slices.Concat(times...)
	slices.Sort(all)
	n := float64(len(all))
	return c.Send(figures{
		"events": n, "rate": n / spent.Seconds(), "cpu": cpu.Seconds() * 1e6 / n,
		"p50": 1e3 * all[len(all)/2].Seconds(), "p99": 1e3 * all[len(all)*99/100].Seconds(),
	})
}
