//go:build linux

package ingest

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/bench/child"
)

type serverConfig struct {
	Dir    string
	AtOnce bool
}

// Commands of a server.
const (
	cpuCommand  = "cpu"  // answered with the seconds used so far
	stopCommand = "stop" // answered with [ended]
)

// ended describes the log that a server left.
type ended struct {
	Events uint64
	Fault  string // the fault that verification found in the log, or ""
}

// Tokens of the benchmark's own server.
const (
	adminToken = "bench-admin"
	agentToken = "bench-agent"
)

// serve runs the server as a host would.
func serve(c *child.Conn) error {
	var config serverConfig
	if err := c.Receive(&config); err != nil {
		return err
	}
	opts := rampart.Options{Audit: rampart.AuditOptions{Sync: rampart.SyncAlways}}
	if config.AtOnce {
		opts.Stream.FlushEvery = time.Nanosecond
	}
	r, err := rampart.Open(config.Dir, &opts)
	if err != nil {
		return err
	}
	defer r.Close()
	handler := r.Handler(&rampart.Auth{AdminToken: adminToken, AgentTokens: map[string]string{"claude-code": agentToken}})
	if err := answer(c, handler, func() { r.Stream.Close() }); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	found, err := rampart.VerifyChain(context.Background(), os.DirFS(config.Dir))
	if err != nil {
		return err
	}
	stored := ended{Events: found.Events}
	if !found.OK() {
		stored.Fault = string(found.Verdict)
	}
	return c.Send(stored)
}

// answer serves handler, and answers commands until one tells it to stop.
func answer(c *child.Conn, handler http.Handler, stopping func()) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	srv.RegisterOnShutdown(stopping)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	if err := c.Send(ln.Addr().String()); err != nil {
		return err
	}
	for command := ""; command != stopCommand; {
		if err := c.Receive(&command); err != nil {
			return err
		}
		if command == cpuCommand {
			if err := c.Send(child.CPU().Seconds()); err != nil {
				return err
			}
		}
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := <-served; err != http.ErrServerClosed {
		return err
	}
	return nil
}
