//go:build linux

package audit

import (
	"fmt"

	"github.com/rampartlog/rampart/bench/child"
)

// job tells a child what to do with one target.
type job struct {
	Work    string
	Target  string
	Dir     string
	Mode    mode
	Events  int // how many the log has, or is to get
	Writers int
	Batch   int  // events in one AppendAll of a bulk load; the target's own number when 0
	Cores   int  // cores for the limit's verification; all when 0
	Check   bool // check that every event is there once
	Decode  bool
	Leave   bool // do not close the log: the child waits to be killed
	Long    bool // measure often enough for a steady median
}

// figures are a child's measurements, by the key of their column.
type figures map[string]float64

// Register registers this package's child process: see [child.Register].
func Register() { child.Register("audit", serve) }

var works = map[string]func(c *child.Conn, j *job, t target) error{
	"append": doAppend, "bulk": doBulk, "verify": doVerify, "open": doOpen, "fill": doFill, "query": doQuery,
}

func serve(c *child.Conn) error {
	var j job
	if err := c.Receive(&j); err != nil {
		return err
	}
	t, err := targetOf(j.Target)
	if err != nil {
		return err
	}
	work, ok := works[j.Work]
	if !ok {
		return fmt.Errorf("no work %q", j.Work)
	}
	names()
	if err := work(c, &j, t); err != nil {
		return fmt.Errorf("%s, %s: %w", j.Target, j.Work, err)
	}
	return nil
}
