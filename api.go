package rampart

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/guard"
	"github.com/rampartlog/rampart/internal/httpio"
)

// Handler serves every route of docs/api.md but /metrics: those under /v1/, and
// /healthz. Unmatched paths get 404. It panics with [Auth.Validate]'s error if
// auth has one.
//
// A body has 30 s to arrive. The bodies of one credential may have 64 MiB at once;
// a request beyond that gets 503. Answers survive the server's WriteTimeout for as
// long as the client takes some bytes within 30 s.
func (r *Rampart) Handler(auth *Auth) http.Handler {
	a := &api{Rampart: r, guard: auth.guard(), verifying: make(chan struct{}, 1)}
	a.handle("GET /healthz", "", a.getHealth)
	a.handle("GET /v1/status", guard.Admin, a.getStatus)
	a.handle("POST /v1/events/ticket", guard.Admin, a.postTicket)
	a.handle("GET /v1/events/stream", guard.Stream, a.getStream)

	a.handle("POST /v1/audit/events", guard.Agent, a.postEvents)
	a.handle("GET /v1/audit/events", guard.Admin, a.getEvents)
	a.handle("GET /v1/audit/events/{id}", guard.Admin, a.getEvent)
	a.handle("GET /v1/audit/dates", guard.Admin, a.getDates)
	a.handle("GET /v1/audit/stats", guard.Admin, a.getStats)
	a.handle("GET /v1/audit/export", guard.Admin, a.getExport)
	a.handle("GET /v1/audit/verify", guard.Admin, a.getVerify)

	a.handle("GET /v1/approvals", guard.Admin, a.getApprovals)
	a.handle("POST /v1/approvals", guard.Agent, a.postApproval)
	a.handle("GET /v1/approvals/{id}", guard.Agent, a.getApproval)
	a.handle("POST /v1/approvals/{id}/resolve", guard.Admin, a.postResolve)
	a.handle("POST /v1/approvals/bulk-resolve", guard.Admin, a.postBulkResolve)
	return a
}

// api is the routes and what they share.
type api struct {
	*Rampart
	guard  *guard.Guard
	mux    http.ServeMux
	bodies httpio.Bodies

	verifying chan struct{} // holds one while a verification runs
	mu        sync.Mutex
	verified  *Verification
}

// serveFunc answers a request, or returns an error before it wrote anything.
type serveFunc func(w http.ResponseWriter, r *http.Request, c guard.Credential) error

// handle adds a route that needs the scope, or no credential if need is empty.
func (a *api) handle(pattern string, need guard.Scope, serve serveFunc) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var c guard.Credential
		var err error
		if need != "" {
			c, err = a.guard.Admit(r, need)
			var release func()
			r, release = a.bodies.Hold(r, c.Name)
			defer release()
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
	d := httpio.NewDeadlineWriter(w, r)
	if err := a.guard.Check(r); err != nil {
		a.fail(d, r, "", err)
		return
	}
	if a.guard.CORS(d, r) {
		return
	}
	if h, pattern := a.mux.Handler(r); pattern == "" {
		httpio.NoRoute(d, r, h)
		return
	}
	a.mux.ServeHTTP(d, r)
}

// fail answers with err. The URL goes into no log line: it may hold a token.
func (a *api) fail(w http.ResponseWriter, r *http.Request, pattern string, err error) {
	code := http.StatusInternalServerError
	var status *httpio.Error
	switch {
	case errors.As(err, &status):
		code = status.Code
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
	// Limits are not logged: whoever can hit one could fill the log.
	if code >= 500 && r.Context().Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLimit) {
		a.log.Error("request failed", "route", pattern, "status", code, "error", err)
	}
	httpio.WriteError(w, code, strings.Replace(err.Error(), ErrInvalid.Error()+": ", "", 1))
}

func (a *api) postTicket(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	token, expires := a.guard.Issue(wallClock())
	return httpio.WriteJSON(w, http.StatusOK, struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}{token, expires})
}

func (a *api) getStream(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	q, err := httpio.ParseQuery(r)
	if err != nil {
		return err
	}
	if q.Has("token") { // taken out, so that no handler after this one can log it
		q.Del("token")
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.Encode()
		r.RequestURI = r.URL.RequestURI()
	}
	a.Stream.ServeHTTP(w.(*httpio.DeadlineWriter).ResponseWriter, r) // a stream sets its own deadlines
	return nil
}

const mode = "record"

func (a *api) uptime() int64 { return int64(time.Since(a.started).Seconds()) }

func (a *api) getHealth(w http.ResponseWriter, _ *http.Request, _ guard.Credential) error {
	if err := cmp.Or(a.Chain.Err(), a.Approvals.err()); err != nil {
		return httpio.WriteJSON(w, http.StatusServiceUnavailable, struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		}{"failing", err.Error()})
	}
	return httpio.WriteJSON(w, http.StatusOK, struct {
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

func (a *api) getStatus(w http.ResponseWriter, _ *http.Request, _ guard.Credential) error {
	chain, bus := a.Chain.Stats(), a.Bus.Stats()
	a.mu.Lock()
	verified := a.verified
	a.mu.Unlock()
	return httpio.WriteJSON(w, http.StatusOK, Status{
		Version: a.version, UptimeSeconds: a.uptime(), Mode: mode, Head: a.Chain.Head(),
		Events: chain.Events, Segments: chain.Segments, Bytes: chain.Bytes, Sync: chain.Sync,
		Subscribers: bus.Subscribers, SlowestLag: bus.SlowestLag, PendingApprovals: a.Approvals.Stats().Pending,
		WitnessMismatches: a.Stream.Stats().WitnessMismatches, LastVerify: verified,
	})
}
