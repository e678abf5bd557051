package rampart_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/pipetest"
)

// site is a server in memory and a client of it.
type site struct {
	t      testing.TB
	server *http.Server
	client *http.Client
	dial   func(context.Context, string, string) (net.Conn, error)
}

func newSite(t testing.TB, h http.Handler, configure func(*http.Server, *http.Transport)) *site {
	t.Helper()
	l := pipetest.Listen(pipetest.Addr("127.0.0.1:9090"))
	srv := &http.Server{Handler: h}
	tr := &http.Transport{DialContext: l.Dial}
	if configure != nil {
		configure(srv, tr)
	}
	go srv.Serve(l)
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		srv.Close()
	})
	return &site{t: t, server: srv, client: &http.Client{Transport: tr}, dial: l.Dial}
}

// do sends a request; header are name, value pairs.
func (s *site) do(method, query string, header ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://rampart/v1/events/stream"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// watch opens a stream.
func (s *site) watch(query string, header ...string) *watcher {
	s.t.Helper()
	resp := s.do(http.MethodGet, query, header...)
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("status %s", resp.Status)
	}
	return &watcher{t: s.t, body: resp.Body, r: bufio.NewReaderSize(resp.Body, 1<<20)}
}

type watcher struct {
	t    testing.TB
	body io.Closer
	r    *bufio.Reader
}

// frame reads up to the next blank line.
func (w *watcher) frame() (string, error) {
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\n" {
			return b.String(), err
		}
	}
}

// expect compares the frames that come with those wanted.
func (w *watcher) expect(want ...string) {
	w.t.Helper()
	for _, f := range want {
		if got, err := w.frame(); got != f || err != nil {
			w.t.Fatalf("got %.300q (%v), want %.300q", got, err, f)
		}
	}
}

// ends wants the body to end here, and cleanly.
func (w *watcher) ends() {
	w.t.Helper()
	if got, err := w.frame(); got != "" || !errors.Is(err, io.EOF) {
		w.t.Errorf("got %.300q (%v), want a clean end", got, err)
	}
}
