// Mounted is a web application that has Rampart inside: people who log in,
// agents with keys, routes and middleware of its own, and the audit log, the
// stream and the approvals beside them, under /v1/, and the dashboard for its
// operators. docs/embedding.md walks through it.
//
//	go run ./example/mounted   prints how to log in and watch
//
// This file is what Rampart asks of a host; site.go is the host.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/dashboard"
)

type config struct {
	dir      string
	host     string                // that is answered besides loopback names
	password string                // of ann and of bob
	key      string                // of the agent claude-code
	stream   rampart.StreamOptions // whose heartbeat tests set
}

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	c := config{
		password: cmp.Or(os.Getenv("MOUNTED_PASSWORD"), rand.Text()),
		key:      cmp.Or(os.Getenv("MOUNTED_KEY"), rand.Text()),
	}
	flag.StringVar(&c.dir, "dir", filepath.Join(cache, "rampart-mounted"), "`directory` of the log")
	flag.StringVar(&c.host, "allow-host", "", "also answer requests for this `host`, which a proxy on this machine passes on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills at once
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		err = run(ctx, c, ln, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mounted:", err)
		os.Exit(1)
	}
}

// run serves on ln until ctx is done.
func run(ctx context.Context, c config, ln net.Listener, out io.Writer, log *slog.Logger) (err error) {
	defer ln.Close()
	r, err := rampart.Open(c.dir, &rampart.Options{Stream: c.stream, Logger: log})
	if err != nil {
		return err
	}
	// Last of all: what requests under way have appended is on disk then.
	defer func() { err = errors.Join(err, r.Close()) }()

	s := &site{rampart: r, log: log, people: map[string]person{
		"ann": {operator, digest(c.password)},
		"bob": {guest, digest(c.password)},
	}, agents: map[sha256Digest]string{
		digest(c.key): "claude-code",
	}}
	srv := newServer(s.routes(c.host), log)
	// Shutdown waits for requests under way: a stream never ends by itself, and
	// who waits for an approval may wait for a minute.
	srv.RegisterOnShutdown(func() { r.Stream.Close() })
	srv.RegisterOnShutdown(func() { r.Approvals.Close() })
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(out, greeting, ln.Addr(), c.password, c.key)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		srv.Close() // of peers that take no answer
	}
	return nil
}

const greeting = `
Log in as ann, who may do everything, or as bob, who may not, and watch; then do something to be seen:

    curl -c jar -d name=ann -d password=%[2]s http://%[1]s/login
    curl -N -b jar http://%[1]s/v1/events/stream
    curl -b jar -X POST http://%[1]s/services/billing/restart

The dashboard is http://%[1]s/dashboard/ for who has logged in at http://%[1]s/.

An agent, whose key is %[3]s, records a call:

    curl -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' http://%[1]s/v1/audit/events \
      -d '{"tool":"exec","request":{"command":"git status"},"decision":{"action":"allow"}}'

`

// newServer has the limits of a careful host. Rampart's answers take their own
// in place of ReadTimeout and WriteTimeout; the application's keep these.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// routes are the application's, with Rampart's among them.
func (s *site) routes(host string) http.Handler {
	auth := &rampart.Auth{Authenticate: s.credential}
	if host != "" {
		auth.AllowHosts = []string{host}
	}
	api := s.rampart.Handler(auth) // one for all places: it knows its own tickets only

	router := chi.NewRouter()
	router.Use(
		middleware.RequestID,
		s.logRequests,
		middleware.Recoverer,   // lets http.ErrAbortHandler through, as it must
		middleware.Compress(5), // leaves text/event-stream alone
	)
	router.Handle("/v1/*", api)
	router.Mount("/rampart", http.StripPrefix("/rampart", api)) // or below a prefix

	page := dashboard.Handler(&dashboard.Options{HostSession: true}) // for operators: what it asks the API is theirs to ask
	router.Handle("/dashboard", page)                                // leads to /dashboard/
	router.Handle("/dashboard/*", page)

	router.Group(func(own chi.Router) {
		own.Use(http.NewCrossOriginProtection().Handler) // as Rampart's routes have it
		own.Get("/", s.home)
		own.Post("/login", s.login)
		own.Post("/services/{name}/restart", s.restart)
	})
	router.NotFound(s.notFound)
	return router
}

// credential says what those whom the application knows may do here. It takes
// the place of Rampart's own tokens; tickets go on to open the stream.
func (s *site) credential(r *http.Request) (rampart.Credential, error) {
	if agent, ok := s.agent(r); ok {
		return rampart.Credential{Name: agent, Scope: rampart.ScopeAgent}, nil
	}
	name, ok := s.person(r)
	switch {
	case !ok:
		return rampart.Credential{}, errors.New("nobody we know")
	case s.people[name].role == operator:
		return rampart.Credential{Name: name, Scope: rampart.ScopeAdmin}, nil
	}
	return rampart.Credential{Name: name}, nil // no scope: 403
}
