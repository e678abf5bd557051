package rampart

import (
	"net/http"
	"time"
)

const (
	bodyTimeout = 30 * time.Second // for a request's body to arrive
	// drainTimeout is for a body that nobody reads, as of a request that is
	// refused: the server takes it in before it sends the answer.
	drainTimeout = 5 * time.Second
	writeTimeout = 30 * time.Second // for a client to take some bytes of an answer
)

// patient writes an answer that may be long in coming or in being taken. Each
// write has its own time limit: neither does the server's WriteTimeout cut it
// off, nor does a dead peer hold it. The server lifts the limit when it has sent
// the answer.
type patient struct {
	http.ResponseWriter
	conn *http.ResponseController
}

func newPatient(w http.ResponseWriter, r *http.Request) *patient {
	p := &patient{w, http.NewResponseController(w)}
	// Errors mean that there is no such limit to set, as in tests.
	var until time.Time
	if r.Body != nil && r.Body != http.NoBody {
		until = time.Now().Add(drainTimeout)
	}
	_ = p.conn.SetReadDeadline(until)
	if r.ProtoMajor > 1 { // which resets a stream whose deadline passes, even while nothing is written
		_ = p.conn.SetWriteDeadline(time.Time{})
	}
	return p
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }
