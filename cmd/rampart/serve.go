package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
	"github.com/rampartlog/rampart/example/demo"
)

const maxApprovalTTL = 30 * 24 * time.Hour // that rampart.ApprovalOptions takes

type config struct {
	addr           string
	dir            string
	agentTokenFile string
	approvalTTL    time.Duration
	allowHosts     []string
	allowOrigins   []string
	sync           rampart.SyncPolicy
	keep           time.Duration
	logFormat      string
	demo           bool
}

func parseServe(args []string, out io.Writer) (c config, err error) {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&c.addr, "addr", daemon.Address, "`address` to listen on; a loopback one means 127.0.0.1 and [::1]")
	fs.StringVar(&c.dir, "dir", daemon.Directory, "`directory` of the token and, in audit/, the log")
	fs.StringVar(&c.agentTokenFile, "agent-token-file", "", "`file` of agents' tokens, mode 0600, a line NAME TOKEN each")
	fs.DurationVar(&c.approvalTTL, "approval-ttl", 5*time.Minute, "how long an approval waits unless its request names a time")
	fs.Func("allow-host", "also answer requests for this `host` while bound to loopback; repeatable", appendTo(&c.allowHosts))
	fs.Func("allow-origin", "let pages of this `origin` (scheme://host:port) use the API; repeatable", appendTo(&c.allowOrigins))
	fs.StringVar((*string)(&c.sync), "sync", string(rampart.SyncAlways), "when events are forced to the disk: always, interval or never")
	fs.Func("keep", "drop events older than this `time`, such as 2160h or 90d; everything is kept when 0 or absent", func(s string) (err error) {
		c.keep, err = parseKeep(s)
		return err
	})
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
	fs.BoolVar(&c.demo, "demo", false, "play a made-up agent session, into a log of its own: demo/ in the directory")
	if err := parse(fs, args, out); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, wrong(fs, err)
	}
	c.dir, err = daemon.Dir(c.dir)
	return c, err
}

func appendTo(list *[]string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("empty")
		}
		*list = append(*list, s)
		return nil
	}
}

func (c *config) check() error {
	switch {
	case c.dir == "":
		return errors.New("-dir: empty")
	case c.approvalTTL <= 0 || c.approvalTTL > maxApprovalTTL:
		return fmt.Errorf("-approval-ttl %v: must be more than zero and at most %v (30 days)", c.approvalTTL, maxApprovalTTL)
	case c.sync != rampart.SyncAlways && c.sync != rampart.SyncInterval && c.sync != rampart.SyncNever:
		return fmt.Errorf("-sync %q: want always, interval or never", c.sync)
	case c.logFormat != "text" && c.logFormat != "json":
		return fmt.Errorf("-log-format %q: want text or json", c.logFormat)
	}
	if err := (&rampart.Auth{AllowOrigins: c.allowOrigins}).Validate(); err != nil {
		return fmt.Errorf("-allow-origin: %w", err)
	}
	return nil
}

// serve runs the daemon until ctx is done. A greeting for people goes to out.
func serve(ctx context.Context, args []string, out, logs io.Writer) error {
	c, err := parseServe(args, out)
	if err != nil {
		return err
	}
	var handler slog.Handler = slog.NewTextHandler(logs, nil)
	if c.logFormat == "json" {
		handler = slog.NewJSONHandler(logs, nil)
	}
	log := slog.New(handler)

	agents, err := daemon.AgentTokens(c.agentTokenFile)
	if err != nil {
		return fmt.Errorf("-agent-token-file: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	// Open comes first: the log's lock keeps a second daemon off the port.
	r, err := rampart.Open(c.logDir(), &rampart.Options{
		Audit:     rampart.AuditOptions{Sync: c.sync},
		Approvals: rampart.ApprovalOptions{TTL: c.approvalTTL},
		Version:   version(),
		Logger:    log,
	})
	if err != nil {
		return err
	}
	defer r.Close() // for errors before daemon.Serve, which closes r itself

	token, err := daemon.AdminToken(c.dir)
	if err != nil {
		return err
	}
	auth := &rampart.Auth{AdminToken: token, AllowHosts: c.allowHosts, AllowOrigins: c.allowOrigins}
	if err := auth.Validate(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.dir, "token"), err)
	}
	auth.AgentTokens = agents
	if err := auth.Validate(); err != nil {
		return fmt.Errorf("-agent-token-file: %w", err)
	}
	l, err := daemon.Listen(c.addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	fmt.Fprintf(out, "\nOpen %s/dashboard/ and paste the admin token, which is in %s. Or watch the stream:\n\n    curl -N %s %[1]s/v1/events/stream\n\n",
		l.URL(), filepath.Join(c.dir, "token"), daemon.CurlAuth(c.dir))

	o := &daemon.Options{Dir: c.dir, Logger: log}
	if c.demo {
		o.Dir = "" // daemon.Find does not find a demo: no agent may record its calls there
		o.Beside = append(o.Beside, (&demo.Demo{Rampart: r, Logger: log, Out: out, URL: l.URL(), Dir: c.dir}).Play)
	}
	if c.keep > 0 {
		o.Beside = append(o.Beside, func(ctx context.Context) { prune(ctx, r.Chain, c.keep, log) })
	}
	return daemon.Serve(ctx, l, r, routes(r, auth), o)
}

func (c *config) logDir() string {
	if c.demo {
		return demo.LogDir(c.dir)
	}
	return filepath.Join(c.dir, "audit")
}
