//go:build linux

package audit

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

func doVerify(c *child.Conn, j *job, t target) error {
	cores := j.Cores
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	var seen func([]byte) error
	if j.Check {
		there := make([]bool, j.Events)
		seen = func(line []byte) error {
			i, err := numberOf(line)
			if err != nil {
				return err
			}
			if i >= len(there) || there[i] {
				return fmt.Errorf("event %d is in the log twice, or was never acknowledged", i)
			}
			there[i] = true
			return nil
		}
	}
	var times []time.Duration
	cpu := child.CPU()
	for range 3 {
		began := time.Now()
		n, err := t.verify(j.Dir, cores, seen)
		if err != nil {
			return err
		}
		if n != j.Events {
			return fmt.Errorf("%d events in the log, %d were acknowledged", n, j.Events)
		}
		if times = append(times, time.Since(began)); t.once || !j.Long || times[0] > 5*time.Second {
			break
		}
	}
	cpu = (child.CPU() - cpu) / time.Duration(len(times))
	s, n := median(times).Seconds(), float64(j.Events)
	return c.Send(figures{"rate": n / s, "ms": 1e3 * s, "mbs": n * lineSize / s / 1e6, "cpu": cpu.Seconds() * 1e6 / n})
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
