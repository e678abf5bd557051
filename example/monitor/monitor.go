package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// drain is how long posting the queued alerts may take after a signal.
const drain = 5 * time.Second

// monitor follows one daemon. Only the goroutine of follow uses it.
type monitor struct {
	config
	client *client.Client
	out    io.Writer
	log    *log.Logger
	queue  *queue
	state  *state
	approvals

	stream  *connection
	greeted bool
	empty   int    // connections in a row that ended after their connected message
	unread  string // position after which a changed log is still to be read; empty when there is none
}

// run follows the daemon until ctx is done. It writes alerts to out, and messages
// about the monitor itself to notices.
func run(ctx context.Context, c config, out, notices io.Writer) error {
	l := log.New(notices, "monitor: ", log.LstdFlags|log.Lmsgprefix)
	token, err := c.secrets()
	if err != nil {
		return err
	}
	st, err := openState(c.state, &outage{log: l, what: "writing " + c.state})
	if err != nil {
		return err
	}
	m := &monitor{config: c, out: out, log: l, state: st, queue: newQueue(st, c.webhook != "")}
	m.stream = &connection{outage: outage{log: l, what: "the event stream of " + c.url}}
	m.approvals = newApprovals(st, l)
	m.client, err = client.New(c.url, &client.Options{
		Token: token, HTTP: &http.Client{Transport: c.daemon}, Logger: slog.New(m.stream),
	})
	if err != nil {
		return err
	}

	stopping := make(chan struct{})
	limit, cancel := context.WithCancel(context.Background())
	defer cancel()
	var posting sync.WaitGroup
	if c.webhook != "" {
		w := newWebhook(c.webhook, c.receiver, l)
		w.stopping = stopping
		posting.Go(func() { w.deliver(limit, m.queue) })
		defer w.client.CloseIdleConnections()
	}

	err = m.follow(ctx)
	switch {
	case errors.Is(err, rampart.ErrUnauthorized):
		err = fmt.Errorf("%w; the monitor needs the admin's token, from the file that -token-file names", err)
	case errors.Is(err, rampart.ErrInvalid) && c.state != "":
		err = fmt.Errorf("-state %s: %w", c.state, err)
	case ctx.Err() != nil:
		err = nil
	}
	late := time.AfterFunc(drain, cancel)
	close(stopping)
	posting.Wait()
	late.Stop()
	st.close()
	if n := m.queue.left(); n > 0 {
		again := "they are lost to it, since there is no -state"
		if c.state != "" {
			again = "they come again at the next start"
		}
		lost := fmt.Errorf("%d alerts were not posted to the webhook; %s", n, again)
		if err != nil {
			lost = fmt.Errorf("%w; %w", err, lost)
		}
		err = lost
	}
	return err
}
