package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NYTimes/gziphandler"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/pipetest"
)

// behind is Rampart behind one middleware, on a server with a WriteTimeout.
type behind struct {
	t      *testing.T
	r      *rampart.Rampart
	client *http.Client
	logs   output
}

func startBehind(t *testing.T, wrap func(http.Handler) http.Handler) *behind {
	t.Helper()
	b := &behind{t: t}
	r, err := rampart.Open(t.TempDir(), &rampart.Options{
		Stream: rampart.StreamOptions{Heartbeat: time.Hour},
		Logger: slog.New(slog.NewTextHandler(&b.logs, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	api := r.Handler(&rampart.Auth{AdminToken: "admin-token"})
	srv := &http.Server{Handler: wrap(api), WriteTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	pipe := pipetest.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	transport := &http.Transport{DialContext: pipe.Dial, DisableCompression: true}
	b.r, b.client = r, &http.Client{Transport: transport}
	go srv.Serve(pipe)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
		transport.CloseIdleConnections()
	})
	return b
}

// get accepts an encoding, or none.
func (b *behind) get(path, encoding string) *http.Response {
	b.t.Helper()
	resp, err := b.try(b.t.Context(), path, encoding)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (b *behind) try(ctx context.Context, path, encoding string) (*http.Response, error) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1"+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin-token")
	req.Header.Set("Accept-Encoding", encoding)
	return b.client.Do(req)
}

func (b *behind) append() {
	b.t.Helper()
	e := rampart.AuditEvent{Agent: "a", Tool: "exec", Decision: rampart.Decision{Action: "allow"}}
	if _, err := b.r.Chain.Append(context.Background(), e); err != nil {
		b.t.Fatal(err)
	}
}

// TestMiddlewareAroundTheStream keeps the table of docs/embedding.md true.
func TestMiddlewareAroundTheStream(t *testing.T) {
	const never = 24 * time.Hour
	for name, c := range map[string]struct {
		wrap     func(http.Handler) http.Handler
		encoding string
		ends     time.Duration // after it began
	}{
		"nothing":      {wrap: func(h http.Handler) http.Handler { return h }, ends: never},
		"chi Compress": {wrap: middleware.Compress(5), ends: never},
		"gzhttp":       {wrap: func(h http.Handler) http.Handler { return gzhttp.GzipHandler(h) }, encoding: "gzip", ends: never},
		"gzhttp, told": {wrap: func(h http.Handler) http.Handler {
			wrap, err := gzhttp.NewWrapper(gzhttp.ExceptContentTypes([]string{"text/event-stream"}))
			if err != nil {
				t.Fatal(err)
			}
			return wrap(h)
		}, ends: never},
		"gorilla":        {wrap: handlers.CompressHandler, encoding: "gzip", ends: never},
		"chi Timeout":    {wrap: middleware.Timeout(time.Minute), ends: time.Minute},
		"chi Logger":     {wrap: logsTo(io.Discard), ends: never},
		"without Unwrap": {wrap: wrapping(func(w http.ResponseWriter) http.ResponseWriter { return flushOnly{w} }), ends: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := startBehind(t, c.wrap)
				began := time.Now()
				resp := b.get(streamPath, "gzip")
				if got := resp.Header.Get("Content-Encoding"); resp.StatusCode != http.StatusOK || got != c.encoding {
					t.Fatalf("%s, Content-Encoding %q", resp.Status, got)
				}
				var body io.Reader = resp.Body
				if c.encoding == "gzip" {
					z, err := gzip.NewReader(body)
					if err != nil {
						t.Fatal(err)
					}
					body = z
				}
				lines := bufio.NewReader(body)
				line, err := lines.ReadString('\n')
				if took := time.Since(began); line != "data: {\"type\":\"connected\"}\n" || took > time.Second {
					t.Fatalf("the stream begins after %v with %q, %v", took, line, err)
				}
				if c.ends == never {
					for range 3 {
						time.Sleep(5 * time.Minute)
						began := time.Now()
						b.append()
						for !strings.HasPrefix(line, "data: {\"type\":\"audit\"") && err == nil {
							line, err = lines.ReadString('\n')
						}
						if took := time.Since(began); took > time.Second || err != nil {
							t.Fatalf("an event comes after %v: %q, %v", took, line, err)
						}
						line = ""
					}
					return
				}
				if c.ends == 10*time.Second { // a missed deadline shows at the next write
					time.Sleep(11 * time.Second)
					b.append()
				}
				rest, err := io.ReadAll(lines)
				if took := time.Since(began); took.Truncate(5*time.Second) != c.ends || bytes.Contains(rest, []byte("audit")) {
					t.Errorf("it ends after %v: %q, %v", took, rest, err)
				}
				if clean := err == nil; clean != (c.ends == time.Minute) {
					t.Errorf("it ends with %v", err)
				}
			})
		})
	}
}

// It has a Flush that does nothing until it has seen enough to decide.
func TestMiddlewareThatHoldsTheStreamBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBehind(t, gziphandler.GzipHandler)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if resp, err := b.try(ctx, streamPath, "gzip"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// Middleware that cannot flush gets an answer that names the remedy, and the log
// names it too.
func TestMiddlewareThatCannotFlush(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"*http.timeoutWriter": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") },
		"main_test.hidden":    wrapping(func(w http.ResponseWriter) http.ResponseWriter { return hidden{w} }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := startBehind(t, wrap)
				resp := b.get(streamPath, "")
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), "Unwrap") {
					t.Errorf("%s %s %v", resp.Status, body, err)
				}
				if got := b.logs.String(); !strings.Contains(got, name) {
					t.Errorf("the log does not name it: %s", got)
				}
			})
		})
	}
}

// chi's own logger logs URLs with their query.
func TestLoggerOfChiLogsTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log output
		b := startBehind(t, logsTo(&log))
		b.get(streamPath+"?token=a-ticket", "").Body.Close()
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, "a-ticket") {
			t.Errorf("docs/embedding.md says it does, it logs %s", got)
		}
	})
}

// An answer that is broken off must not look whole: when Rampart cannot finish an
// answer, it panics with http.ErrAbortHandler.
func TestRecoveryLeavesBrokenAnswersBroken(t *testing.T) {
	for name, c := range map[string]struct {
		recoverer func(http.Handler) http.Handler
		whole     bool
	}{
		"chi":               {middleware.Recoverer, false},
		"one that recovers": {recoverAll, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := startBehind(t, func(http.Handler) http.Handler {
					return c.recoverer(middleware.Compress(5)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						fmt.Fprintln(w, "the first line of many")
						http.NewResponseController(w).Flush()
						panic(http.ErrAbortHandler)
					})))
				})
				for _, encoding := range []string{"", "gzip"} {
					resp := b.get("/", encoding)
					if _, err := io.ReadAll(resp.Body); (err == nil) != c.whole {
						t.Errorf("Accept-Encoding %q: the answer ends with %v", encoding, err)
					}
				}
			})
		})
	}
}

// Rampart asks who may read when a stream opens. A host ends a stream by the
// request's context.
func TestContextEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session, logout := context.WithCancelCause(context.Background())
		b := startBehind(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithCancel(r.Context())
				defer cancel()
				defer context.AfterFunc(session, cancel)()
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		})
		w := newWatcher(t, b.get(streamPath, ""))
		time.Sleep(time.Minute)
		began := time.Now()
		logout(errors.New("logged out"))
		w.ends()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it goes on for %v", took)
		}
	})
}

func wrapping(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
	}
}

// logsTo is middleware.Logger with another place to log to.
func logsTo(w io.Writer) func(http.Handler) http.Handler {
	return middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(w, "", 0), NoColor: true})
}

func recoverAll(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		h.ServeHTTP(w, r)
	})
}

type hidden struct{ http.ResponseWriter }

type flushOnly struct{ http.ResponseWriter }

func (f flushOnly) Flush() { f.ResponseWriter.(http.Flusher).Flush() }
