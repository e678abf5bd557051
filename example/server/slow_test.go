package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	server "github.com/rampartlog/rampart/example/server"
)

// pipes is a listener in memory, so that time can be synctest's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090} }

// No peer holds a connection by sending or taking slowly. One that took no
// answer which has no body, such as that to a preflight, held it for ever.
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
		srv := server.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
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
		l := make(pipes)
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
			client, peer := net.Pipe()
			l <- peer
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
