package rampart

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

	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/sse"
	"github.com/rampartlog/rampart/internal/tally"
)

// StreamOptions configures [NewStream]. Nil, and each zero value, is the
// documented default.
type StreamOptions struct {
	// Heartbeat is the silence after which a comment is sent: 15 s when zero.
	Heartbeat time.Duration
	// WriteTimeout is how long a connection may take for what is written to it
	// in one go before it is ended: 30 s when zero, and up to a sixteenth more.
	// That is 4 KiB, and up to 64 KiB while the connection takes them within a
	// tenth of a second.
	WriteTimeout time.Duration
	// FlushEvery is how long a stream that has sent everything rests, while
	// more gathers: 10 ms when zero. Where many streams
	// are open they rest longer, 50 µs for each of them divided by the number of
	// processors: 25 ms with 1,000 on two. What comes after a longer silence is
	// sent at once.
	FlushEvery time.Duration
	Logger     *slog.Logger // nil discards; tokens are never logged
}

// StreamStats are figures of a [Stream] since it was made.
type StreamStats struct {
	Open              int
	Opened            uint64
	Closed            map[string]uint64    // by reason: ClosedClient and others
	Sent              map[EventType]uint64 // messages
	Resumes           map[string]uint64    // by result: ResumeOK and others
	WitnessMismatches uint64               // clients that had seen what the log no longer holds
}

// Reasons for which a stream ends, by which [StreamStats.Closed] counts, and
// results of resuming, by which [StreamStats.Resumes] does.
const (
	ClosedClient       = "client"        // it left
	ClosedWriteTimeout = "write_timeout" // it took nothing
	ClosedWriteError   = "write_error"
	ClosedShutdown     = "shutdown"
	ClosedError        = "error" // of the log

	ResumeOK        = "ok"        // the events after the position follow
	ResumeUnknown   = "unknown"   // well-formed, not in this log, or no longer
	ResumeMalformed = "malformed" // no position
	ResumeMismatch  = "mismatch"  // in this log with another hash, or beyond its head
)

// Stream is the http.Handler for GET /v1/events/stream: Server-Sent Events for
// any number of watchers, each at its own pace, as docs/stream.md has it.
//
// The first frame is connected; audit, audit_batch and approvals follow as the
// bus announces them. A client that sends Last-Event-ID, or ?last_event_id= on
// a first connection, gets all audit events after that position, one approvals,
// then what comes, with no gap and no overlap. When the log does not hold the
// position it gets one audit_batch with run_id "", which tells it to query, and
// one approvals. When the log holds it otherwise than the client saw it, the
// same, and that is logged and counted: every client is a witness.
//
// ?type= chooses messages by type; connected always comes, and an event too
// long for a frame, which goes out as audit_batch, counts as either audit type.
// ?agent=, ?session=, ?tool=, ?action= and ?run_id= choose audit events, and
// audit_batch messages that stand for at least one of them; without a chain
// only run_id can choose those. Values of one name are alternatives, names
// combine with and.
//
// A slow client slows nobody and loses nothing; one that takes nothing for the
// write timeout is disconnected, and can resume. The server's own ReadTimeout and WriteTimeout
// do not end a stream. Every ResponseWriter on the way must be able to flush
// (middleware through its Unwrap method); http.TimeoutHandler cannot.
//
// Stream checks no token: wrap it, or use [Rampart.Handler], which does. As it
// keeps requests open, end it when the server shuts down:
//
//	srv.RegisterOnShutdown(func() { stream.Close() })
type Stream struct {
	bus     *EventBus
	opts    StreamOptions
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

// NewStream returns a handler that sends what bus announces. Several streams
// may share a bus.
func NewStream(bus *EventBus, opts *StreamOptions) *Stream {
	s := &Stream{
		bus:        bus,
		processors: time.Duration(runtime.GOMAXPROCS(0)),
		closed:     tally.NewCounters(ClosedClient, ClosedWriteTimeout, ClosedWriteError, ClosedShutdown, ClosedError),
		resumes:    tally.NewCounters(ResumeOK, ResumeUnknown, ResumeMalformed, ResumeMismatch),
	}
	if opts != nil {
		s.opts = *opts
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
	s.closing, s.close = context.WithCancel(bus.closing)
	return s
}

// ServeHTTP holds a GET until its client leaves, the stream is closed or the
// client stops taking bytes. HEAD gets what GET would, without a body.
//
// 400: an unknown ?type=, or a malformed query. 405: another method. 500: the writer cannot flush.
// 503 with Retry-After: too many subscribers, shutting down, or the log cannot
// be read.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.check(w, r)
	if c == nil {
		return
	}
	if !s.enter() {
		s.unavailable(w, closedBus())
		return
	}
	defer s.handlers.Done()
	if r.Method == http.MethodHead {
		if err := s.bus.full(); err != nil {
			s.unavailable(w, err)
			return
		}
		setStreamHeader(w.Header())
		return
	}
	if !s.subscribe(c, r) {
		return
	}
	defer c.sub.leave()
	s.end(c.serve(r.Context()))
}

// check returns the connection that r asks for, or answers r and returns nil.
//
// What is done once for a stream is kept out of ServeHTTP and of
// [connection.serve], whose frames stay for as long as it is open: with them
// small its goroutine does with a stack of 8 KiB in place of 16.
func (s *Stream) check(w http.ResponseWriter, r *http.Request) *connection {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "the stream is read with GET")
		return nil
	}
	query, err := parseQuery(r)
	var chosen streamFilter
	if err == nil {
		chosen, err = parseStreamFilter(query)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return nil
	}
	if culprit := withoutFlush(w); culprit != nil {
		s.log.Error("the event stream needs a ResponseWriter that can flush", "writer", fmt.Sprintf("%T", culprit))
		writeError(w, http.StatusInternalServerError, "streaming is not supported by the response writer: give the middleware around this handler a Flush or an Unwrap method")
		return nil
	}
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = query.Get("last_event_id")
	}
	return &connection{stream: s, after: after, filter: chosen, w: w, rc: http.NewResponseController(w), http2: r.ProtoMajor > 1}
}

// subscribe gives c its place on the bus, or answers r and returns false.
func (s *Stream) subscribe(c *connection, r *http.Request) bool {
	var err error
	if c.sub, c.how, err = s.bus.subscribe(r.Context(), c.after); err != nil {
		s.unavailable(c.w, err)
		return false
	}
	if c.how == ResumeMismatch {
		s.witness(r.Context(), c.after, c.sub.head)
	}
	s.begin(c.how)
	return true
}

// witness reports a client that saw something else than what the log holds.
func (s *Stream) witness(ctx context.Context, position, head string) {
	id, _, _ := sse.ParsePosition(position)
	found := "the end of the log at " + head
	if rec, err := s.bus.history().Get(ctx, id); err == nil {
		found = "the hash " + rec.Hash()
	}
	s.log.Error("a client saw what the audit log does not hold: the log was rewritten or cut", "position", position, "found", found)
}

func setStreamHeader(h http.Header) {
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

func (s *Stream) unavailable(w http.ResponseWriter, err error) {
	msg := "the audit log cannot be read at the moment"
	switch {
	case errors.Is(err, ErrClosed):
		msg = "shutting down"
	case errors.Is(err, ErrLimit):
		msg = "too many subscribers"
	default:
		s.log.Error("a stream could not be opened", "error", err)
	}
	w.Header().Set("Retry-After", "5")
	writeError(w, http.StatusServiceUnavailable, msg)
}

// enter counts a handler that Close has to wait for; false while closing.
func (s *Stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return false
	}
	s.handlers.Add(1)
	return true
}

func (s *Stream) begin(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open.Add(1)
	s.opened++
	if how != resumeNone {
		s.resumes.Add(how)
	}
}

// perStream is by how much all streams rest longer for each that is open, with
// one processor. A flush takes 10 to 20 µs of one, however little it holds:
// flushes then take a third of all, and who appends events finds one free.
const perStream = 50 * time.Microsecond

// rest is how long a stream rests after a flush.
func (s *Stream) rest() time.Duration {
	return max(s.opts.FlushEvery, time.Duration(s.open.Load())*perStream/s.processors)
}

func (s *Stream) end(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open.Add(-1)
	s.closed.Add(reason)
}

func (s *Stream) count(n framelog.Counts) {
	for kind, v := range n {
		if v > 0 {
			s.sent[kind].Add(v)
		}
	}
}

// Stats returns the stream's figures.
func (s *Stream) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	resumes := s.resumes.Read()
	return StreamStats{
		Open:    int(s.open.Load()),
		Opened:  s.opened,
		Closed:  s.closed.Read(),
		Resumes: resumes,
		Sent: map[EventType]uint64{
			TypeConnected:  s.connected.Load(),
			TypeApprovals:  s.sent[kindApprovals].Load(),
			TypeAudit:      s.sent[kindAudit].Load(),
			TypeAuditBatch: s.sent[kindBatch].Load() + s.sent[kindLarge].Load(),
		},
		WitnessMismatches: resumes[ResumeMismatch],
	}
}

// Close ends every stream cleanly, answers later requests with 503 and returns
// when all handlers have left: within a second or so, since one that is
// blocked in a write gets that long. It may be called twice, but not from
// within a request. The bus stays open.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.handlers.Wait()
	return nil
}
