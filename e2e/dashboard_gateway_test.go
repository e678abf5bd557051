package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// gateway is a reverse proxy between browser and daemon. It serves the daemon
// under a prefix, which it strips, and can do to it what networks and their
// owners do.
type gateway struct {
	origin string
	prefix string

	mu    sync.Mutex
	gone  chan struct{}                                 // closed when the present connections are cut
	deaf  chan struct{}                                 // closed when the present connections no longer pass anything on
	alter func(r *http.Request, part []byte) []byte     // changes lines of streams, and whole other answers
	serve func(http.ResponseWriter, *http.Request) bool // answers in the place of the daemon
}

func newGateway(t *testing.T, d *daemon, prefix string) *gateway {
	t.Helper()
	g := &gateway{prefix: prefix, gone: make(chan struct{}), deaf: make(chan struct{})}
	target := &url.URL{Scheme: "http", Host: d.address}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the daemon knows its own pages by it
		},
		Transport:      &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		ModifyResponse: g.pass,
		ErrorLog:       log.New(io.Discard, "", 0), // would say that streams were cut
		// When the daemon is down, the browser finds no server either.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		serve := g.serve
		g.mu.Unlock()
		if serve == nil || !serve(w, r) {
			http.StripPrefix(prefix, proxy).ServeHTTP(w, r)
		}
	}))
	g.origin = server.URL
	t.Cleanup(func() {
		g.cut()
		server.CloseClientConnections()
		server.Close()
	})
	return g
}

// pass hands an answer on.
func (g *gateway) pass(resp *http.Response) error {
	g.mu.Lock()
	alter, gone, deaf := g.alter, g.gone, g.deaf
	g.mu.Unlock()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		reader, writer := io.Pipe()
		go g.stream(resp.Request, resp.Body, writer, deaf)
		context.AfterFunc(resp.Request.Context(), func() { writer.CloseWithError(io.ErrUnexpectedEOF) })
		go func() {
			<-gone
			writer.CloseWithError(io.ErrUnexpectedEOF)
		}()
		resp.Body = passing{reader, resp.Body}
		return nil
	}
	if alter != nil {
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		data = alter(resp.Request, data)
		resp.Body = io.NopCloser(bytes.NewReader(data))
		resp.ContentLength = int64(len(data))
		resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
	}
	return nil
}

// stream passes on line by line, until it is deafened.
func (g *gateway) stream(r *http.Request, from io.Reader, to *io.PipeWriter, deaf <-chan struct{}) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		g.mu.Lock()
		alter := g.alter
		g.mu.Unlock()
		if alter != nil {
			line = alter(r, line)
		}
		select {
		case <-deaf:
			return
		default:
		}
		if _, closed := to.Write(line); closed != nil {
			return
		}
		if err != nil {
			to.CloseWithError(err)
			return
		}
	}
}

// passing is a stream on its way through.
type passing struct {
	*io.PipeReader
	from io.Closer
}

func (p passing) Close() error {
	p.PipeReader.Close()
	return p.from.Close()
}

// cut ends the streams that are open.
func (g *gateway) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.gone)
	g.gone = make(chan struct{})
}

// deafen keeps the streams that are open from passing on anything more, as when
// a machine slept and the network has forgotten its connections.
func (g *gateway) deafen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.deaf)
	g.deaf = make(chan struct{})
}

// alters changes what passes from now on: lines of streams, whole other answers.
func (g *gateway) alters(how func(r *http.Request, part []byte) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alter = how
}

// serves lets how answer. If how returns false, the daemon answers.
func (g *gateway) serves(how func(http.ResponseWriter, *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve = how
}

// justBefore calls do when the first request for a path with that ending has come,
// and before the daemon gets it: the page can't know yet of what do does.
func (g *gateway) justBefore(path string, do func()) {
	var once sync.Once
	g.serves(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, path) {
			once.Do(do)
		}
		return false
	})
}

// through is like dashboard, and goes through the gateway.
func through(t *testing.T, d *daemon, g *gateway, view string, scripts ...string) *board {
	t.Helper()
	b := newBoard(t, g.origin, d.token, scripts...)
	b.goTo(g.prefix + "/dashboard/" + view)
	b.signIn(d.token)
	return b
}

// down answers like a daemon that is down.
func down(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// tamperNext changes the command of an event that is "git tampered".
func tamperNext(g *gateway) {
	g.alters(func(_ *http.Request, part []byte) []byte {
		if !bytes.HasPrefix(part, []byte("data:")) {
			return part
		}
		return bytes.Replace(part, []byte(`"git tampered"`), []byte(`"git status"`), 1)
	})
}
