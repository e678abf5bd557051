// Mounted is a web application with Rampart inside. The application has people
// who log in, agents with keys, and routes and middleware of its own. Rampart adds
// the audit log, the stream and the approvals under /v1/, and the dashboard for
// the operators. docs/embedding.md walks through it.
//
//	go run ./example/mounted   prints how to log in and watch
//
// This file has what Rampart needs of a host; site.go is the host.
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
	host     string                // name that is served besides loopback names
	password string                // of ann and of bob
	key      string                // of the agent claude-code
	stream   rampart.StreamOptions // tests set its heartbeat
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
	// Deferred first, so that it runs last: requests still append until then.
	defer func() { err = errors.Join(err, r.Close()) }()

	s := &site{rampart: r, log: log, people: map[string]person{
		"ann": {operator, digest(c.password)},
		"bob": {guest, digest(c.password)},
	}, agents: map[sha256Digest]string{
		digest(c.key): "claude-code",
	}}
	srv := newServer(s.routes(c.host), log)
	// Shutdown waits for requests. A stream never ends by itself, and a request
	// that waits for an approval may take a minute.
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
		srv.Close() // some peers do not read their answer
	}
	return nil
}

const greeting = `
Log in as ann, who may do everything, or as bob, who may not, and watch; then do something to be seen:

    curl -c jar -d name=ann -d password=%[2]s http://%[1]s/login
    curl -N -b jar http://%[1]s/v1/events/stream
    curl -b jar -X POST http://%[1]s/services/billing/restart

The dashboard is http://%[1]s/dashboard/ for those who have logged in at http://%[1]s/.

An agent, whose key is %[3]s, records a call:

    curl -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' http://%[1]s/v1/audit/events \
      -d '{"tool":"exec","request":{"command":"git status"},"decision":{"action":"allow"}}'

`

// newServer returns a server with the time limits of a careful host. They hold for
// the application's requests; Rampart's have limits of their own in place of
// ReadTimeout and WriteTimeout.
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

// routes returns the application's routes, with Rampart's among them.
func (s *site) routes(host string) http.Handler {
	auth := &rampart.Auth{Authenticate: s.credential}
	if host != "" {
		auth.AllowHosts = []string{host}
	}
	api := s.rampart.Handler(auth) // mount this one everywhere: a handler knows only the tickets that it issued

	router := chi.NewRouter()
	router.Use(
		middleware.RequestID,
		s.logRequests,
		middleware.Recoverer,   // lets http.ErrAbortHandler through, as it must
		middleware.Compress(5), // leaves text/event-stream alone
	)
	router.Handle("/v1/*", api)
	router.Mount("/rampart", http.StripPrefix("/rampart", api)) // or below a prefix

	page := dashboard.Handler(&dashboard.Options{HostSession: true}) // for operators: its requests to the API carry their session
	router.Handle("/dashboard", page)                                // leads to /dashboard/
	router.Handle("/dashboard/*", page)

	router.Group(func(own chi.Router) {
		own.Use(http.NewCrossOriginProtection().Handler) // Rampart's routes have such a check of their own
		own.Get("/", s.home)
		own.Post("/login", s.login)
		own.Post("/services/{name}/restart", s.restart)
	})
	router.NotFound(s.notFound)
	return router
}

// credential says what a person or an agent of the application may do. It takes
// the place of Rampart's own tokens. Tickets still open the stream.
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
