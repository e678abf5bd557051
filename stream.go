package rampart

import (
	"log/slog"
	"net/http"
	"time"
)

// StreamOptions configures [NewStream].
type StreamOptions struct {
	Heartbeat    time.Duration // silence before a comment is sent; 15 s when zero
	WriteTimeout time.Duration // a connection that takes no byte for so long is ended; 30 s when zero
	FlushEvery   time.Duration // least time between two flushes of one stream; 10 ms when zero, none when negative
	Logger       *slog.Logger  // nil discards
}

// StreamStats are figures of a [Stream] since it was made.
type StreamStats struct {
	Open              int
	Opened            uint64
	Closed            map[string]uint64 // by reason: client, write_timeout, write_error, shutdown, error
	Sent              map[string]uint64 // messages by type
	Resumes           map[string]uint64 // by result: ok, unknown, malformed, mismatch
	WitnessMismatches uint64
}

// Stream is the http.Handler for GET /v1/events/stream.
type Stream struct{}

func NewStream(bus *EventBus, opts *StreamOptions) *Stream { return &Stream{} }

func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("not written yet") }

func (s *Stream) Stats() StreamStats { panic("not written yet") }

// Close ends every stream cleanly and answers later requests with 503.
func (s *Stream) Close() error { return nil }
