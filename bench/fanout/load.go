//go:build linux

package fanout

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rampartlog/rampart/bench/child"
)

// The load generator has all subscribers in one process. A single thread waits in
// epoll and reads into one buffer, so that it takes little from the server.

const loadChild = "fanout-load"

// loadJob is the first message to the load generator.
type loadJob struct {
	Addr        string
	Request     string // the full HTTP request of each subscriber
	Subscribers int
	Lanes       int
	Events      int
	Stalled     bool // the first subscriber reads nothing from the start of publishing until resume
	Sample      int  // the latency of every Sample-th delivery is taken
}

// loadProgress is the answer to "progress".
type loadProgress struct {
	Warm     int64 // subscribers that got an event of warmLane
	Received int64 // distinct events
	Dropped  int64 // connections that the server ended
	Last     int64 // when the last event came: wall clock, ns
	Refused  string
}

// loadReport is the answer to "report". Only Stalled counts the stalled subscriber.
type loadReport struct {
	tally
	Complete       int // subscribers that got everything, once
	Stalled        tally
	Bytes          int64
	P50, P99, P999 float64 // ms
	Timed          uint64  // deliveries whose latency was taken
}

type loader struct {
	job     loadJob
	ep      int
	fds     []int
	readers []*reader

	warm, received, dropped, last atomic.Int64
	refused                       atomic.Pointer[string]
	measuring, stop               atomic.Bool

	// Owned by the epoll goroutine until it has stopped.
	latencies latencies
	late      latencies // the stalled subscriber's, which are not reported
	bytes     int64
}

func runLoad(c *child.Conn) error {
	l := &loader{}
	if err := c.Receive(&l.job); err != nil {
		return err
	}
	if err := l.connect(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- l.loop() }()
	for {
		var do string
		switch err := c.Receive(&do); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var answer any
		switch do {
		case "progress":
			p := loadProgress{Warm: l.warm.Load(), Received: l.received.Load(), Dropped: l.dropped.Load(), Last: l.last.Load()}
			if s := l.refused.Load(); s != nil {
				p.Refused = *s
			}
			answer = p
		case "measure":
			if l.job.Stalled {
				if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, l.fds[0], nil); err != nil {
					return err
				}
			}
			l.measuring.Store(true)
		case "resume":
			if err := l.watch(0); err != nil {
				return err
			}
		case "report":
			l.stop.Store(true)
			if err := <-ended; err != nil {
				return err
			}
			answer = l.report()
		default:
			return fmt.Errorf("unknown command %q", do)
		}
		if err := c.Send(answer); err != nil {
			return err
		}
	}
}

func (l *loader) connect() error {
	addr, err := net.ResolveTCPAddr("tcp4", l.job.Addr)
	if err != nil {
		return err
	}
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	for i := range l.job.Subscribers {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, to); err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		if _, err := unix.Write(fd, []byte(l.job.Request)); err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		l.fds = append(l.fds, fd)
		l.readers = append(l.readers, newReader(l.job.Lanes))
		if err := l.watch(i); err != nil {
			return err
		}
	}
	return nil
}

// watch makes epoll report when subscriber i can read.
func (l *loader) watch(i int) error {
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, l.fds[i], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
}

// loop reads until it is stopped. It reads once from each ready subscriber in turn,
// so that none starves.
func (l *loader) loop() error {
	runtime.LockOSThread()
	buf := make([]byte, 256<<10)
	ready := make([]unix.EpollEvent, 512)
	for !l.stop.Load() {
		n, err := unix.EpollWait(l.ep, ready, 20)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range ready[:max(n, 0)] {
			if err := l.read(int(e.Fd), buf); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) read(i int, buf []byte) error {
	n, err := unix.Read(l.fds[i], buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	r := l.readers[i]
	warm, received := r.warm, r.Received
	goes, times, stalled := false, &l.latencies, l.job.Stalled && i == 0
	if stalled {
		times = &l.late
	}
	if err == nil && n > 0 {
		now := time.Now().UnixNano()
		goes = r.feed(buf[:n], now, l.job.Sample, times)
		if l.measuring.Load() && !stalled {
			l.bytes += int64(n)
		}
		if got := r.Received - received; got > 0 {
			l.received.Add(int64(got))
			l.last.Store(now)
		}
	}
	if r.warm && !warm {
		l.warm.Add(1)
	}
	if r.refused != "" {
		l.refused.Store(&r.refused)
	}
	if !goes {
		l.dropped.Add(1)
		return unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, l.fds[i], nil)
	}
	return nil
}

func (l *loader) report() loadReport {
	p := loadReport{Bytes: l.bytes, Timed: l.latencies.n}
	if p.Timed > 0 {
		p.P50, p.P99, p.P999 = l.latencies.quantile(.5), l.latencies.quantile(.99), l.latencies.quantile(.999)
	}
	for i, r := range l.readers {
		t := r.end(l.job.Events)
		if l.job.Stalled && i == 0 {
			p.Stalled = t
			continue
		}
		p.tally.add(t)
		if t.Received == l.job.Events && t.Duplicates == 0 {
			p.Complete++
		}
	}
	return p
}
