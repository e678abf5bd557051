package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rampartlog/rampart"
	monitor "github.com/rampartlog/rampart/example/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token      = "admin-token-0123456789abcdef"
	hookSecret = "T0SECRET/B0SECRET/XyZsecret"
	hookURL    = "https://hooks.example.com/services/" + hookSecret
)

// host is an address in memory that a server may listen at.
type host struct {
	mu     sync.Mutex
	conns  chan net.Conn // nil while nobody listens
	server *http.Server
}

var errRefused = errors.New("connection refused")

// roundTripper returns a transport to the host.
func (h *host) roundTripper(t *testing.T) http.RoundTripper {
	tr := &http.Transport{DialContext: h.dial, DialTLSContext: h.dial}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (h *host) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	h.mu.Lock()
	conns := h.conns
	h.mu.Unlock()
	if conns == nil {
		return nil, errRefused
	}
	client, server := net.Pipe()
	select {
	case conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type listener struct {
	conns chan net.Conn
	done  context.Context
	close context.CancelFunc
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done.Done():
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { l.close(); return nil }
func (l listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "127.0.0.1:9090" }

func (h *host) listen(handler http.Handler) {
	l := listener{conns: make(chan net.Conn)}
	l.done, l.close = context.WithCancel(context.Background())
	h.mu.Lock()
	h.conns, h.server = l.conns, &http.Server{Handler: handler}
	h.mu.Unlock()
	go h.server.Serve(l)
}

// down cuts all connections and refuses others.
func (h *host) down() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns = nil; h.server != nil {
		h.server.Close()
		h.server = nil
	}
}

// daemon is a Rampart on a directory, and the host that it listens at.
type daemon struct {
	*host
	t   *testing.T
	dir string
	r   *rampart.Rampart

	lists atomic.Int64 // how often the approvals were listed
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{host: &host{}, t: t, dir: t.TempDir()}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	var err error
	if d.r, err = rampart.Open(d.dir, nil); err != nil {
		d.t.Fatal(err)
	}
	d.up()
}

// up makes a running daemon listen.
func (d *daemon) up() {
	h := d.r.Handler(&rampart.Auth{AdminToken: token})
	d.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/approvals" {
			d.lists.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
}

func (d *daemon) stop() {
	if d.r == nil {
		return
	}
	d.down()
	if err := d.r.Close(); err != nil {
		d.t.Error(err)
	}
	d.r = nil
}

// append appends events and returns the last one's id.
func (d *daemon) append(events ...rampart.AuditEvent) string {
	d.t.Helper()
	saved, err := d.r.Chain.AppendAll(d.t.Context(), events)
	if err != nil {
		d.t.Fatal(err)
	}
	return saved[len(saved)-1].ID
}

func (d *daemon) deny(commands ...string) {
	d.t.Helper()
	for _, c := range commands {
		d.append(event("deny", c))
	}
}

func event(action, command string) rampart.AuditEvent {
	request, _ := json.Marshal(map[string]string{"command": command})
	return rampart.AuditEvent{
		Agent: "claude-code", Session: "shop/main", Tool: "exec", Request: request,
		Decision: rampart.Decision{Action: action, Message: "not here"},
	}
}

func (d *daemon) ask(command string) string {
	d.t.Helper()
	request, _ := json.Marshal(map[string]string{"command": command})
	a, err := d.r.Approvals.Request(d.t.Context(), rampart.ApprovalRequest{
		Agent: "claude-code", Session: "shop/main", Tool: "exec", Request: request, Message: "publishes",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return a.ID
}

func (d *daemon) answer(id string, status rampart.ApprovalStatus) {
	d.t.Helper()
	if _, err := d.r.Approvals.Resolve(d.t.Context(), id, rampart.Resolution{Status: status, ResolvedBy: "ann"}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) head() string {
	d.t.Helper()
	for r, err := range d.r.Chain.Query(d.t.Context(), rampart.Query{}) {
		if err != nil {
			d.t.Fatal(err)
		}
		return r.ID()
	}
	return ""
}

// receiver receives a webhook's posts at a host of its own.
type receiver struct {
	*host
	t *testing.T

	mu     sync.Mutex
	answer func(w http.ResponseWriter) // 200 when nil
	hang   chan struct{}               // requests wait until it is closed
	posts  []post                      // those answered with 200
	tries  []time.Time                 // when each post came, whatever its answer
}

type post struct {
	Text   string
	Alerts []struct {
		Kind, Action, Agent, Command, Message string
		ApprovalID                            string `json:"approval_id"`
		NotPosted                             int    `json:"not_posted"`
	}
	at time.Time
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{host: &host{}, t: t}
	r.listen(r)
	t.Cleanup(r.down)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the monitor hung up
	}
	r.mu.Lock()
	r.tries = append(r.tries, time.Now())
	hang, answer := r.hang, r.answer
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	if answer != nil {
		answer(w)
		return
	}
	p := post{at: time.Now()}
	if err := json.Unmarshal(body, &p); err != nil || req.Method != "POST" || req.Header.Get("Content-Type") != "application/json" || req.URL.Path != "/services/"+hookSecret ||
		!bytes.Contains(body, []byte(`"unfurl_links":false,"unfurl_media":false`)) {
		r.t.Errorf("%s %s %s: %v", req.Method, req.URL, body, err)
	}
	r.mu.Lock()
	r.posts = append(r.posts, p)
	r.mu.Unlock()
}

func (r *receiver) set(answer func(http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) setHang(c chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang = c
}

func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

func (r *receiver) tried() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.tries...)
}

// commands returns the commands of all posted alerts, in order.
func (r *receiver) commands() []string {
	out := []string{}
	for _, p := range r.got() {
		for _, a := range p.Alerts {
			out = append(out, a.Command)
		}
	}
	return out
}

// process is a running monitor.
type process struct {
	t         *testing.T
	out, errs output
	stopping  context.CancelFunc
	done      chan struct{}
	err       error
}

// output keeps what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a monitor of d, which posts to r unless r is nil, and waits until
// the monitor is connected.
func start(t *testing.T, d *daemon, r *receiver, args ...string) *process {
	t.Helper()
	return startTo(t, nil, d, r, args...)
}

// startTo is start with a writer to print alerts to.
func startTo(t *testing.T, out io.Writer, d *daemon, r *receiver, args ...string) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-token-file", file}, args...)
	var toReceiver http.RoundTripper
	if r != nil {
		args = append(args, "-webhook", hookURL)
		toReceiver = r.roundTripper(t)
	}
	c, err := monitor.Parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, c.Over(d.roundTripper(t), toReceiver), out)
}

// launch starts a monitor that prints alerts to out, or to the process's own output
// if out is nil.
func launch(t *testing.T, c monitor.Config, out io.Writer) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{})}
	if out == nil {
		out = &p.out
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopping = cancel
	go func() {
		defer close(p.done)
		p.err = monitor.Run(ctx, c, out, &p.errs)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.done
		said := p.out.String() + p.errs.String()
		if p.err != nil {
			said += p.err.Error()
		}
		for _, secret := range append(strings.Split(hookSecret, "/"), token) {
			if strings.Contains(said, secret) {
				t.Errorf("the monitor said a secret:\n%s", said)
			}
		}
	})
	synctest.Wait()
	return p
}

// stop ends the monitor as a signal would, and wants a clean end.
func (p *process) stop() {
	p.t.Helper()
	p.stopping()
	<-p.done
	if p.err != nil {
		p.t.Errorf("the monitor ended with %v", p.err)
	}
}

// moment waits longer than the stream rests between two messages, and shorter than
// any pause of the monitor.
func moment() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// settle waits longer than the pauses between two lists and between two posts.
func settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// lines returns the first line of each printed alert, without its time.
func (p *process) lines() []string {
	p.t.Helper()
	lines := []string{}
	for line := range strings.Lines(p.out.String()) {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		if _, err := time.Parse(time.DateTime, line[:min(len(line), len(time.DateTime))]); err != nil {
			p.t.Errorf("a line does not begin with a time: %q", line)
			continue
		}
		lines = append(lines, strings.TrimSuffix(line[len(time.DateTime)+1:], "\n"))
	}
	return lines
}
