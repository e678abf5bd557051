package main

import (
	"context"
	"log"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// reminder is how often an outage that lasts is logged again.
const reminder = 10 * time.Minute

// outage logs when something begins to fail and when it works again, but not each
// try that fails.
type outage struct {
	log  *log.Logger
	what string // the subject of the messages

	mu          sync.Mutex
	since, told time.Time
}

func (o *outage) failed(why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	} else if now.Sub(o.told) < reminder {
		return
	}
	o.told = now
	o.log.Printf("%s: failing, and tried again: %s", o.what, visible(cut(why, shownText)))
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		o.log.Printf("%s: works again, after %v", o.what, time.Since(o.since).Round(time.Second))
		o.since = time.Time{}
	}
}

// connection is a handler for the client's log: the client logs when the event
// stream is lost. up is whether the stream stands.
type connection struct {
	outage
	up atomic.Bool
}

func (c *connection) Enabled(context.Context, slog.Level) bool { return true }
func (c *connection) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *connection) WithGroup(string) slog.Handler            { return c }

func (c *connection) Handle(_ context.Context, r slog.Record) error {
	why := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			why = a.Value.String()
		}
		return true
	})
	c.up.Store(false)
	c.failed(why)
	return nil
}
