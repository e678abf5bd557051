package rampart

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/rampartlog/rampart/internal/stream"
)

// StreamOptions configures [NewStream]. Nil, and each zero value, is the
// documented default.
type StreamOptions struct {
	// Heartbeat is the silence after which a comment is sent: 15 s when zero.
	Heartbeat time.Duration
	// WriteTimeout is how long a connection may take for one write before it is
	// ended: 30 s when zero, and up to a sixteenth more. One write is 4 KiB, or up
	// to 64 KiB while the connection takes that within a tenth of a second.
	WriteTimeout time.Duration
	// FlushEvery is how long a stream rests after it has sent everything, so that
	// more gathers: 10 ms when zero. Where many streams are open each rests longer:
	// 50 µs for each open stream, divided by the number of processors, which is
	// 25 ms with 1,000 on two. After a longer silence a message is sent at once.
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

// Stream is the http.Handler for GET /v1/events/stream: Server-Sent Events for
// any number of watchers, each at its own pace, as docs/stream.md describes.
//
// The first frame is connected; audit, audit_batch and approvals follow as the
// bus announces them. A client that sends Last-Event-ID, or ?last_event_id= on
// a first connection, gets all audit events after that position, one approvals,
// then what comes, with no gap and no overlap. When the log does not hold the
// position, the client gets one audit_batch with run_id "", which tells it to
// query, and one approvals. When the log no longer holds what the client saw
// there, the client gets the same, and that is logged and counted: every client is
// a witness.
//
// ?type= chooses messages by type; connected always comes, and an event too
// long for a frame, which goes out as audit_batch, counts as either audit type.
// ?agent=, ?session=, ?tool=, ?action= and ?run_id= choose audit events, and
// audit_batch messages that stand for at least one chosen event; without a chain
// only run_id can choose an audit_batch. Values of one name are alternatives,
// names combine with and.
//
// A slow client slows nobody and loses nothing; one that takes nothing for the
// write timeout is disconnected, and can resume. The server's own ReadTimeout
// and WriteTimeout do not end a stream. Every ResponseWriter on the way must be
// able to flush (middleware through its Unwrap method); http.TimeoutHandler
// cannot.
//
// Stream checks no token: wrap it, or use [Rampart.Handler], which does. A
// stream keeps its request open, so close the Stream when the server shuts down:
//
//	srv.RegisterOnShutdown(func() { stream.Close() })
type Stream struct{ server *stream.Server }

// NewStream returns a handler that sends what bus announces. Several streams
// may share a bus.
func NewStream(bus *EventBus, opts *StreamOptions) *Stream {
	var o StreamOptions
	if opts != nil {
		o = *opts
	}
	return &Stream{stream.New(bus.bus, stream.Options(o))}
}

// ServeHTTP holds a GET until its client leaves, the stream is closed or the
// client stops taking bytes. HEAD gets what GET would, without a body.
//
// 400: an unknown ?type=, or a malformed query. 405: another method. 500: the
// writer cannot flush. 503 with Retry-After: too many subscribers, shutting down,
// or the log cannot be read.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.server.ServeHTTP(w, r) }

// Stats returns the stream's figures.
func (s *Stream) Stats() StreamStats {
	st := s.server.Stats()
	return StreamStats{
		Open: st.Open, Opened: st.Opened, Closed: st.Closed, Resumes: st.Resumes,
		Sent: map[EventType]uint64{
			TypeConnected: st.Connected, TypeApprovals: st.Approvals, TypeAudit: st.Audit, TypeAuditBatch: st.Batches,
		},
		WitnessMismatches: st.Resumes[ResumeMismatch],
	}
}

// Close ends every stream cleanly, answers later requests with 503 and returns
// when all handlers have left: within a second or so, since a handler that is
// blocked in a write gets that long. It may be called twice, but not from within a
// request. The bus stays open.
func (s *Stream) Close() error { return s.server.Close() }
