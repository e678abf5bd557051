//go:build linux

package audit

import (
	"runtime"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

func doQuery(c *child.Conn, j *job, t target) error {
	heap := heapAlloc()
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	f := figures{}
	for _, q := range queries(j.Events) {
		want := q.expect(j.Events)
		var times []time.Duration
		for total := time.Duration(0); len(times) == 0 || j.Long && len(times) < 1000 && total < 300*time.Millisecond; {
			began := time.Now()
			a, err := log.Query(&q, j.Decode)
			times = append(times, time.Since(began))
			if err != nil {
				return err
			}
			if err := q.check(a, want); err != nil {
				return err
			}
			total += times[len(times)-1]
		}
		f[q.name] = 1e3 * median(times).Seconds()
	}
	f["heap"] = float64(heapAlloc()-heap) / (1 << 20)
	runtime.KeepAlive(log)
	if err := log.Close(); err != nil {
		return err
	}
	return c.Send(f)
}
