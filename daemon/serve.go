package daemon

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
)

// sendBuffer is the kernel's send buffer for each connection, in bytes. Linux would
// let it grow to 4 MB, and reports room again only once a third of it is free: a
// watcher that took less than 45 KB a second looked as if it took nothing, and was
// disconnected.
const sendBuffer = 64 << 10

// drain is how long requests under way may take once the daemon stops. Then their
// connections are cut, so that no silent peer holds up the daemon.
const drain = 1500 * time.Millisecond

// Options configures [Serve]. Nil, and each zero value, is the documented default.
type Options struct {
	// Dir is the daemon's directory, in which the file url tells [Find] where the
	// daemon listens. When empty, Find does not find it.
	Dir string
	// Beside run while the daemon serves, each in a goroutine of its own. They
	// return when their context is done, and may use the log until then.
	Beside []func(context.Context)
	// Logger is told when the daemon starts and stops, and what its HTTP server
	// complains of. Nil discards.
	Logger *slog.Logger
}

// Serve serves h, which serves r, on l until ctx is done or a listener fails. It
// closes l and r in any case.
//
// It ends in this order, within 2 s if the functions of Options.Beside and the
// disk allow it:
//
//  1. No more connections are taken, and the file url is removed.
//  2. Streams end with a terminated body, and waits for an approval are answered.
//  3. Other requests under way have 1.5 s; then their connections are cut. Serve
//     does not wait for handlers that still run after that.
//  4. The functions of Options.Beside, whose context was done at 1, have returned.
//  5. r is closed: all that was appended is on disk.
//
// No peer holds the server by being slow: a request's head has 10 s and 64 KiB,
// its body and each answer 30 s unless h sets other limits, as rampart.Handler
// does, and a connection that nothing comes on is closed after 2 minutes.
//
// The error is that of the listener, of closing r, or both.
func Serve(ctx context.Context, l Listeners, r *rampart.Rampart, h http.Handler, opts *Options) (err error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	defer l.Close() // also those that the server has not taken over

	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()

	if !l.local() {
		o.Logger.Warn("other machines can connect, and tokens travel in clear: put TLS in front", "addr", l[0].Addr().String())
	}
	srv := newServer(h, slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn))
	// Streams and waits for an approval would outlast any drain.
	srv.RegisterOnShutdown(func() { r.Stream.Close() })
	srv.RegisterOnShutdown(func() { r.Approvals.Close() })
	served := make(chan error, len(l))
	for _, ln := range l {
		go func() { served <- srv.Serve(ln) }()
	}
	listening := []any{"addr", l[0].Addr().String(), "pid", os.Getpid()}
	if o.Dir != "" {
		listening = append(listening, "dir", o.Dir)
		if err := announce(o.Dir, l.URL()); err != nil {
			// On a full disk the log can still be read: the daemon goes on.
			o.Logger.Error("clients of this machine will not find the daemon", "dir", o.Dir, "error", err)
		}
	}
	o.Logger.Info("listening", listening...)
	for _, f := range o.Beside {
		beside.Go(func() { f(ctx) })
	}

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	o.Logger.Info("stopping")
	stop()
	if o.Dir != "" {
		withdraw(o.Dir, l.URL())
	}
	limit, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if srv.Shutdown(limit) != nil {
		srv.Close()
	}
	return err
}

// newServer returns a server that no peer holds by being slow.
func newServer(h http.Handler, log *log.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		// For answers on which the handler sets no limit: those without a body, and the
		// server's own.
		ReadTimeout:    30 * time.Second,
		WriteTimeout:   30 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 60 << 10, // the server takes 4 KiB more
		// The server's own answer to OPTIONS * looks at no Host and waits for any body.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetWriteBuffer(sendBuffer) // on failure the system's own size stays
			}
			return ctx
		},
	}
}
