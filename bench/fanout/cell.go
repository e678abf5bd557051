//go:build linux

package fanout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/suite"
)

// scenario is one kind of load.
type scenario struct {
	Name        string
	Subscribers int
	Events      int
	Every       time.Duration // between events; 0 is full speed
	Stalled     bool          // one subscriber reads nothing until all others are done
	Sample      int           // the latency of every Sample-th delivery is taken
}

// figures are the measurements of one run of a target under a scenario.
type figures struct {
	Server  serverReport
	Load    loadReport
	Dropped int64
	Seconds float64 // from the first publish to the last delivery
	RSS     int64   // by how much the server's memory grew while the subscribers connected
	Never   bool    // publishing got stuck: no progress for the time watch
}

func (f *figures) perMillion() float64 {
	return f.Server.CPU.Seconds() / float64(f.Load.Received) * 1e6
}

const (
	watch       = 5 * time.Second // publishing without progress for so long counts as stuck
	settle      = 2 * time.Second // events that do not come for so long after publishing count as lost
	settleTiny  = 500 * time.Millisecond
	connectTime = time.Minute      // until all subscribers must be connected and have a first event
	cellTime    = 10 * time.Minute // until publishing and delivery must have ended
	poll        = 100 * time.Millisecond
	pollTiny    = 10 * time.Millisecond
)

// measure runs one cell: one process serves, another reads.
func measure(ctx context.Context, r *suite.Run, t target, s scenario, profile string) (_ *figures, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", t.Name, s.Name, err)
		}
	}()
	dir, err := os.MkdirTemp(r.Dir, t.Name+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := &cell{target: t, scenario: s, lanes: min(t.Lanes, s.Events), settle: settle, poll: poll}
	if r.Tiny {
		c.settle, c.poll = settleTiny, pollTiny
	}
	if c.server, err = child.Start(serverChild, profile); err != nil {
		return nil, err
	}
	defer c.server.Kill()
	if c.load, err = child.Start(loadChild, ""); err != nil {
		return nil, err
	}
	defer c.load.Kill()
	stop := context.AfterFunc(ctx, func() { // end the children, and so our waiting for them
		c.server.Kill()
		c.load.Kill()
	})
	defer stop()

	f, err := c.run(ctx, dir)
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	if err := c.load.Close(); err != nil {
		return nil, err
	}
	if !f.Never {
		if err := c.server.Close(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

type cell struct {
	target       target
	scenario     scenario
	lanes        int
	server, load *child.Process
	settle, poll time.Duration
}

func ask[T any](p *child.Process, do any) (answer T, err error) {
	if err := p.Send(do); err != nil {
		return answer, err
	}
	return answer, p.Receive(&answer)
}

func (c *cell) run(ctx context.Context, dir string) (*figures, error) {
	s := c.scenario
	addr, err := ask[string](c.server, serverJob{Target: c.target.Name, Dir: dir})
	if err != nil {
		return nil, err
	}
	before, err := ask[int64](c.server, publishing{Do: "rss"})
	if err != nil {
		return nil, err
	}
	if err := c.load.Send(loadJob{
		Addr: addr,
		Request: "GET " + c.target.Query + " HTTP/1.1\r\nHost: " + addr +
			"\r\nAccept: text/event-stream\r\nAuthorization: Bearer " + token + "\r\n\r\n",
		Subscribers: s.Subscribers, Lanes: c.lanes, Events: s.Events, Stalled: s.Stalled, Sample: s.Sample,
	}); err != nil {
		return nil, err
	}
	if err := c.connected(ctx); err != nil {
		return nil, err
	}
	after, err := ask[int64](c.server, publishing{Do: "rss"})
	if err != nil {
		return nil, err
	}
	f := &figures{RSS: after - before}
	if _, err := ask[any](c.load, "measure"); err != nil {
		return nil, err
	}
	if _, err := ask[any](c.server, publishing{Do: "publish", Events: s.Events, Every: s.Every, Lanes: c.lanes}); err != nil {
		return nil, err
	}
	readers := s.Subscribers
	if s.Stalled {
		readers--
	}
	p, err := c.deliver(ctx, f, int64(readers)*int64(s.Events))
	if err != nil {
		return nil, err
	}
	if f.Server, err = ask[serverReport](c.server, publishing{Do: "finish"}); err != nil {
		return nil, err
	}
	f.Dropped, f.Seconds = p.Dropped, float64(p.Last-f.Server.First)/1e9
	if s.Stalled && !f.Never {
		if _, err := ask[any](c.load, "resume"); err != nil {
			return nil, err
		}
		if _, err := c.deliver(ctx, f, p.Received+int64(s.Events)); err != nil {
			return nil, err
		}
	}
	f.Load, err = ask[loadReport](c.load, "report")
	return f, err
}

// connected waits until all readers are subscribed. Only a received event shows
// that: some servers answer before they have subscribed the reader, others not
// before the first event.
func (c *cell) connected(ctx context.Context) error {
	begun, last := time.Now(), time.Time{}
	for {
		p, err := ask[loadProgress](c.load, "progress")
		switch {
		case err != nil:
			return err
		case p.Refused != "":
			return fmt.Errorf("a subscriber got %q", p.Refused)
		case p.Dropped > 0:
			return fmt.Errorf("%d subscribers were dropped before anything was published", p.Dropped)
		case p.Warm >= int64(c.scenario.Subscribers):
			return nil
		case time.Since(begun) > connectTime:
			return fmt.Errorf("of %d subscribers %d got a first event", c.scenario.Subscribers, p.Warm)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if time.Since(last) > 10*c.poll {
			if _, err := ask[any](c.server, publishing{Do: "warm"}); err != nil {
				return err
			}
			last = time.Now()
		}
		time.Sleep(c.poll / 10)
	}
}

// deliver waits until wanted events have been received, or no more come.
func (c *cell) deliver(ctx context.Context, f *figures, wanted int64) (loadProgress, error) {
	begun, moved := time.Now(), time.Now()
	var lastReceived, lastPublished int64
	for {
		p, err := ask[loadProgress](c.load, "progress")
		if err != nil {
			return p, err
		}
		q, err := ask[serverProgress](c.server, publishing{Do: "progress"})
		if err != nil {
			return p, err
		}
		if q.Err != "" {
			return p, errors.New(q.Err)
		}
		if p.Received != lastReceived || q.Published != lastPublished {
			lastReceived, lastPublished, moved = p.Received, q.Published, time.Now()
		}
		still := time.Since(moved)
		switch {
		case q.Done && (p.Received >= wanted || still > c.settle):
			return p, nil
		case !q.Done && still > max(watch, 2*c.scenario.Every):
			f.Never = true
			return p, nil
		case time.Since(begun) > cellTime:
			return p, fmt.Errorf("%d of %d events after %v", p.Received, wanted, cellTime)
		case ctx.Err() != nil:
			return p, ctx.Err()
		}
		time.Sleep(c.poll)
	}
}
