// Package httpio reads bodies and parameters and writes answers of the HTTP API:
// JSON with limits of time and size.
package httpio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Error is an answer that is not a success.
type Error struct {
	Code int // of HTTP
	Msg  string
}

func (e *Error) Error() string { return e.Msg }

// Errorf makes an [*Error].
func Errorf(code int, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Headers sets the headers that every answer but a stream has.
func Headers(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// WriteJSON answers with v. After an error nothing has been written.
func WriteJSON(w http.ResponseWriter, code int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // a request is shown as stored
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("rampart: encode the answer: %w", err)
	}
	WriteBody(w, code, body.Bytes())
	return nil
}

// WriteBody answers with a body that is JSON.
func WriteBody(w http.ResponseWriter, code int, body []byte) {
	Headers(w, "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // an error here means that the client has left
}

// WriteError answers with {"error": msg}.
func WriteError(w http.ResponseWriter, code int, msg string) {
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="rampart"`)
	}
	_ = WriteJSON(w, code, struct {
		Error string `json:"error"`
	}{msg})
}

// NoRoute answers r, which no route of a mux takes. h is what the mux has for it:
// the handler that answers with 404 or 405 as text. NoRoute says the same as JSON.
func NoRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	said := headerOnly{http.Header{}}
	h.ServeHTTP(said, r)
	if allow := said.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		WriteError(w, http.StatusMethodNotAllowed, "method not allowed; this path takes "+allow)
		return
	}
	WriteError(w, http.StatusNotFound, "not found")
}

// headerOnly keeps the header of an answer and drops the rest.
type headerOnly struct{ header http.Header }

func (h headerOnly) Header() http.Header         { return h.header }
func (h headerOnly) WriteHeader(int)             {}
func (h headerOnly) Write(b []byte) (int, error) { return len(b), nil }
