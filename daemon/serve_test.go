package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
	"github.com/rampartlog/rampart/internal/pipetest"
)

// newPipes returns a listener in memory at the default address, so that time can
// be synctest's.
func newPipes() *pipetest.Listener {
	return pipetest.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090})
}

// dial connects to a listener in memory.
func dial(t *testing.T, l *pipetest.Listener) net.Conn {
	t.Helper()
	c, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened opens a log and fails the test if it is not closed at its end.
func opened(t *testing.T) *rampart.Rampart {
	t.Helper()
	r, err := rampart.Open(t.TempDir(), &rampart.Options{Audit: rampart.AuditOptions{Sync: rampart.SyncNever}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := r.Chain.Append(context.Background(), call); !errors.Is(err, rampart.ErrClosed) {
			t.Errorf("the log is still open: %v", err)
			r.Close()
		}
	})
	return r
}

var call = rampart.AuditEvent{Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "allow"}}

// client keeps no connections.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// TestServe watches a daemon from its start to its end.
func TestServe(t *testing.T) {
	r, dir := opened(t), t.TempDir()
	token, err := daemon.AdminToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	started := make(chan struct{})
	besideEnded := false
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- daemon.Serve(ctx, l, r, r.Handler(&rampart.Auth{AdminToken: token}), &daemon.Options{
			Dir: dir,
			Beside: []func(context.Context){
				func(context.Context) { close(started) },
				func(ctx context.Context) {
					<-ctx.Done()
					if _, err := r.Chain.Append(context.Background(), call); err != nil {
						t.Errorf("the log was closed too early: %v", err)
					}
					besideEnded = true
				},
			},
		})
	}()
	<-started
	at, err := daemon.Find(dir)
	if err != nil || at != (daemon.Endpoint{URL: l.URL(), Token: token}) {
		t.Errorf("it is found at %s, %v, and listens on %s", at.URL, err, l.URL())
	}
	a, err := r.Approvals.Request(ctx, rampart.ApprovalRequest{Agent: "a", Tool: "t", Request: json.RawMessage(`{"command":"ls"}`), Message: "m"})
	if err != nil {
		t.Fatal(err)
	}

	// Answers that come only with the end.
	var answers []*http.Response
	hosts := []string{"127.0.0.1", "localhost"}
	if hasIPv6() {
		hosts = append(hosts, "[::1]")
	}
	for _, host := range hosts {
		req, err := http.NewRequest("GET", "http://"+host+":"+port(l)+"/v1/events/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+at.Token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", host, resp.Status)
		}
		answers = append(answers, resp)
	}
	waited := make(chan int, 1)
	asked := make(chan struct{})
	go func() {
		req, _ := http.NewRequest("GET", l.URL()+"/v1/approvals/"+a.ID+"?wait=60s", nil)
		req.Header.Set("Authorization", "Bearer "+at.Token)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
		}))
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			waited <- 0
			return
		}
		resp.Body.Close()
		waited <- resp.StatusCode
	}()
	<-asked
	if resp, err := client.Get(l.URL() + "/healthz"); err != nil { // so the connection before has been accepted, too
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}

	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !besideEnded {
		t.Error("Serve returned before what ran beside it")
	}
	for _, resp := range answers {
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("a stream was cut off: %v", err)
		}
		resp.Body.Close()
	}
	if got := <-waited; got != http.StatusServiceUnavailable {
		t.Errorf("a wait for an approval was answered with %d", got)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"token"}) {
		t.Errorf("it left %v", got)
	}
	if _, err := client.Get(l.URL() + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

// TestServeLeavesTheURLOfAnother: the file of a directory may be a later daemon's.
func TestServeLeavesTheURLOfAnother(t *testing.T) {
	r, dir := opened(t), t.TempDir()
	if _, err := daemon.AdminToken(dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	err := daemon.Serve(ctx, listen(t, "127.0.0.1:0"), r, http.NotFoundHandler(), &daemon.Options{Dir: dir, Beside: []func(context.Context){
		func(context.Context) {
			if err := daemon.Announce(dir, "http://127.0.0.1:1"); err != nil {
				t.Error(err)
			}
			stop()
		},
	}})
	if err != nil {
		t.Error(err)
	}
	if at, err := daemon.Find(dir); err != nil || at.URL != "http://127.0.0.1:1" {
		t.Errorf("%s, %v", at.URL, err)
	}
}

// TestServeSaysWhetherItIsFound: without a directory no client may be led to the
// daemon, even at the default address; and nobody may wonder why they are not.
func TestServeSaysWhetherItIsFound(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	broken := t.TempDir()
	if _, err := daemon.AdminToken(broken); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(broken+"/url/x", 0o700); err != nil { // no file can take a directory's name
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"":     "level=INFO msg=listening addr=127.0.0.1:9090 pid=",
		broken: "level=ERROR msg=\"clients of this machine will not find the daemon\" dir=",
	} {
		l := newPipes() // whose address is the default one
		var log bytes.Buffer
		err := daemon.Serve(stopped, daemon.Listeners{l}, opened(t), http.NotFoundHandler(), &daemon.Options{
			Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Beside: []func(context.Context){func(context.Context) {
				if at, err := daemon.Find(broken); err == nil {
					t.Errorf("%q: it is found at %s", dir, at.URL)
				}
			}},
		})
		if err != nil || !strings.Contains(log.String(), want) {
			t.Errorf("%q: %v\n%s\nwant %s", dir, err, &log, want)
		}
	}
}

// TestServeCutsOff wants a request that does not end to have its time and no more.
func TestServeCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := opened(t)
		l := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		entered, left := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- daemon.Serve(ctx, daemon.Listeners{l}, r, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				close(entered)
				<-req.Context().Done()
				close(left)
			}), nil)
		}()
		client := dial(t, l)
		go io.Copy(io.Discard, client)
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-entered
		stop()
		began := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 1500*time.Millisecond || took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		<-left
		client.Close()
	})
}

// TestServeEndsWithItsListener: a daemon whose listener fails in one family must
// not go on with the other alone.
func TestServeEndsWithItsListener(t *testing.T) {
	r := opened(t)
	l := listen(t, "127.0.0.1:0")
	broken := newPipes()
	broken.Close()
	ended := false
	err := daemon.Serve(t.Context(), append(l, broken), r, http.NotFoundHandler(), &daemon.Options{
		Beside: []func(context.Context){func(ctx context.Context) { <-ctx.Done(); ended = true }},
	})
	if !errors.Is(err, net.ErrClosed) || !ended {
		t.Errorf("%v, what ran beside it ended: %t", err, ended)
	}
	if _, err := client.Get(l.URL()); err == nil {
		t.Error("it still answers")
	}
}

// No peer holds a connection by sending or taking slowly. A peer that did not take
// an answer without a body, such as that to a preflight, held it for ever.
func TestSlowPeersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := rampart.Open(t.TempDir(), &rampart.Options{Audit: rampart.AuditOptions{Sync: rampart.SyncNever}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 40 {
			if _, err := r.Chain.Append(t.Context(), rampart.AuditEvent{Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "allow", Message: strings.Repeat("x", 10_000)}}); err != nil {
				t.Fatal(err)
			}
		}
		api := r.Handler(&rampart.Auth{AdminToken: "secret", AllowOrigins: []string{"https://board.example"}})
		closed := make(chan struct{}, 1)
		srv := daemon.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/own" { // as /metrics does
				io.WriteString(w, strings.Repeat("x", 1<<20))
				return
			}
			api.ServeHTTP(w, req)
		}), nil)
		srv.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				closed <- struct{}{}
			}
		}
		l := newPipes()
		go srv.Serve(l)
		defer srv.Close()

		const auth = "Host: localhost\r\nAuthorization: Bearer secret\r\n"
		const post = "POST /v1/audit/events HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\n"
		for name, c := range map[string]struct {
			says    string        // at once
			trickle string        // then, again and again, a second apart
			reads   bool          // what is answered
			within  time.Duration // until the connection is closed
		}{
			"says nothing":             {"", "", true, 10 * time.Second},
			"half a request line":      {"GET /hea", "", true, 10 * time.Second},
			"endless headers":          {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", true, 10 * time.Second},
			"nothing after a request":  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "", true, 2 * time.Minute},
			"endless body":             {post + "Content-Length: 1000\r\n\r\n", " ", true, 30 * time.Second},
			"endless chunks":           {post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", true, 30 * time.Second},
			"no body after 100":        {post + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", "", true, 30 * time.Second},
			"endless refused body":     {strings.Replace(post, "secret", "wrong", 1) + "Content-Length: 1000\r\n\r\n", " ", true, 6 * time.Second},
			"body of the host's route": {"GET /own HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", " ", true, 31 * time.Second},
			"takes no page":            {"GET /v1/audit/events HTTP/1.1\r\n" + auth + "\r\n", "", false, 31 * time.Second},
			"takes no export":          {"GET /v1/audit/export?from=2000-01-01 HTTP/1.1\r\n" + auth + "\r\n", "", false, 31 * time.Second},
			"takes no stream":          {"GET /v1/events/stream?last_event_id=0 HTTP/1.1\r\n" + auth + "\r\n", "", false, 33 * time.Second},
			"takes no refusal":         {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", "", false, 31 * time.Second},
			"takes no preflight":       {"OPTIONS /v1/status HTTP/1.1\r\nHost: localhost\r\nOrigin: https://board.example\r\nAccess-Control-Request-Method: GET\r\n\r\n", "", false, 31 * time.Second},
			"takes no HEAD":            {"HEAD /v1/events/stream HTTP/1.1\r\n" + auth + "\r\n", "", false, 31 * time.Second},
			"takes no 100":             {post + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", "", false, 61 * time.Second},
			"takes no bad request":     {"GET / HTTP/9\r\n\r\n", "", false, 31 * time.Second},
			"takes nothing of ours":    {"GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n", "", false, 31 * time.Second},
		} {
			client := dial(t, l)
			began := time.Now()
			stop := make(chan struct{})
			go func() {
				io.WriteString(client, c.says)
				for c.trickle != "" {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
						fmt.Fprint(client, c.trickle)
					}
				}
			}()
			if c.reads {
				go io.Copy(io.Discard, client)
			}
			select {
			case <-closed:
				if took := time.Since(began); took > c.within+2*time.Second { // a refusal may wait for its peer
					t.Errorf("%s: closed after %v, want %v", name, took, c.within)
				}
			case <-time.After(time.Hour):
				t.Errorf("%s: never closed", name)
				client.Close()
				<-closed
			}
			close(stop)
			client.Close()
		}
		if n := r.Chain.Stats().Events; n != 40 {
			t.Errorf("%d events of bodies that did not arrive", n-40)
		}
	})
}
