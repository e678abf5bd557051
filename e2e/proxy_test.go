package e2e_test

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a TCP proxy in front of the daemon that can cut streams in the
// middle of an event, as a network does.
type proxy struct {
	address string
	backend string
	ln      net.Listener

	mu    sync.Mutex
	links []*link
	wg    sync.WaitGroup
}

// link is one connection through the proxy.
type link struct {
	client, server *net.TCPConn
	streaming      atomic.Bool  // it carries an event stream
	order          atomic.Int32 // how to cut it: cutNot and the others below
	cut            chan struct{}
}

const (
	cutNot = iota
	cutByFIN
	cutByRST
)

func newProxy(t *testing.T, backend string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: ln.Addr().String(), backend: backend, ln: ln}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		for _, l := range p.links {
			l.close(cutByFIN)
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.backend)
		if err != nil { // the daemon is down
			client.Close()
			continue
		}
		l := &link{client: client.(*net.TCPConn), server: server.(*net.TCPConn), cut: make(chan struct{})}
		p.mu.Lock()
		p.links = append(p.links, l)
		p.mu.Unlock()
		p.wg.Go(func() {
			io.Copy(l.server, l.client)
			l.close(cutByFIN)
		})
		p.wg.Go(l.pump)
	}
}

// cutStreams has every open stream cut while an event passes. It returns a channel
// for each stream, which is closed once that has happened.
func (p *proxy) cutStreams(how int32) []<-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	var cuts []<-chan struct{}
	p.links = slices.DeleteFunc(p.links, func(l *link) bool { return l.order.Load() != cutNot })
	for _, l := range p.links {
		if l.streaming.Load() {
			l.order.Store(how)
			cuts = append(cuts, l.cut)
		}
	}
	return cuts
}

// pump passes on what the daemon sends.
func (l *link) pump() {
	event := []byte(`data: {"type":"audit"`)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buf)
		if bytes.Contains(buf[:n], []byte("text/event-stream")) {
			l.streaming.Store(true)
		}
		if how := l.order.Load(); how != cutNot {
			// 100 bytes into the event there is no hash yet, and no id.
			if i := bytes.Index(buf[:n], event); i >= 0 && i+100 < n {
				l.client.Write(buf[:i+100])
				l.close(how)
				close(l.cut)
				return
			}
		}
		if _, writeErr := l.client.Write(buf[:n]); err != nil || writeErr != nil {
			l.close(cutByFIN)
			return
		}
	}
}

func (l *link) close(how int32) {
	if how == cutByRST {
		l.client.SetLinger(0)
	}
	l.client.Close()
	l.server.Close()
}
