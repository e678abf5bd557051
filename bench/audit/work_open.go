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

// doOpen opens once, as a program that begins.
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

// linger ends with the process, without an orderly end.
func linger(c *child.Conn) error {
	var never any
	return c.Receive(&never)
}

// liveFull is to what size the live segment of ours grows before it is left
// unclean: recovery reads no more than that one, which ends at 16 MiB.
const liveFull = 15 << 20

// doFill appends durably, says how many events the log has, and waits to be killed.
func doFill(c *child.Conn, j *job, t target) error {
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	n := j.Events
	// One by one, so that sqlite's own log has something to be recovered from.
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

// newestSize is the size of the newest segment in dir.
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
