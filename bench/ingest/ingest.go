//go:build linux

// Package ingest measures the time of an event from an agent's POST to the frame
// that a watcher reads, through the library as a host mounts it.
package ingest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

// Register registers this package's child processes: see [child.Register].
func Register() {
	child.Register(serverChild, serve)
	child.Register(limitChild, serveLimit)
	child.Register(clientsChild, runClients)
}

const (
	serverChild  = "ingest-server"
	limitChild   = "ingest-limit"
	clientsChild = "ingest-clients"
)

// Suites of this package.
var Suites = []suite.Suite{{
	Name: "ingest",
	Does: "from POST /v1/audit/events to the frame on GET /v1/events/stream; each event durable",
	Run:  run,
}}

// cell is a way to send events.
type cell struct {
	name    string
	clients int
	perBody int
	bodies  int // bodies in one run
	tiny    int
}

// A run takes a few seconds on a disk with 3000 syncs a second.
var cells = []cell{
	{"1 client, one event", 1, 1, 6_000, 20},
	{"64 clients, one event", 64, 1, 100_000, 256},
	{"1 client, NDJSON", 1, perNDJSON, 2_000, 4},
	{"64 clients, NDJSON", 64, perNDJSON, 5_000, 128},
}

const perNDJSON = 100

// target is a server that answers the POSTs.
type target struct {
	name   string
	child  string
	atOnce bool // the stream does not pause between flushes
	limit  bool // it has no log and no stream
}

// The limit comes first in each run, because the others are compared with it.
var targets = []target{
	{name: "limit", child: limitChild, limit: true},
	{name: "rampart", child: serverChild},
	{name: "rampart without rest", child: serverChild, atOnce: true},
}

func run(ctx context.Context, r *suite.Run) error {
	t := &report.Table{
		Name: "ingest", Title: "POST to frame",
		Columns: []report.Column{
			{Key: "rate", Name: "events/s"}, {Key: "share", Name: "of the limit"},
			{Key: "answer50", Name: "answer p50 ms"}, {Key: "answer99", Name: "p99"}, {Key: "answer99.9", Name: "p99.9"},
			{Key: "frame50", Name: "frame p50 ms"}, {Key: "frame99", Name: "p99"}, {Key: "frame99.9", Name: "p99.9"},
			{Key: "cpu", Name: "server CPU-s per million"},
		},
		Notes: []string{
			fmt.Sprintf("Events of %d bytes, in a closed loop: each client has a connection of its own and sends its next body when the last is answered. NDJSON bodies have %d events, which are appended in one write, all or none, and come as %[2]d `audit` frames. The server syncs before it answers; clients and the subscriber share a second process on the same cores.", len(appendEvent(nil, 0)), perNDJSON),
			"Both latencies are measured from before the POST is written, and each event of a body counts. Rates are measured up to the last frame, the limit's up to the last answer. A stream that has sent everything pauses for `FlushEvery`, 10 ms by default, which is most of a frame's latency at low load; *without rest* sets it to a nanosecond.",
			"The limit is a bare net/http handler that writes the bodies as they are, does one fdatasync for all that wait, and answers: no check, no encoding, no hash, no index, no stream. Every event that was answered with 201 was compared with the frames: each came once and in order. The log was verified.",
		},
	}
	for n := range r.Runs {
		for _, c := range cells {
			var limit float64
			for _, to := range targets {
				if !r.Wants(to.name) {
					continue
				}
				m, err := measure(ctx, r, c, to)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", c.name, to.name, err)
				}
				r.Log("run %d: %s: %s: %s events/s", n+1, c.name, to.name, report.Format(m.rate()))
				if to.limit {
					limit = m.rate()
				}
				add(t.Row(c.name+": "+to.name), m, limit)
			}
		}
	}
	return r.Output.Table(t)
}

func add(row *report.Row, m measured, limit float64) {
	row.Add("rate", m.rate())
	row.Add("cpu", m.cpu/float64(m.Events)*1e6)
	if limit > 0 {
		row.Add("share", m.rate()/limit)
	}
	for i, q := range quantiles {
		row.Add(fmt.Sprint("answer", q), m.Answer[i])
		if m.Frame != nil {
			row.Add(fmt.Sprint("frame", q), m.Frame[i])
		}
	}
}

// measured is one run of one target.
type measured struct {
	outcome
	cpu float64 // the server's, in seconds
}

func (m *measured) rate() float64 { return float64(m.Events) / m.Seconds }

func measure(ctx context.Context, r *suite.Run, c cell, to target) (m measured, err error) {
	bodies := c.bodies
	if r.Tiny {
		bodies = c.tiny
	}
	dir, err := os.MkdirTemp(r.Dir, "ingest-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	profile := ""
	if !to.limit {
		profile = r.Profile("ingest", fmt.Sprintf("%d-clients-%d-a-body-rest-%t", c.clients, c.perBody, !to.atOnce))
	}
	server, err := start(ctx, to.child, profile, serverConfig{Dir: filepath.Join(dir, "log"), AtOnce: to.atOnce})
	if err != nil {
		return m, err
	}
	defer server.Kill()
	var addr string
	if err := server.Receive(&addr); err != nil {
		return m, err
	}
	clients, err := start(ctx, clientsChild, "", clientsConfig{Addr: addr, Clients: c.clients, PerBody: c.perBody, Follow: !to.limit})
	if err != nil {
		return m, err
	}
	defer clients.Kill()

	warm := max(c.clients, bodies/10)
	if err := ask(clients, warm, &m.outcome); err != nil {
		return m, err
	}
	var before, after float64
	if err := ask(server, cpuCommand, &before); err != nil {
		return m, err
	}
	if err := ask(clients, bodies, &m.outcome); err != nil {
		return m, err
	}
	if err := ask(server, cpuCommand, &after); err != nil {
		return m, err
	}
	m.cpu = after - before
	if err := clients.Close(); err != nil {
		return m, fmt.Errorf("%s: %w", clientsChild, err)
	}
	var stored ended
	if err := ask(server, stopCommand, &stored); err != nil {
		return m, err
	}
	if err := server.Close(); err != nil {
		return m, fmt.Errorf("%s: %w", to.child, err)
	}
	if sent := uint64((warm + bodies) * c.perBody); stored.Fault != "" || !to.limit && stored.Events != sent {
		return m, fmt.Errorf("%d events were acknowledged, the log has %d: %s", sent, stored.Events, stored.Fault)
	}
	return m, nil
}

// start starts a child, kills it when ctx ends, and sends it config.
func start(ctx context.Context, name, profile string, config any) (*child.Process, error) {
	p, err := child.Start(name, profile)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, p.Kill)
	return p, p.Send(config)
}

// ask sends a command and waits for the answer. A child that fails writes the reason
// to standard error.
func ask(p *child.Process, command, answer any) error {
	err := p.Send(command)
	if err == nil {
		err = p.Receive(answer)
	}
	if err != nil {
		err = cmp.Or(p.Close(), err)
	}
	return err
}
