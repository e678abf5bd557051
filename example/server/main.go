// Server is Rampart as a daemon: the log in a directory, the API of
// docs/stream.md and README.md and the dashboard on one address, metrics for
// Prometheus.
//
//	go run ./example/server         keeps its log in ~/.rampart/audit
//	go run ./example/server -demo   also plays a made-up agent session
//
// It holds flags, wiring and shutdown; everything else is the library's.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
)

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
	verify         bool
	anchors        []rampart.Anchor
	version        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C kills at once.
	context.AfterFunc(ctx, stop)

	cfg, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	case cfg.version:
		fmt.Println(version())
		return
	}
	do := func() error { return serve(ctx, cfg, os.Stdout, os.Stderr) }
	if cfg.verify {
		do = func() error { return verifyLog(ctx, cfg, os.Stdout) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "rampart:", strings.TrimPrefix(err.Error(), "rampart: "))
		os.Exit(1)
	}
}

// parse reads the command line; what is wrong with it has been printed to out
// when it returns an error.
func parse(args []string, out io.Writer) (config, error) {
	var c config
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	var printed bytes.Buffer // with the usage, behind which nobody would see the fault
	fs.SetOutput(&printed)
	fs.StringVar(&c.addr, "addr", daemon.Address, "`address` to listen on")
	fs.StringVar(&c.dir, "dir", daemon.Directory, "`directory` of the token and, in audit/, the log")
	fs.StringVar(&c.agentTokenFile, "agent-token-file", "", "`file` of agents' tokens, mode 0600, a line NAME TOKEN each")
	fs.DurationVar(&c.approvalTTL, "approval-ttl", 5*time.Minute, "how long an approval waits that names no time of its own")
	fs.Func("allow-host", "also answer requests for this `host` while bound to loopback; repeatable", appendTo(&c.allowHosts))
	fs.Func("allow-origin", "let pages of this `origin` (scheme://host:port) use the API; repeatable", appendTo(&c.allowOrigins))
	fs.StringVar((*string)(&c.sync), "sync", string(rampart.SyncAlways), "when events are forced to the disk: always, interval or never")
	fs.Func("keep", "drop events older than this `time`, such as 2160h or 90d; everything is kept when 0 or absent", func(s string) (err error) {
		c.keep, err = parseKeep(s)
		return err
	})
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
	fs.BoolVar(&c.demo, "demo", false, "play a made-up agent session")
	fs.BoolVar(&c.verify, "verify", false, "check the log in -dir, also of a running daemon, and exit: with 1 when it is not whole")
	fs.Func("anchor", "with -verify: a `position` of the stream (ID.HASH) noted down earlier, which must be on the log; repeatable", func(s string) error {
		id, hash, _ := strings.Cut(s, ".")
		c.anchors = append(c.anchors, rampart.Anchor{ID: id, Hash: hash})
		return nil
	})
	fs.BoolVar(&c.version, "version", false, "print the version and exit")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		printed.WriteTo(out)
		return c, err
	}
	if err == nil {
		err = c.check(fs.Args())
	}
	if err != nil {
		fmt.Fprintln(out, "rampart:", err, "(-h lists the flags)")
	}
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

func (c *config) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q: every option is a flag", rest[0])
	}
	if len(c.anchors) > 0 && !c.verify {
		return errors.New("-anchor: goes with -verify")
	}
	if c.approvalTTL <= 0 {
		return fmt.Errorf("-approval-ttl %v: must be more than zero", c.approvalTTL)
	}
	switch c.sync {
	case rampart.SyncAlways, rampart.SyncInterval, rampart.SyncNever:
	default:
		return fmt.Errorf("-sync %q: want always, interval or never", c.sync)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return fmt.Errorf("-log-format %q: want text or json", c.logFormat)
	}
	if c.dir == "" {
		return errors.New("-dir: empty")
	}
	dir, err := daemon.Dir(c.dir)
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	c.dir = dir
	return nil
}

// serve runs the daemon until ctx is done. A greeting for people goes to out,
// the log to logs.
func serve(ctx context.Context, c config, out, logs io.Writer) (err error) {
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
	// First of all, since the log's lock is what keeps a second daemon away
	// from the token and the port as well.
	r, err := rampart.Open(filepath.Join(c.dir, "audit"), &rampart.Options{
		Audit:     rampart.AuditOptions{Sync: c.sync},
		Approvals: rampart.ApprovalOptions{TTL: c.approvalTTL},
		Version:   version(),
		Logger:    log,
	})
	if err != nil {
		return err
	}
	defer r.Close() // when it comes to no serving, which closes it as well

	token, err := daemon.AdminToken(c.dir)
	if err != nil {
		return err
	}
	auth := &rampart.Auth{
		AdminToken:   token,
		AgentTokens:  agents,
		AllowHosts:   c.allowHosts,
		AllowOrigins: c.allowOrigins,
	}
	if err := auth.Validate(); err != nil {
		return fmt.Errorf("-agent-token-file or -allow-origin: %w", err)
	}
	l, err := daemon.Listen(c.addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	fmt.Fprintf(out, "\nOpen %s/dashboard/ and paste the admin token, which is in %s. Or watch the stream:\n\n    curl -N %s %[1]s/v1/events/stream\n\n",
		l.URL(), filepath.Join(c.dir, "token"), daemon.CurlAuth(c.dir))

	var beside []func(context.Context)
	if c.demo {
		beside = append(beside, demo{r: r, log: log, out: out, url: l.URL(), dir: c.dir}.play)
	}
	if c.keep > 0 {
		beside = append(beside, func(ctx context.Context) { prune(ctx, r.Chain, c.keep, log) })
	}
	return daemon.Serve(ctx, l, r, routes(r, auth), &daemon.Options{Dir: c.dir, Beside: beside, Logger: log})
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "dev"
}
