package rampart_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestUnmatched(t *testing.T) {
	_, w := newWeb(t, testAuth())
	for _, path := range []string{"/", "/v1", "/v1/nowhere", "/v1/approvals/", "/v1/audit/events/a/b", "/metrics"} {
		w.as("").expect(404, `{"error":"not found"}`, "GET", path, "")
	}
	for route, allow := range map[string]string{
		"DELETE /v1/approvals": "GET, HEAD, POST", "PUT /v1/audit/events": "GET, HEAD, POST", "POST /healthz": "GET, HEAD",
		"GET /v1/approvals/x/resolve": "POST", "POST /v1/events/stream": "GET, HEAD", "OPTIONS /v1/events/stream": "GET, HEAD",
	} {
		f := strings.Fields(route)
		rec := w.as("").expect(405, "", f[0], f[1], "")
		if got := rec.Header().Get("Allow"); got != allow || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s: Allow %q, want %q; %s", route, got, allow, rec.Body)
		}
	}
}

func TestJSONHeaders(t *testing.T) {
	_, w := newWeb(t, testAuth())
	for _, path := range []string{"/healthz", "/v1/status", "/v1/audit/events", "/nowhere"} {
		h := w.send("GET", path, "").Header()
		for name, want := range map[string]string{"Content-Type": "application/json", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestHealthAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		r := openRampart(t, fs, rampart.Options{Version: "1.2.3"})
		w := &web{t, r.Handler(testAuth()), adminToken}
		time.Sleep(90 * time.Second)
		w.expect(200, `{"status":"ok","mode":"record","uptime_seconds":90,"version":"1.2.3"}`, "GET", "/healthz", "")
		w.expect(200, `{"version":"1.2.3","uptime_seconds":90,"mode":"record","head":{"id":"","hash":""},"events":0,"segments":1,"bytes":0,`+
			`"sync":"always","subscribers":0,"slowest_lag_events":0,"pending_approvals":0,"witness_mismatches":0}`, "GET", "/v1/status", "")
		request(t, r.Approvals, question(1))
		head := r.Chain.Head()
		w.expect(200, "", "GET", "/v1/audit/verify", "")
		w.expect(200, fmt.Sprintf(`{"version":"1.2.3","uptime_seconds":90,"mode":"record","head":{"id":"%s","hash":"%s"},"events":1,"segments":1,"bytes":%d,`+
			`"sync":"always","subscribers":0,"slowest_lag_events":0,"pending_approvals":1,"witness_mismatches":0,`+
			`"last_verify":{"ok":true,"verdict":"ok","events":1,"at":"%s"}}`, head.ID, head.Hash, r.Chain.Stats().Bytes, time.Now().UTC().Format(time.RFC3339)), "GET", "/v1/status", "")

		fs.FailSync(1, errDisk, true)
		_, err := r.Chain.Append(t.Context(), event(1))
		wantErr(t, "Append", err, rampart.ErrFailed)
		rec := w.expect(503, "", "GET", "/healthz", "")
		if !strings.HasPrefix(rec.Body.String(), `{"status":"failing","error":"`) {
			t.Error(rec.Body)
		}
	})
}

// A slow body must not hold a connection for ever.
func TestBodyHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := newWeb(t, testAuth())
		site := newSite(t, w.h, nil)
		for token, limit := range map[string]time.Duration{adminToken: 30 * time.Second, "wrong": 5 * time.Second} {
			conn, err := site.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			go fmt.Fprintf(conn, "POST /v1/approvals HTTP/1.1\r\nHost: rampart\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", token)
			got, _ := io.ReadAll(conn)
			if took := time.Since(began); took > limit+time.Second || !bytes.HasPrefix(got, []byte("HTTP/1.1 40")) {
				t.Errorf("%s: after %v: %.60q", token, took, got)
			}
		}
	})
}

// Nor must a body that nobody reads: the server takes it in before it sends its
// answer.
func TestUnreadBodyHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := newWeb(t, testAuth())
		api, own := newSite(t, w.h, nil), newSite(t, testAuth().Require(rampart.ScopeAdmin, w.h), nil)
		for _, c := range []struct {
			site               *site
			path, token, gives string
		}{
			{api, "/v1/events/stream", "wrong", "HTTP/1.1 401"},
			{api, "/v1/events/stream?type=x", adminToken, "HTTP/1.1 400"},
			{api, "/v1/events/stream", adminToken, "HTTP/1.1 200"},
			{api, "//healthz", "wrong", "HTTP/1.1 307"},
			{api, "/nothing", "wrong", "HTTP/1.1 404"},
			{own, "/metrics", "wrong", "HTTP/1.1 401"},
		} {
			conn, err := c.site.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(6 * time.Second))
			go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: rampart\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", c.path, c.token)
			got := make([]byte, len(c.gives))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.gives {
				t.Errorf("GET %s with the token %q: %q, %v, want %q", c.path, c.token, got, err, c.gives)
			}
			conn.Close()
		}
	})
}

// A change that can't be made durable is answered with 503, and did not happen.
func TestRoutesFailClosed(t *testing.T) {
	fs := vfstest.New()
	r := openRampart(t, fs, rampart.Options{})
	w := &web{t, r.Handler(testAuth()), adminToken}
	p := request(t, r.Approvals, question(1))
	for route, body := range map[string]string{
		"/v1/audit/events":                   `{"agent":"a","tool":"t","decision":{"action":"allow"}}`,
		"/v1/approvals":                      `{"agent":"a","tool":"t","command":"ls"}`,
		"/v1/approvals/" + p.ID + "/resolve": `{"approved":true}`,
		"/v1/approvals/bulk-resolve":         `{"run_id":"run_1","action":"approve"}`,
	} {
		fs.FailAt(1, errDisk, false)
		w.expect(503, "", "POST", route, body)
	}
	if got := r.Approvals.List(rampart.ApprovalFilter{}); len(got) != 1 || r.Chain.Stats().Events != 1 {
		t.Errorf("%d events, pending %v", r.Chain.Stats().Events, got)
	}
	w.expect(200, "", "GET", "/healthz", "")
	w.expect(200, "", "POST", "/v1/approvals/"+p.ID+"/resolve", `{"approved":true}`)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, route := range []string{"GET /healthz", "GET /v1/audit/events", "GET /v1/audit/dates", "GET /v1/approvals/" + p.ID, "HEAD /v1/events/stream"} {
		f := strings.Fields(route)
		w.expect(503, "", f[0], f[1], "")
	}
	w.expect(503, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
}

// unfinished is a body whose end does not come. What came of it is held, all the
// same.
type unfinished struct {
	io.Reader
	given chan struct{} // closed when all but the end was given
	stop  chan struct{}
}

func (e *unfinished) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		close(e.given)
		<-e.stop
	}
	return n, err
}

// The bodies of one credential may have 64 MiB at once. The host's log says nothing
// of a refusal: whoever can reach the limit could fill a disk with such lines.
func TestBodiesOfOneCredential(t *testing.T) {
	var logged bytes.Buffer
	r, err := rampart.Open(t.TempDir(), &rampart.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := r.Handler(testAuth())
	post := func(token string, body io.Reader) *httptest.ResponseRecorder {
		q := httptest.NewRequest("POST", "http://localhost/v1/audit/events", body)
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Content-Type", "application/x-ndjson")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, q)
		return rec
	}
	blank := func(n int) io.Reader { return strings.NewReader(strings.Repeat("\n", n)) }
	stop := make(chan struct{})
	var held sync.WaitGroup
	for range 2 {
		e := &unfinished{blank(31 << 20), make(chan struct{}), stop}
		held.Go(func() { post(adminToken, e) })
		<-e.given
	}
	if rec := post(adminToken, blank(3<<20)); rec.Code != 503 || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "one after the other") {
		t.Errorf("beyond the limit: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if rec := post(agentToken, blank(3<<20)); rec.Code == 503 {
		t.Errorf("another credential: %d %s", rec.Code, rec.Body)
	}
	close(stop)
	held.Wait()
	if rec := post(adminToken, blank(3<<20)); rec.Code == 503 {
		t.Errorf("once they were answered: %d %s", rec.Code, rec.Body)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %q", &logged)
	}
}
