package rampart

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

const (
	maxBody  = 1 << 20  // bytes of one JSON object
	maxLines = 32 << 20 // bytes of NDJSON in all

	// maxHeld is for the bodies of one credential that have not been answered.
	maxHeld = 2 * maxLines
)

// bodies counts the bytes of bodies that are in memory, by credential: whoever
// sends many at once is refused before they take it all, and nobody else is.
type bodies struct {
	mu   sync.Mutex
	held map[string]int64
}

// body is one that is being read.
type body struct {
	io.ReadCloser
	of   *bodies
	name string
	size int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.size += int64(n)
	if b.of.hold(b.name, int64(n)) > maxHeld {
		return n, fmt.Errorf("%w: the requests of %q that are under way have more than %d bytes; send them one after the other", ErrLimit, b.name, maxHeld)
	}
	return n, err
}

func (b *body) release() { b.of.hold(b.name, -b.size) }

// hold adds n to what name holds, and returns that.
func (b *bodies) hold(name string, n int64) int64 {
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

// mediaType returns the type of r's body, without parameters.
func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// readBody reads all of r's body.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &statusError{http.StatusUnsupportedMediaType, "Content-Encoding is not taken; send the body as it is"}
	}
	tooLarge := &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit)}
	if r.ContentLength > 2*limit || r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLarge
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout)) // some writers have none, as in tests
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		// Who goes on sending to a connection that is closed may lose the
		// answer, so that what is a little too long is taken in.
		_ = conn.SetReadDeadline(time.Now().Add(drainTimeout))
		rest := r.Body
		if b, ok := rest.(*body); ok {
			rest = b.ReadCloser // what is not kept is not counted
		}
		_, _ = io.CopyN(io.Discard, rest, limit)
		return nil, tooLarge
	case errors.Is(err, ErrLimit):
		return nil, err
	case err != nil:
		return nil, &statusError{http.StatusBadRequest, "the body did not arrive whole"}
	}
	// The time limit was for the body: what follows may take longer, and the
	// server takes an expired one for a client that went away.
	_ = conn.SetReadDeadline(time.Time{})
	return data, nil
}

// readObject reads r's body, a JSON object, into the targets, see [record.Decode].
func readObject(w http.ResponseWriter, r *http.Request, targets map[string]any) error {
	if t := mediaType(r); t != "application/json" {
		return &statusError{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
	}
	data, err := readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	if err := record.Decode(data, targets); err != nil {
		return &statusError{http.StatusBadRequest, err.Error()}
	}
	return nil
}
