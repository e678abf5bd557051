package rampart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Handler serves every route of docs/api.md but /metrics: those under /v1/, and
// /healthz. Unmatched paths get 404. It panics with [Auth.Validate]'s error if
// auth has one.
//
// Bodies have 30 s to arrive, and 64 MiB are held of each credential: 503
// beyond. Answers survive the server's WriteTimeout for as long as the client
// takes some bytes within 30 s.
func (r *Rampart) Handler(auth *Auth) http.Handler {
	a := &api{Rampart: r, guard: newGuard(auth), verifying: make(chan struct{}, 1)}
	a.handle("GET /healthz", "", a.getHealth)
	a.handle("GET /v1/status", ScopeAdmin, a.getStatus)
	a.handle("POST /v1/events/ticket", ScopeAdmin, a.postTicket)
	a.handle("GET /v1/events/stream", scopeStream, a.getStream)

	a.handle("POST /v1/audit/events", ScopeAgent, a.postEvents)
	a.handle("GET /v1/audit/events", ScopeAdmin, a.getEvents)
	a.handle("GET /v1/audit/events/{id}", ScopeAdmin, a.getEvent)
	a.handle("GET /v1/audit/dates", ScopeAdmin, a.getDates)
	a.handle("GET /v1/audit/stats", ScopeAdmin, a.getStats)
	a.handle("GET /v1/audit/export", ScopeAdmin, a.getExport)
	a.handle("GET /v1/audit/verify", ScopeAdmin, a.getVerify)

	a.handle("GET /v1/approvals", ScopeAdmin, a.getApprovals)
	a.handle("POST /v1/approvals", ScopeAgent, a.postApproval)
	a.handle("GET /v1/approvals/{id}", ScopeAgent, a.getApproval)
	a.handle("POST /v1/approvals/{id}/resolve", ScopeAdmin, a.postResolve)
	a.handle("POST /v1/approvals/bulk-resolve", ScopeAdmin, a.postBulkResolve)
	return a
}

// api is the routes and what they share.
type api struct {
	*Rampart
	guard  *guard
	mux    http.ServeMux
	bodies bodies

	verifying chan struct{} // holds one while a verification runs
	mu        sync.Mutex
	verified  *Verification
}

// serveFunc answers a request, or returns an error before it wrote anything.
type serveFunc func(w http.ResponseWriter, r *http.Request, c Credential) error

// handle adds a route that needs the scope, or none when it is empty.
func (a *api) handle(pattern string, need Scope, serve serveFunc) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var c Credential
		var err error
		if need != "" {
			c, err = a.guard.admit(r, need)
			b := &body{ReadCloser: r.Body, of: &a.bodies, name: c.Name}
			defer b.release()
			r = r.WithContext(r.Context()) // the server looks at its own request's body, to know whether to take in the rest
			r.Body = b
		}
		if err == nil {
			err = serve(w, r, c)
		}
		if err != nil {
			a.fail(w, r, pattern, err)
		}
	})
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := newPatient(w, r)
	if err := a.guard.origins.check(r); err != nil {
		a.fail(p, r, "", err)
		return
	}
	if a.guard.origins.headers(p, r) {
		return
	}
	if h, pattern := a.mux.Handler(r); pattern == "" {
		noRoute(p, r, h)
		return
	}
	a.mux.ServeHTTP(p, r)
}

// noRoute says as JSON what the mux's own h, for a path or method that is not
// there, says as text.
func noRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	said := refusal{header: http.Header{}}
	h.ServeHTTP(&said, r)
	if allow := said.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		writeError(w, http.StatusMethodNotAllowed, "method not allowed; this path takes "+allow)
		return
	}
	writeError(w, http.StatusNotFound, "not found")
}

// refusal takes what a handler answers and keeps the header.
type refusal struct{ header http.Header }

func (s *refusal) Header() http.Header         { return s.header }
func (s *refusal) WriteHeader(int)             {}
func (s *refusal) Write(b []byte) (int, error) { return len(b), nil }

// statusError is an answer that is not a success.
type statusError struct {
	code int
	msg  string
}

func (e *statusError) Error() string { return e.msg }

// fail answers with err. The URL goes into no log line: it may hold a token.
func (a *api) fail(w http.ResponseWriter, r *http.Request, pattern string, err error) {
	code := http.StatusInternalServerError
	var status *statusError
	switch {
	case errors.As(err, &status):
		code = status.code
	case errors.Is(err, ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, ErrNotPending):
		code = http.StatusGone
	case errors.Is(err, ErrLimit):
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	case r.Method == http.MethodPost, errors.Is(err, ErrClosed), errors.Is(err, ErrFailed), r.Context().Err() != nil:
		// Not made durable, hence not done; or the host is shutting down.
		code = http.StatusServiceUnavailable
	}
	// A limit is its caller's to know of: who can reach one could fill the log with it.
	if code >= 500 && r.Context().Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLimit) {
		a.log.Error("request failed", "route", pattern, "status", code, "error", err)
	}
	writeError(w, code, strings.Replace(err.Error(), ErrInvalid.Error()+": ", "", 1))
}

func writeError(w http.ResponseWriter, code int, msg string) {
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="rampart"`)
	}
	_ = writeJSON(w, code, struct {
		Error string `json:"error"`
	}{msg})
}

func writeJSON(w http.ResponseWriter, code int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // a request is shown as stored
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("rampart: encode the answer: %w", err)
	}
	jsonHeaders(w)
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // who does not take it is gone
	return nil
}

func jsonHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

func (a *api) getStream(w http.ResponseWriter, r *http.Request, _ Credential) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	if q.Has("token") { // ends here, so that nothing further in can log it
		q.Del("token")
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.Encode()
		r.RequestURI = r.URL.RequestURI()
	}
	a.Stream.ServeHTTP(w.(*patient).ResponseWriter, r) // it sets time limits of its own to what it writes
	return nil
}

const mode = "record"

func (a *api) uptime() int64 { return int64(time.Since(a.started).Seconds()) }

func (a *api) getHealth(w http.ResponseWriter, _ *http.Request, _ Credential) error {
	if err := a.Chain.Err(); err != nil {
		return writeJSON(w, http.StatusServiceUnavailable, struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		}{"failing", err.Error()})
	}
	return writeJSON(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Mode    string `json:"mode"`
		Uptime  int64  `json:"uptime_seconds"`
		Version string `json:"version"`
	}{"ok", mode, a.uptime(), a.version})
}

// Status is what GET /v1/status says of a server.
type Status struct {
	Version           string        `json:"version"`
	UptimeSeconds     int64         `json:"uptime_seconds"`
	Mode              string        `json:"mode"`
	Head              Anchor        `json:"head"` // the newest event; note it down elsewhere, see [Anchor]
	Events            uint64        `json:"events"`
	Segments          int           `json:"segments"`
	Bytes             int64         `json:"bytes"`
	Sync              SyncPolicy    `json:"sync"`
	Subscribers       int           `json:"subscribers"`
	SlowestLag        uint64        `json:"slowest_lag_events"`
	PendingApprovals  int           `json:"pending_approvals"`
	WitnessMismatches uint64        `json:"witness_mismatches"` // clients that had seen what the log no longer holds
	LastVerify        *Verification `json:"last_verify,omitempty"`
}

// Verification is the outcome of the last verification over HTTP.
type Verification struct {
	OK      bool      `json:"ok"`
	Verdict Verdict   `json:"verdict"`
	Events  uint64    `json:"events"`
	At      time.Time `json:"at"`
}

func (a *api) getStatus(w http.ResponseWriter, _ *http.Request, _ Credential) error {
	chain, bus := a.Chain.Stats(), a.Bus.Stats()
	a.mu.Lock()
	verified := a.verified
	a.mu.Unlock()
	return writeJSON(w, http.StatusOK, Status{
		Version: a.version, UptimeSeconds: a.uptime(), Mode: mode, Head: a.Chain.Head(),
		Events: chain.Events, Segments: chain.Segments, Bytes: chain.Bytes, Sync: chain.Sync,
		Subscribers: bus.Subscribers, SlowestLag: bus.SlowestLag, PendingApprovals: a.Approvals.Stats().Pending,
		WitnessMismatches: a.Stream.Stats().WitnessMismatches, LastVerify: verified,
	})
}
