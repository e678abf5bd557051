package httpio

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
)

const (
	MaxObject = 1 << 20  // bytes of a body that is one JSON object
	MaxLines  = 32 << 20 // bytes of a body of NDJSON

	// maxHeld is for the bodies of one credential that have not been answered.
	maxHeld = 2 * MaxLines
)

// Bodies counts the bytes of bodies that are in memory, by credential: a
// credential that sends too much at once is refused, and no other one is.
type Bodies struct {
	mu   sync.Mutex
	held map[string]int64
}

// Hold returns r with a body that is counted as name's until release is called,
// once r is answered. At the limit reading the body fails with ErrLimit.
func (b *Bodies) Hold(r *http.Request, name string) (held *http.Request, release func()) {
	counted := &body{ReadCloser: r.Body, of: b, name: name}
	// A request of its own: the server looks at the body of the one that it
	// made, to know whether to take in the rest.
	r = r.WithContext(r.Context())
	r.Body = counted
	return r, counted.release
}

// body counts what is read of a request's body.
type body struct {
	io.ReadCloser
	of   *Bodies
	name string
	size int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.size += int64(n)
	if b.of.add(b.name, int64(n)) > maxHeld {
		return n, fmt.Errorf("%w: the requests of %q that are under way have more than %d bytes; send them one after the other", failure.ErrLimit, b.name, maxHeld)
	}
	return n, err
}

func (b *body) release() { b.of.add(b.name, -b.size) }

// add adds n to what name holds, and returns the sum.
func (b *Bodies) add(name string, n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held == nil {
		b.held = map[string]int64{}
	}
	held := b.held[name] + n
	if b.held[name] = held; held == 0 {
		delete(b.held, name)
	}
	return held
}

// MediaType returns the type of r's body without parameters, or "".
func MediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// ReadBody reads all of r's body, which has 30 s to arrive and takes limit bytes
// at most. w is where r is answered.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &Error{http.StatusUnsupportedMediaType, "Content-Encoding is not taken; send the body as it is"}
	}
	tooLarge := &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit)}
	if r.ContentLength > 2*limit || r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLarge
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout)) // some writers have none, as in tests
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		// A client that still sends when the connection is closed may lose the
		// answer. So the rest of a body that is a little too long is read.
		_ = conn.SetReadDeadline(time.Now().Add(drainTimeout))
		rest := r.Body
		if b, ok := rest.(*body); ok {
			rest = b.ReadCloser // what is not kept is not counted
		}
		_, _ = io.CopyN(io.Discard, rest, limit)
		return nil, tooLarge
	case errors.Is(err, failure.ErrLimit):
		return nil, err
	case err != nil:
		return nil, &Error{http.StatusBadRequest, "the body did not arrive whole"}
	}
	// The deadline was for the body. What follows may take longer, and the
	// server takes a passed deadline for a client that has left.
	_ = conn.SetReadDeadline(time.Time{})
	return data, nil
}

// ReadObject reads r's body, a JSON object of at most [MaxObject] bytes, into the
// targets as [record.Decode] does. w is where r is answered.
func ReadObject(w http.ResponseWriter, r *http.Request, targets map[string]any) error {
	if t := MediaType(r); t != "application/json" {
		return &Error{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
	}
	data, err := ReadBody(w, r, MaxObject)
	if err != nil {
		return err
	}
	if err := record.Decode(data, targets); err != nil {
		return &Error{http.StatusBadRequest, err.Error()}
	}
	return nil
}
