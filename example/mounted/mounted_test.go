package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
	mounted "github.com/rampartlog/rampart/example/mounted"
	"github.com/rampartlog/rampart/internal/pipetest"
)

const streamPath = "/v1/events/stream"

// Messages leave all middleware at once: no later message pushes them out.
func TestStreamThroughTheMiddleware(t *testing.T) {
	a := onLoopback(t, options{heartbeat: time.Hour})
	ann := a.login("ann")
	for _, encoding := range []string{"", "gzip"} {
		w := a.watch(ann, streamPath, "Accept-Encoding", encoding)
		if got := w.resp.Header.Get("Content-Encoding"); got != "" {
			t.Errorf("Accept-Encoding %q: the stream is %s", encoding, got)
		}
		id := a.record("ls")
		if e := w.event(); e.ID != id || e.Agent != "claude-code" || e.Request.Command != "ls" {
			t.Errorf("got %+v, want event %s", e, id)
		}
		a.do(ann, "POST", "/services/billing/restart", "").want(http.StatusOK)
		if e := w.event(); e.Agent != "ann" || e.Tool != "restart" || e.Request.Service != "billing" {
			t.Errorf("the application's own event: %+v", e)
		}
		resumed := a.watch(ann, streamPath, "Last-Event-ID", id)
		if e := resumed.event(); e.Tool != "restart" {
			t.Errorf("after %s comes %+v", id, e)
		}
	}
}

func TestAnswersAreCompressed(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	for i := range 20 {
		a.record(fmt.Sprint("command ", i))
	}
	for path, encoding := range map[string]string{
		"/v1/audit/events":                  "gzip",
		"/v1/audit/stats":                   "gzip",
		"/v1/approvals":                     "gzip",
		"/v1/audit/export?from=2000-01-01":  "", // chi compresses no application/jsonl unless it is told to
		"/v1/audit/events/01ARZ3NDEKTSV4RR": "gzip",
	} {
		plain, packed := a.do(ann, "GET", path, ""), a.do(ann, "GET", path, "", "Accept-Encoding", "gzip")
		got := packed.body
		if packed.header.Get("Content-Encoding") != encoding {
			t.Errorf("%s: Content-Encoding %q, want %q", path, packed.header.Get("Content-Encoding"), encoding)
		} else if encoding != "" {
			got = gunzip(t, got)
		}
		if got != plain.body || packed.status != plain.status || plain.body == "" {
			t.Errorf("%s: compressed %d\n%s\nplain %d\n%s", path, packed.status, got, plain.status, plain.body)
		}
	}
}

func TestWhoMay(t *testing.T) {
	a := onLoopback(t, options{})
	ann, bob := a.login("ann"), a.login("bob")
	event := fmt.Sprintf(call, "ls")
	for _, c := range []struct {
		who    string
		header who
		method string
		path   string
		body   string
		status int
	}{
		{"nobody", nobody, "GET", streamPath, "", 401},
		{"nobody", nobody, "POST", "/v1/audit/events", event, 401},
		{"a wrong key", who{"Authorization", "Bearer wrong"}, "POST", "/v1/audit/events", event, 401},
		{"a key without its scheme", who{"Authorization", mounted.Key}, "POST", "/v1/audit/events", event, 401},
		{"a wrong session", who{"Cookie", "session=wrong"}, "GET", streamPath, "", 401},
		{"an empty session", who{"Cookie", "session="}, "GET", streamPath, "", 401},
		{"a guest", bob, "GET", streamPath, "", 403},
		{"a guest", bob, "GET", "/v1/audit/events", "", 403},
		{"a guest", bob, "POST", "/v1/audit/events", event, 403},
		{"an agent", claude, "POST", "/v1/audit/events", event, 201},
		{"an agent", claude, "GET", "/v1/audit/events", "", 403},
		{"an agent", claude, "GET", streamPath, "", 403},
		{"an agent", claude, "GET", "/v1/approvals", "", 403},
		{"an operator", ann, "GET", "/v1/audit/events", "", 200},
		{"an operator", ann, "HEAD", streamPath, "", 200},
		{"a guest", bob, "POST", "/services/billing/restart", "", 403},
	} {
		if got := a.do(c.header, c.method, c.path, c.body); got.status != c.status {
			t.Errorf("%s: %s %s: %d, want %d: %s", c.who, c.method, c.path, got.status, c.status, got.body)
		}
	}
	a.do(nobody, "POST", "/login", "name=ann&password=wrong", "Content-Type", "application/x-www-form-urlencoded").want(http.StatusUnauthorized)
	a.do(nobody, "POST", "/login", "name=eve&password=", "Content-Type", "application/x-www-form-urlencoded").want(http.StatusUnauthorized)
}

// The log has the name that the application gives, whatever the body says.
func TestNamesOnRecordAreTheApplications(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	w := a.watch(ann, streamPath)
	a.do(claude, "POST", "/v1/audit/events", `{"agent":"somebody-else","tool":"exec","request":{},"decision":{"action":"allow"}}`).want(http.StatusCreated)
	if e := w.event(); e.Agent != "claude-code" {
		t.Errorf("an agent's event is %s's", e.Agent)
	}

	id := a.ask()
	if e := w.event(); e.ID != id || e.Approval.Credential != "claude-code" {
		t.Errorf("the question: %+v", e)
	}
	w.next() // approvals
	a.do(ann, "POST", "/v1/approvals/"+id+"/resolve", `{"approved":true,"resolved_by":"the boss"}`).want(http.StatusOK)
	if e := w.event(); e.Approval.ID != id || e.Approval.Status != "approved" || e.Approval.Credential != "ann" || e.Request.Credential != "ann" {
		t.Errorf("the answer: %+v", e)
	}
	var got struct{ Status string }
	a.do(claude, "GET", "/v1/approvals/"+id+"?wait=60s", "").want(http.StatusOK).into(&got)
	if got.Status != "approved" {
		t.Errorf("the agent is told %s", got.Status)
	}
}

func TestRoutesOfTheApplicationStayItsOwn(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	id := a.ask()
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/":                           {200, "the application's own page"},
		"/nothing":                    {404, "the application knows no such page"},
		"/healthz":                    {404, "the application knows no such page"},
		"/v1/nothing":                 {404, `{"error":"not found"}`},
		"/rampart/v1/nothing":         {404, `{"error":"not found"}`},
		"/rampart/healthz":            {200, `"status":"ok"`},
		"/rampart/v1/audit/events":    {200, id},
		"/v1/approvals/" + id:         {200, id},
		"/rampart/v1/approvals/" + id: {200, id},
	} {
		if got := a.do(ann, "GET", path, ""); got.status != want.status || !strings.Contains(got.body, want.text) {
			t.Errorf("%s: %d %s, want %d %s", path, got.status, got.body, want.status, want.text)
		}
	}
	w := a.watch(ann, "/rampart"+streamPath)
	if a.record("ls"); w.event().Request.Command != "ls" {
		t.Errorf("got %+v", w.last)
	}
}

// The client speaks to such a host too: under a prefix, with the host's key, or
// with whatever its http.Client adds.
func TestClient(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	agent, err := client.New(a.url+"/rampart", &client.Options{Token: mounted.Key})
	if err != nil {
		t.Fatal(err)
	}
	person, err := client.New(a.url+"/rampart", &client.Options{HTTP: &http.Client{Transport: with{ann, a.client.Transport}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request := json.RawMessage(`{"command":"git push"}`)
	for e, err := range person.Events(ctx, "") {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Type == rampart.TypeConnected:
			if _, err := agent.RequestApproval(ctx, rampart.ApprovalRequest{Agent: "any", Tool: "exec", Request: request, Message: "publishes"}); err != nil {
				t.Fatal(err)
			}
			continue
		case e.Type != rampart.TypeApprovals:
			continue
		}
		pending, err := person.ListApprovals(ctx, rampart.Pending)
		if err != nil || len(pending) != 1 {
			t.Fatal(pending, err)
		}
		id := pending[0].ID
		if _, err := person.ResolveApproval(ctx, id, rampart.Resolution{Status: rampart.Approved}); err != nil {
			t.Fatal(err)
		}
		if got, err := agent.WaitApproval(ctx, id); err != nil || got.Status != rampart.Approved || got.ResolvedBy != "ann" {
			t.Errorf("%+v, %v", got, err)
		}
		break
	}
}

// with adds somebody's header to each request.
type with struct {
	who
	http.RoundTripper
}

func (w with) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(w.name, w.value)
	return w.RoundTripper.RoundTrip(r)
}

// A ticket is good wherever the handler is mounted, and stands in no log.
func TestTicket(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	var ticket struct{ Token string }
	a.do(ann, "POST", "/v1/events/ticket", "").want(http.StatusOK).into(&ticket)
	a.secrets = append(a.secrets, ticket.Token)
	for _, prefix := range []string{"", "/rampart"} {
		a.watch(nobody, prefix+streamPath+"?token="+ticket.Token).resp.Body.Close()
		a.do(nobody, "GET", prefix+streamPath+"?token="+mounted.Key, "").want(http.StatusUnauthorized)
		a.do(nobody, "GET", prefix+"/v1/audit/events?token="+ticket.Token, "").want(http.StatusUnauthorized)
	}
	a.logs.waitFor(t, `path=/rampart/v1/events/stream status=200`)
}

// When another page makes the browser send a request, the request has the session's
// cookie. It is refused for the origin that the browser tells.
func TestCrossOrigin(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	id := a.ask()
	for _, foreign := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for path, body := range map[string]string{
			"/v1/approvals/" + id + "/resolve":         `{"approved":true}`,
			"/rampart/v1/approvals/" + id + "/resolve": `{"approved":true}`,
			"/v1/events/ticket":                        "",
			"/services/billing/restart":                "",
		} {
			if got := a.do(ann, "POST", path, body, foreign...); got.status != http.StatusForbidden {
				t.Errorf("%v: %s: %d %s", foreign, path, got.status, got.body)
			}
		}
		if got := a.do(ann, "GET", "/v1/audit/events", "", foreign...); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%v: a foreign page may read: %v", foreign, got.header)
		}
	}
	a.do(ann, "POST", "/v1/approvals/"+id+"/resolve", `{"approved":true}`, "Sec-Fetch-Site", "same-origin", "Origin", a.url).want(http.StatusOK)
	a.do(ann, "POST", "/services/billing/restart", "", "Origin", a.url).want(http.StatusOK)
}

// inMemory runs f in a synctest bubble with the program on a pipe. It turns
// heartbeats off, since a pipe has no buffer to take one while the test sleeps.
func inMemory(t *testing.T, http2 bool, f func(*testing.T, *app)) {
	t.Helper()
	certificate, pool := selfSigned(t, "127.0.0.1")
	synctest.Test(t, func(t *testing.T) {
		pipe := pipetest.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
		if !http2 {
			f(t, start(t, pipe, options{heartbeat: time.Hour, dial: pipe.Dial}))
			return
		}
		secure := tls.NewListener(pipe, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
		a := start(t, secure, options{heartbeat: time.Hour})
		a.overTLS(pool, pipe.Dial)
		f(t, a)
	})
}

// The server's time limits hold for the application's own requests only.
func TestStreamOutlivesTheServersTimeouts(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			inMemory(t, http2, func(t *testing.T, a *app) {
				ann := a.login("ann")
				w := a.watch(ann, streamPath)
				if (w.resp.ProtoMajor == 2) != http2 {
					t.Fatal(w.resp.Proto)
				}
				for range 3 {
					time.Sleep(5 * time.Minute)
					began := time.Now()
					if id := a.record("ls"); w.event().ID != id || time.Since(began) > time.Second {
						t.Errorf("event %s after %v: %+v", id, time.Since(began), w.last)
					}
				}
				began := time.Now()
				var got struct{ Status string }
				a.do(claude, "GET", "/v1/approvals/"+a.ask()+"?wait=60s", "").want(http.StatusOK).into(&got)
				if took := time.Since(began); got.Status != "pending" || took < time.Minute {
					t.Errorf("a wait ended with %s after %v", got.Status, took)
				}

			})
		})
	}
}

// The limits exist: a slow request to the application runs into them.
func TestTheServersTimeoutsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := pipetest.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
		start(t, pipe, options{})
		conn, err := pipe.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		began := time.Now()
		fmt.Fprint(conn, "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nname=ann")
		answer, err := io.ReadAll(conn)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("a body that does not come was waited for %v: %q, %v", took, answer, err)
		}
	})
}

func TestShutdown(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			inMemory(t, http2, func(t *testing.T, a *app) {
				ann := a.login("ann")
				id := a.ask()
				var ends sync.WaitGroup
				for range 3 {
					w := a.watch(ann, streamPath)
					ends.Go(w.ends)
				}
				ends.Go(func() {
					got := a.do(claude, "GET", "/v1/approvals/"+id+"?wait=60s", "")
					if got.status != http.StatusServiceUnavailable {
						t.Errorf("a waiting agent is told %d %s", got.status, got.body)
					}
				})
				synctest.Wait()
				began := time.Now()
				a.stop()
				ends.Wait()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// Over HTTP/2 one connection carries any number of streams. Of HTTP/1.1 browsers
// allow six connections.
func TestHTTP2(t *testing.T) {
	certificate, pool := selfSigned(t, "127.0.0.1")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counted := &counter{Listener: ln}
	a := start(t, tls.NewListener(counted, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}), options{})
	a.overTLS(pool, nil)
	ann := a.login("ann")
	var watchers []*watcher
	for range 50 {
		watchers = append(watchers, a.watch(ann, streamPath, "Accept-Encoding", "gzip"))
	}
	id := a.record("ls")
	for _, w := range watchers {
		if e := w.event(); e.ID != id || w.resp.ProtoMajor != 2 {
			t.Errorf("%s: %+v", w.resp.Proto, e)
		}
	}
	if n := counted.n.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	a.stop()
	for _, w := range watchers {
		w.ends()
	}
}

type counter struct {
	net.Listener
	n atomic.Int32
}

func (c *counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// TestGreeting runs the commands that the program prints.
func TestGreeting(t *testing.T) {
	tool(t, "sh")
	tool(t, "curl")
	a := onLoopback(t, options{})
	lines := strings.Split(a.printed.waitFor(t, `(?s)curl.*}}'\n`), "\n")
	var commands []string
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if before, more := strings.CutSuffix(line, "\\"); more {
			i++
			line = before + lines[i]
		}
		if strings.HasPrefix(line, "curl ") {
			commands = append(commands, line)
		}
	}
	if len(commands) != 4 {
		t.Fatalf("commands: %q", commands)
	}
	dir := t.TempDir()
	sh := func(ctx context.Context, command string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
		cmd.Dir = dir
		return cmd
	}
	run := func(command, want string) {
		t.Helper()
		if out, err := sh(t.Context(), command).Output(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", command, err, out, want)
		}
	}
	run(commands[0], "hello, ann")
	var seen output
	ctx, stop := context.WithCancel(t.Context())
	watch := sh(ctx, commands[1])
	watch.Stdout = &seen
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	seen.waitFor(t, `"connected"`)
	run(commands[2], "restarted billing")
	run(commands[3], `{"ids":["`)
	seen.waitFor(t, `(?s)"service":"billing".*"command":"git status"`)
	stop()
	_ = watch.Wait() // it was killed
}
