// Server is the smallest program that serves Rampart on a machine, to be read and
// copied.
//
//	go run ./example/server         keeps its log in ~/.rampart/audit
//	go run ./example/server -demo   plays a made-up session, in a log of its own
//
// What people install is cmd/rampart, which has more flags, agents' tokens,
// pruning and metrics.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
	"github.com/rampartlog/rampart/dashboard"
	"github.com/rampartlog/rampart/example/demo"
)

func main() {
	addr := flag.String("addr", daemon.Address, "`address` to listen on")
	dir := flag.String("dir", daemon.Directory, "`directory` of the token and, in audit/, the log")
	play := flag.Bool("demo", false, "play a made-up agent session, into a log of its own: demo/ in the directory")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "server: unexpected argument %q: every option is a flag (-h lists them)\n", flag.Arg(0))
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills at once
	if err := serve(ctx, *addr, *dir, *play, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// serve runs the daemon until ctx is done.
func serve(ctx context.Context, addr, dir string, play bool, out io.Writer, log *slog.Logger) error {
	dir, err := daemon.Dir(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	logDir := filepath.Join(dir, "audit")
	if play {
		logDir = demo.LogDir(dir)
	}
	r, err := rampart.Open(logDir, &rampart.Options{Logger: log})
	if err != nil {
		return err
	}
	defer r.Close() // for errors before daemon.Serve, which closes r itself

	token, err := daemon.AdminToken(dir)
	if err != nil {
		return err
	}
	auth := &rampart.Auth{AdminToken: token}
	if err := auth.Validate(); err != nil {
		return err
	}
	l, err := daemon.Listen(addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	fmt.Fprintf(out, "\nOpen %s/dashboard/ and paste the admin token, which is in %s. Or watch the stream:\n\n    curl -N %s %[1]s/v1/events/stream\n\n",
		l.URL(), filepath.Join(dir, "token"), daemon.CurlAuth(dir))

	o := &daemon.Options{Dir: dir, Logger: log}
	if play {
		o.Dir = "" // daemon.Find does not find a demo: no agent may record its calls there
		o.Beside = append(o.Beside, (&demo.Demo{Rampart: r, Logger: log, Out: out, URL: l.URL(), Dir: dir}).Play)
	}
	return daemon.Serve(ctx, l, r, routes(r, auth), o)
}

// routes are the API's, and the dashboard, to which / leads.
func routes(r *rampart.Rampart, auth *rampart.Auth) http.Handler {
	api := r.Handler(auth)
	page := auth.RefuseForeign(dashboard.Handler(nil))
	home := auth.RefuseForeign(http.HandlerFunc(dashboard.Redirect))
	// Not a ServeMux, which would redirect //healthz before anybody looked at its Host.
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch path := req.URL.Path; {
		case path == "/":
			home.ServeHTTP(w, req)
		case path == "/dashboard", strings.HasPrefix(path, "/dashboard/"):
			page.ServeHTTP(w, req)
		default:
			api.ServeHTTP(w, req)
		}
	})
}
