// The tests run the whole program on listeners of their own and speak HTTP to it.
// Tests about time run in synctest; the time limits of the others only end a test
// that hangs.
package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	mounted "github.com/rampartlog/rampart/example/mounted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience ends a test that hangs; a busy machine needs far less.
const patience = time.Minute

// app is the program under test and a client of it.
type app struct {
	t       *testing.T
	url     string
	client  *http.Client
	logs    *output
	printed *output
	secrets []string
	stop    func() // ends the program as SIGTERM does, and waits for that
}

type options struct {
	host      string
	heartbeat time.Duration
	dial      func(context.Context, string, string) (net.Conn, error) // for the client; nil: the transport's
}

// start runs the program on ln. When the test ends, start stops the program and
// searches its log for secrets.
func start(t *testing.T, ln net.Listener, o options) *app {
	t.Helper()
	transport := &http.Transport{DialContext: o.dial, DisableCompression: true}
	a := &app{t: t, logs: new(output), printed: new(output), url: "http://" + ln.Addr().String(), client: &http.Client{Transport: transport}, secrets: []string{mounted.Password, mounted.Key}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() { done <- mounted.Run(ctx, dir, o.host, o.heartbeat, ln, a.printed, a.logs) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	t.Cleanup(func() {
		a.stop()
		transport.CloseIdleConnections()
		for _, s := range a.secrets {
			if text := a.logs.String(); strings.Contains(text, s) {
				t.Errorf("a secret is in the log:\n%s", text)
			}
		}
	})
	return a
}

// onLoopback starts the program on a port of its own.
func onLoopback(t *testing.T, o options) *app {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, ln, o)
}

// who is the header that says who sends a request.
type who struct{ name, value string }

var (
	nobody = who{}
	claude = who{"Authorization", "Bearer " + mounted.Key}
)

// login returns ann's or bob's session.
func (a *app) login(name string) who {
	a.t.Helper()
	got := a.do(nobody, "POST", "/login", "name="+name+"&password="+mounted.Password, "Content-Type", "application/x-www-form-urlencoded").want(http.StatusOK)
	cookie, err := http.ParseSetCookie(got.header.Get("Set-Cookie"))
	if err != nil || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		a.t.Fatalf("the session's cookie: %v, %v", cookie, err)
	}
	a.secrets = append(a.secrets, cookie.Value)
	return who{"Cookie", "session=" + cookie.Value}
}

// request makes a request; headers are name, value, name, value …
func (a *app) request(w who, method, path, body string, headers ...string) *http.Request {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if w.name != "" {
		req.Header.Set(w.name, w.value)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	return req
}

// open sends a request and returns the answer with its body unread.
func (a *app) open(w who, method, path, body string, headers ...string) *http.Response {
	a.t.Helper()
	resp, err := a.client.Do(a.request(w, method, path, body, headers...))
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// reply is an answer that was read to its end.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (a *app) do(w who, method, path, body string, headers ...string) reply {
	a.t.Helper()
	resp := a.open(w, method, path, body, headers...)
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	resp.Body.Close()
	return reply{a.t, resp.StatusCode, resp.Header, string(data)}
}

// want checks the status and returns the answer.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// into decodes the body.
func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
}

const call = `{"tool":"exec","request":{"command":%q},"decision":{"action":"allow"}}`

// record appends a call of the agent and returns the event's id.
func (a *app) record(command string) string {
	a.t.Helper()
	var got struct {
		IDs []string `json:"ids"`
	}
	a.do(claude, "POST", "/v1/audit/events", fmt.Sprintf(call, command)).want(http.StatusCreated).into(&got)
	return got.IDs[0]
}

// ask requests an approval for the agent and returns its id.
func (a *app) ask() string {
	a.t.Helper()
	var got struct {
		ID string `json:"id"`
	}
	a.do(claude, "POST", "/v1/approvals", `{"tool":"exec","command":"git push","message":"publishes"}`).want(http.StatusCreated).into(&got)
	return got.ID
}

// watch opens a stream and reads its connected frame.
func (a *app) watch(w who, path string, headers ...string) *watcher {
	a.t.Helper()
	resp := a.open(w, "GET", path, "", headers...)
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "text/event-stream" {
		a.t.Fatalf("%s: %s, %s", path, resp.Status, ct)
	}
	return newWatcher(a.t, resp)
}

func newWatcher(t *testing.T, resp *http.Response) *watcher {
	t.Helper()
	w := &watcher{t: t, resp: resp, r: bufio.NewReader(resp.Body)}
	if w.next(); w.last.Type != "connected" {
		t.Fatalf("the stream begins with %+v", w.last)
	}
	return w
}

// watcher reads a stream.
type watcher struct {
	t    *testing.T
	resp *http.Response
	r    *bufio.Reader
	last message
	id   string // the last one, to resume after
}

type message struct {
	Type  string
	Event json.RawMessage
}

// frame reads up to the next blank line, for at most patience.
func (w *watcher) frame() (string, error) {
	late := time.AfterFunc(patience, func() { w.resp.Body.Close() })
	defer late.Stop()
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\n" {
			return b.String(), err
		}
	}
}

// next reads the next message and skips comments.
func (w *watcher) next() message {
	w.t.Helper()
	for {
		text, err := w.frame()
		if err != nil {
			w.t.Fatalf("the stream broke off: %v after %q", err, text)
		}
		data, ok := strings.CutPrefix(text, "data: ")
		if !ok {
			continue
		}
		data, id, _ := strings.Cut(strings.TrimSuffix(data, "\n\n"), "\nid: ")
		w.last = message{}
		if err := json.Unmarshal([]byte(data), &w.last); err != nil {
			w.t.Fatalf("%v in %q", err, text)
		}
		if id != "" {
			w.id = id
		}
		return w.last
	}
}

// event reads an audit message and returns its event.
func (w *watcher) event() stored {
	w.t.Helper()
	if m := w.next(); m.Type != "audit" {
		w.t.Fatalf("got %+v, want an audit message", m)
	}
	var e stored
	if err := json.Unmarshal(w.last.Event, &e); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// ends wants the body to end here, and cleanly.
func (w *watcher) ends() {
	w.t.Helper()
	if text, err := w.frame(); text != "" || !errors.Is(err, io.EOF) {
		w.t.Errorf("got %q, %v; want a clean end", text, err)
	}
}

// stored has the members of a stored line that tests look at.
type stored struct {
	ID       string
	Agent    string
	Tool     string
	Request  struct{ Command, Service, Credential string }
	Approval struct{ ID, Status, Credential string }
}

// output keeps everything that is written to it.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed by the next write; nil while nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// waitFor waits until the output matches.
func (o *output) waitFor(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		o.mu.Lock()
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		found, changed := re.FindString(o.buf.String()), o.changed
		o.mu.Unlock()
		if found != "" {
			return found
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s never came:\n%s", pattern, o)
		}
	}
}

func gunzip(t *testing.T, data string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}
