package httpio

import (
	"net/http"
	"time"
)

const (
	bodyTimeout = 30 * time.Second // for a request's body to arrive
	// drainTimeout is for a body that no handler reads, such as that of a
	// refused request: the server takes it in before it sends the answer.
	drainTimeout = 5 * time.Second
	writeTimeout = 30 * time.Second // for a client to take some bytes of an answer
)

// DeadlineWriter gives each write of an answer a time limit of its own, so that
// an answer may take long to come and long to be taken: the server's
// WriteTimeout does not cut it off, and a dead peer does not hold it. The server
// lifts the limit once it has sent the answer.
type DeadlineWriter struct {
	http.ResponseWriter // without limits, for a handler that sets its own
	conn                *http.ResponseController
}

// NewDeadlineWriter returns a writer for the answer to r. It gives r's body 5 s
// to arrive, which [ReadBody] extends.
func NewDeadlineWriter(w http.ResponseWriter, r *http.Request) *DeadlineWriter {
	d := &DeadlineWriter{w, http.NewResponseController(w)}
	// Errors mean that w has no such limit to set, as in tests.
	var until time.Time
	if r.Body != nil && r.Body != http.NoBody {
		until = time.Now().Add(drainTimeout)
	}
	_ = d.conn.SetReadDeadline(until)
	if r.ProtoMajor > 1 { // HTTP/2 resets a stream whose deadline passes, even while nothing is written
		_ = d.conn.SetWriteDeadline(time.Time{})
	}
	return d
}

func (d *DeadlineWriter) Write(b []byte) (int, error) {
	_ = d.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return d.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (d *DeadlineWriter) Unwrap() http.ResponseWriter { return d.ResponseWriter }
