//go:build linux

package fanout

import (
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takenOverTarget is the limit without net/http's share of the work. It takes over
// each connection once the request was read. One writer for each processor then sends
// to its part of the connections and never blocks.
func takenOverTarget() target {
	return target{
		Name: "limit-taken-over", Title: "limit, connections taken over", Ours: true, Query: "/",
		Lanes: 1, Overhead: 8,
		Note: "limit, connections taken over: the same log; the handler hijacks the connection and returns, and one goroutine for each processor writes to all. It shows what net/http costs, and is not for use: middleware, time limits, TLS and HTTP/2 do not work with it.",
		Start: func(string) (*running, error) {
			t := &takenOver{byteLog: byteLog{b: make([]byte, 0, 32<<20), wake: make(chan struct{})}}
			t.writers = make([]sharedWriter, runtime.GOMAXPROCS(0))
			for i := range t.writers {
				go t.writers[i].run(&t.byteLog)
			}
			return &running{Handler: t, Publish: t.publish, Close: func() error { return nil }}, nil
		},
	}
}

type takenOver struct {
	byteLog
	writers []sharedWriter
	turn    int // guarded by byteLog.mu
}

func (t *takenOver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err == nil {
		_, err = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"))
	}
	if err != nil {
		conn.Close()
		return
	}
	t.mu.Lock()
	t.turn++
	to := &t.writers[t.turn%len(t.writers)]
	c := &takenConn{raw: raw, close: conn.Close, cursor: len(t.b)}
	t.mu.Unlock()
	to.mu.Lock()
	to.came = append(to.came, c)
	to.mu.Unlock()
}

type takenConn struct {
	raw    syscall.RawConn
	close  func() error
	cursor int
	gone   bool
}

// write sends as much of b as the socket takes.
func (c *takenConn) write(b []byte) (n int) {
	err := c.raw.Write(func(fd uintptr) bool {
		var err error
		n, err = unix.Write(int(fd), b)
		c.gone = err != nil && err != unix.EAGAIN && err != unix.EINTR
		return true
	})
	if c.gone = c.gone || err != nil; c.gone {
		c.close()
	}
	n = max(n, 0)
	c.cursor += n
	return n
}

// sharedWriter writes to its part of the connections.
type sharedWriter struct {
	mu   sync.Mutex
	came []*takenConn
}

func (s *sharedWriter) run(l *byteLog) {
	var conns []*takenConn
	for {
		l.mu.Lock()
		b, wake := l.b, l.wake
		l.mu.Unlock()
		s.mu.Lock()
		conns = append(conns, s.came...)
		s.came = s.came[:0]
		s.mu.Unlock()
		behind, moved := false, false
		for _, c := range conns {
			for c.cursor < len(b) && !c.gone { // until all is sent, or the socket is full
				piece := b[c.cursor:min(len(b), c.cursor+64<<10)]
				n := c.write(piece)
				moved = moved || n > 0
				if n < len(piece) {
					behind = behind || !c.gone
					break
				}
			}
		}
		conns = slices.DeleteFunc(conns, func(c *takenConn) bool { return c.gone })
		switch {
		case moved:
			time.Sleep(10 * time.Millisecond)
		case behind:
			time.Sleep(time.Millisecond)
		default:
			<-wake
		}
	}
}
