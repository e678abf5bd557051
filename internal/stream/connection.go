package stream

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/sse"
)

const (
	// lastWrite is what a stream that ends may take to get its last bytes out.
	lastWrite = time.Second

	// A deadline is for a whole write, whatever progress that makes. A write is
	// therefore small until the client is seen to take a larger one at once: a
	// reader that takes bytes, however slowly, is not cut off.
	firstPiece = 4 << 10
	swift      = 100 * time.Millisecond

	shortRest = 100 * time.Millisecond
)

// connection is one open stream, driven by its handler's goroutine.
type connection struct {
	stream *Server
	sub    *bus.Subscriber
	after  string // the position to resume after, as the client gave it
	resume bus.Resume
	filter filter
	w      http.ResponseWriter
	rc     *http.ResponseController
	http2  bool
	timer  *time.Timer
	last   time.Time // of the last flush
	piece  int       // bytes that are written under one deadline

	mu       sync.Mutex
	final    bool      // the deadline is the last one
	deadline time.Time // of the write under way
}

// serve sends until something ends the stream, and returns the reason.
func (c *connection) serve(ctx context.Context) (reason string) {
	c.timer = time.NewTimer(c.stream.opts.Heartbeat)
	defer c.timer.Stop()
	stop := context.AfterFunc(c.stream.closing, c.finish)
	defer stop()
	defer c.finish() // the end of the body gets its moment too

	setHeader(c.w.Header())
	if err := c.greet(); err != nil {
		return c.blame(ctx)
	}
	for {
		wait, d, reason := c.turn(ctx)
		if reason != "" {
			return reason
		}
		c.pause(ctx, wait, d)
	}
}

// turn sends what there is. It returns for how long to rest, or until when to
// wait for more, or why the stream ends.
func (c *connection) turn(ctx context.Context) (wait <-chan struct{}, d time.Duration, reason string) {
	s := c.stream
	if s.closing.Err() != nil {
		return nil, 0, shutdown
	}
	if ctx.Err() != nil {
		return nil, 0, client
	}
	silent := time.Since(c.last)
	if silent >= s.opts.Heartbeat {
		if err := c.send([]byte(sse.Keepalive)); err != nil {
			return nil, 0, c.blame(ctx)
		}
		silent = 0
	}
	run, wait, err := c.sub.Next(ctx)
	if err != nil {
		return nil, 0, c.fault(ctx, err)
	}
	if wait != nil {
		return wait, s.opts.Heartbeat - silent, ""
	}
	b, counts, err := c.filter.apply(ctx, s.bus, run)
	if err != nil {
		return nil, 0, c.fault(ctx, err)
	}
	if len(b) == 0 {
		return nil, 0, ""
	}
	if err := c.send(b); err != nil {
		return nil, 0, c.blame(ctx)
	}
	s.count(counts)
	if !run.More {
		d = s.rest()
	}
	return nil, d, ""
}

// greet sends what a stream begins with.
func (c *connection) greet() error {
	id, counts := c.after, framelog.Counts{}
	switch c.resume {
	case bus.None:
		id = c.sub.Head()
	case bus.Malformed:
		id = "" // the client keeps its own
	}
	b := sse.AppendConnected(nil, []byte(id))
	if c.resume != bus.None && c.resume != bus.OK {
		if c.filter.shows(bus.KindLarge) { // in place of audit messages
			b = sse.AppendBatch(b, "", []byte(c.sub.Head()))
			counts[bus.KindLarge]++
		}
		if c.filter.shows(bus.KindApprovals) {
			b = append(b, bus.ApprovalsFrame...)
			counts[bus.KindApprovals]++
		}
	}
	if err := c.send(b); err != nil {
		return err
	}
	c.stream.connected.Add(1)
	c.stream.count(counts)
	return nil
}

// send writes b and flushes it, each piece within a deadline of its own: the
// server's WriteTimeout counts from the request, and without one a dead peer
// would hold the handler for as long as TCP takes.
func (c *connection) send(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), max(c.piece, firstPiece))
		began := time.Now()
		if err := c.extend(began); err != nil {
			return err
		}
		if _, err := c.w.Write(b[:n]); err != nil {
			return err
		}
		// After a deadline Write may still succeed into a buffer; Flush tells.
		if err := c.rc.Flush(); err != nil {
			return err
		}
		c.last = time.Now()
		if c.last.Sub(began) < swift {
			c.piece = max(c.piece, min(2*n, framelog.ChunkSize))
		} else {
			c.piece = firstPiece
		}
		b = b[n:]
	}
	if c.http2 { // HTTP/2 resets a stream whose deadline passes, even an idle one
		return c.setDeadline(time.Time{})
	}
	return nil
}

// extend gives a write that begins now its time, and up to a sixteenth more:
// setting a deadline for every write would cost a tenth of a small one.
func (c *connection) extend(now time.Time) error {
	t := c.stream.opts.WriteTimeout
	if c.deadline.Sub(now) >= t {
		return nil
	}
	return c.setDeadline(now.Add(t).Add(t / 16)) // t alone may be the longest there is
}

func (c *connection) setDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final {
		return nil
	}
	c.deadline = t
	if err := c.rc.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// finish sets the last deadline, for the write under way or the last one. No later
// deadline replaces it, and after the call finish does not touch the writer again.
func (c *connection) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final {
		return
	}
	c.final = true
	c.rc.SetWriteDeadline(time.Now().Add(lastWrite))
}

// pause waits until wait is closed, for d, or until the stream is to end. A short
// rest does not look out for the end, which would cost as much as a small write.
func (c *connection) pause(ctx context.Context, wait <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	if wait == nil && d <= shortRest {
		time.Sleep(d)
		return
	}
	c.timer.Reset(d)
	select {
	case <-wait:
	case <-c.timer.C:
	case <-ctx.Done():
	case <-c.stream.closing.Done():
	}
}

// blame says why a write failed.
func (c *connection) blame(ctx context.Context) string {
	switch {
	case c.stream.closing.Err() != nil:
		return shutdown
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		return writeTimeout
	case ctx.Err() != nil:
		return client
	}
	return writeError
}

// fault says why there is nothing more to send.
func (c *connection) fault(ctx context.Context, err error) string {
	switch {
	case c.stream.closing.Err() != nil || errors.Is(err, failure.ErrClosed):
		return shutdown
	case ctx.Err() != nil:
		return client
	}
	c.stream.log.Error("an event stream ended early; its client can resume", "error", err)
	return logError
}
