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
)

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
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout)) // some writers have none, as in tests
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit)}
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
