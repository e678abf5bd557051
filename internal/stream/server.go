// Package stream answers HTTP requests with Server-Sent Events that follow the bus,
// each client at its own pace.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/httpio"
	"github.com/rampartlog/rampart/internal/sse"
	"github.com/rampartlog/rampart/internal/tally"
)

// Options has the fields of rampart.StreamOptions, which documents them.
type Options struct {
	Heartbeat    time.Duration
	WriteTimeout time.Duration
	FlushEvery   time.Duration
	Logger       *slog.Logger
}

// Stats are figures of a [Server] since it was made.
type Stats struct {
	Open    int
	Opened  uint64
	Closed  map[string]uint64 // by reason
	Resumes map[string]uint64 // by result

	// Messages sent.
	Connected, Approvals, Audit, Batches uint64
}

// Reasons for which a stream ends.
const (
	client       = "client"
	writeTimeout = "write_timeout"
	writeError   = "write_error"
	shutdown     = "shutdown"
	logError     = "error"
)

// Types of messages, as ?type= names them.
const (
	typeConnected  = "connected"
	typeApprovals  = "approvals"
	typeAudit      = "audit"
	typeAuditBatch = "audit_batch"
)

// Server is the handler that rampart.Stream documents.
type Server struct {
	bus     *bus.Bus
	opts    Options
	log     *slog.Logger
	closing context.Context // done once Close was called here or on the bus
	close   context.CancelFunc

	processors time.Duration // their number

	open      atomic.Int64
	connected atomic.Uint64                 // connected frames sent
	sent      [framelog.Kinds]atomic.Uint64 // other frames sent

	mu       sync.Mutex
	handlers sync.WaitGroup // grows only under mu and while not closing
	opened   uint64
	closed   tally.Counters
	resumes  tally.Counters
}

// New returns a handler that sends what b announces.
func New(b *bus.Bus, o Options) *Server {
	s := &Server{
		bus:        b,
		opts:       o,
		processors: time.Duration(runtime.GOMAXPROCS(0)),
		closed:     tally.NewCounters(client, writeTimeout, writeError, shutdown, logError),
		resumes:    tally.NewCounters(string(bus.OK), string(bus.Unknown), string(bus.Malformed), string(bus.Mismatch)),
	}
	if s.opts.Heartbeat <= 0 {
		s.opts.Heartbeat = 15 * time.Second
	}
	if s.opts.WriteTimeout <= 0 {
		s.opts.WriteTimeout = 30 * time.Second
	}
	if s.opts.FlushEvery <= 0 {
		s.opts.FlushEvery = 10 * time.Millisecond
	}
	if s.log = s.opts.Logger; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.closing, s.close = context.WithCancel(b.Context())
	return s
}

// ServeHTTP is rampart.Stream.ServeHTTP.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.check(w, r)
	if c == nil {
		return
	}
	if !s.enter() {
		s.unavailable(w, failure.ErrClosed)
		return
	}
	defer s.handlers.Done()
	if r.Method == http.MethodHead {
		if err := s.bus.Full(); err != nil {
			s.unavailable(w, err)
			return
		}
		setHeader(w.Header())
		return
	}
	if !s.subscribe(c, r) {
		return
	}
	defer c.sub.Leave()
	s.end(c.serve(r.Context()))
}

// check returns the connection that r asks for, or answers r and returns nil.
//
// What a stream needs once is kept out of ServeHTTP and [connection.serve], whose
// stack frames live as long as the stream. While those are small, a stack of 8 KiB
// is enough for its goroutine in place of 16.
func (s *Server) check(w http.ResponseWriter, r *http.Request) *connection {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		httpio.WriteError(w, http.StatusMethodNotAllowed, "the stream is read with GET")
		return nil
	}
	query, err := httpio.ParseQuery(r)
	var chosen filter
	if err == nil {
		chosen, err = parseFilter(query)
	}
	if err != nil {
		httpio.WriteError(w, http.StatusBadRequest, err.Error())
		return nil
	}
	if culprit := withoutFlush(w); culprit != nil {
		s.log.Error("the event stream needs a ResponseWriter that can flush", "writer", fmt.Sprintf("%T", culprit))
		httpio.WriteError(w, http.StatusInternalServerError, "streaming is not supported by the response writer: give the middleware around this handler a Flush or an Unwrap method")
		return nil
	}
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = query.Get("last_event_id")
	}
	return &connection{stream: s, after: after, filter: chosen, w: w, rc: http.NewResponseController(w), http2: r.ProtoMajor > 1}
}

// subscribe gives c its place on the bus, or answers r and returns false.
func (s *Server) subscribe(c *connection, r *http.Request) bool {
	var err error
	if c.sub, c.resume, err = s.bus.Subscribe(r.Context(), c.after); err != nil {
		s.unavailable(c.w, err)
		return false
	}
	if c.resume == bus.Mismatch {
		s.witness(r.Context(), c.after, c.sub.Head())
	}
	s.begin(c.resume)
	return true
}

// witness reports a client that saw something else than what the log holds.
func (s *Server) witness(ctx context.Context, position, head string) {
	id, _, _ := sse.ParsePosition(position)
	found := "the end of the log at " + head
	if line, err := s.bus.Ledger().Get(ctx, id); err == nil {
		found = "the hash " + string(bus.FieldsOf(line).Hash)
	}
	s.log.Error("a client saw what the audit log does not hold: the log was rewritten or cut", "position", position, "found", found)
}

func setHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
}

// withoutFlush follows wrapped writers as http.ResponseController does, and
// returns the one that ends its search, nil when one can flush.
func withoutFlush(w http.ResponseWriter) http.ResponseWriter {
	for {
		switch t := w.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return nil
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return w
		}
	}
}

func (s *Server) unavailable(w http.ResponseWriter, err error) {
	msg := "the audit log cannot be read at the moment"
	switch {
	case errors.Is(err, failure.ErrClosed):
		msg = "shutting down"
	case errors.Is(err, failure.ErrLimit):
		msg = "too many subscribers"
	default:
		s.log.Error("a stream could not be opened", "error", err)
	}
	w.Header().Set("Retry-After", "5")
	httpio.WriteError(w, http.StatusServiceUnavailable, msg)
}

// enter counts a handler that Close has to wait for; false while closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return false
	}
	s.handlers.Add(1)
	return true
}

func (s *Server) begin(resume bus.Resume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open.Add(1)
	s.opened++
	if resume != bus.None {
		s.resumes.Add(string(resume))
	}
}

// perStream is how much longer all streams rest for each that is open, with one
// processor. A flush takes 10 to 20 µs of a processor, however little it holds.
// So flushes take a third of all processors, and appends find one free.
const perStream = 50 * time.Microsecond

// rest is how long a stream rests after a flush.
func (s *Server) rest() time.Duration {
	return max(s.opts.FlushEvery, time.Duration(s.open.Load())*perStream/s.processors)
}

func (s *Server) end(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open.Add(-1)
	s.closed.Add(reason)
}

func (s *Server) count(n framelog.Counts) {
	for kind, v := range n {
		if v > 0 {
			s.sent[kind].Add(v)
		}
	}
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Open: int(s.open.Load()), Opened: s.opened, Closed: s.closed.Read(), Resumes: s.resumes.Read(),
		Connected: s.connected.Load(),
		Approvals: s.sent[bus.KindApprovals].Load(),
		Audit:     s.sent[bus.KindAudit].Load(),
		Batches:   s.sent[bus.KindBatch].Load() + s.sent[bus.KindLarge].Load(),
	}
}

// Close is rampart.Stream.Close.
func (s *Server) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.handlers.Wait()
	return nil
}
