//go:build linux

package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

// doOpen opens the log once, as a program does when it starts.
func doOpen(c *child.Conn, j *job, t target) error {
	began := time.Now()
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	spent := time.Since(began)
	n, err := log.Len()
	if err != nil {
		return err
	}
	if n != j.Events {
		return fmt.Errorf("%d events in the log, %d were acknowledged", n, j.Events)
	}
	if j.Leave {
		if err := log.Append(event(n)); err != nil {
			return err
		}
		n++
	}
	if err := c.Send(figures{"ms": 1e3 * spent.Seconds(), "events": float64(n)}); err != nil {
		return err
	}
	if j.Leave {
		return linger(c)
	}
	return log.Close()
}

// linger waits until the process is killed, so that the log is not closed.
func linger(c *child.Conn) error {
	var never any
	return c.Receive(&never)
}

// liveFull is the size that rampart's live segment has when the process is killed.
// Recovery reads only that segment, and a segment ends at 16 MiB.
const liveFull = 15 << 20

// doFill appends durably, reports how many events the log has, and waits to be killed.
func doFill(c *child.Conn, j *job, t target) error {
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	n := j.Events
	// One by one, so that recovery has something to do in sqlite's write-ahead log.
	for range 100 {
		if err := log.Append(event(n)); err != nil {
			return err
		}
		n++
	}
	for j.Target == ours && j.Long {
		full, err := newestSize(j.Dir)
		if err != nil {
			return err
		}
		if full >= liveFull {
			break
		}
		batch := min(1000, max(1, int(liveFull-full)/lineSize))
		if err := log.AppendAll(events(nil, n, n+batch)); err != nil {
			return err
		}
		n += batch
	}
	if err := c.Send(figures{"events": float64(n)}); err != nil {
		return err
	}
	return linger(c)
}

// newestSize returns the size of the newest segment in dir.
func newestSize(dir string) (int64, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(slices.Max(names))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
