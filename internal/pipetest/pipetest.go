// Package pipetest is a network in memory: its connections are unbuffered pipes,
// which a synctest bubble sees waiting. Only tests import it.
package pipetest

import (
	"context"
	"net"
	"sync"
)

// Listener is a [net.Listener] that [Listener.Dial] connects to.
type Listener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close func()
}

// Listen returns a listener that says it is at addr.
func Listen(addr net.Addr) *Listener {
	l := &Listener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *Listener) Close() error {
	l.close()
	return nil
}

func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects to the listener, whatever the network and the address: it is the
// DialContext of an [net/http.Transport].
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Addr is an address of no known network, so that nobody takes it for loopback.
type Addr string

func (Addr) Network() string  { return "pipe" }
func (a Addr) String() string { return string(a) }
