package rampart

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
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

// readObject reads r's body, a JSON object, into the targets, see decodeObject.
func readObject(w http.ResponseWriter, r *http.Request, targets map[string]any) error {
	if t := mediaType(r); t != "application/json" {
		return &statusError{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
	}
	data, err := readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	if err := decodeObject(data, targets); err != nil {
		return &statusError{http.StatusBadRequest, err.Error()}
	}
	return nil
}

// decodeObject checks src strictly and decodes those of its members that have a
// target: *string, **string, *int64, **bool, *json.RawMessage (an object) or
// *[]string.
// Names are matched exactly, letter case included. A null leaves its target as
// it is, except that a list must be one: absence of a list means everything.
func decodeObject(src []byte, targets map[string]any) error {
	if _, err := record.AppendObject(nil, src); err != nil {
		return err
	}
	return record.Members(src, func(name string, value []byte, offset int) error {
		wrong := func(what string) error {
			return &record.SyntaxError{Offset: offset, Msg: fmt.Sprintf("%q must be %s", name, what)}
		}
		target := targets[name]
		list, isList := target.(*[]string)
		if string(value) == "null" && !isList {
			return nil
		}
		switch target := target.(type) {
		case *string:
			s, err := record.String(value)
			if err != nil {
				return wrong("a string")
			}
			*target = s
		case **string:
			s, err := record.String(value)
			if err != nil {
				return wrong("a string")
			}
			*target = &s
		case *int64:
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil {
				return wrong("a whole number of 64 bits")
			}
			*target = n
		case **bool:
			if s := string(value); s != "true" && s != "false" {
				return wrong("true or false")
			}
			v := value[0] == 't'
			*target = &v
		case *json.RawMessage:
			if value[0] != '{' {
				return wrong("an object")
			}
			*target = value
		case *[]string:
			var raw []json.RawMessage
			if value[0] != '[' || json.Unmarshal(value, &raw) != nil {
				return wrong("a list of strings")
			}
			*list = make([]string, len(raw))
			for i := range raw {
				s, err := record.String(raw[i])
				if err != nil {
					return wrong("a list of strings")
				}
				(*list)[i] = s
			}
		}
		return nil
	})
}

// rfc3339 is what time.Parse takes more of: hours of one digit, commas, zones
// beyond a day. It is compiled when needed: a hook starts at every call.
var rfc3339 = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
})

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !rfc3339().MatchString(s) {
		return t, fmt.Errorf("%.40q is not a time of RFC 3339, such as 2026-03-03T10:15:30Z", s)
	}
	return t.UTC(), nil
}
