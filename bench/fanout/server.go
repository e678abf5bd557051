//go:build linux

package fanout

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

// The server process has one target and the publishers.

const serverChild = "fanout-server"

// serverJob is the first message to the server, which answers with its address.
type serverJob struct {
	Target string
	Dir    string
}

// publishing is the argument of the command "publish".
type publishing struct {
	Do     string
	Events int           // on all lanes together
	Every  time.Duration // time between two events, on all lanes together; 0 is full speed
	Lanes  int
}

// serverProgress is the answer to "progress".
type serverProgress struct {
	Published int64
	Done      bool // publishing has ended
	Err       string
}

// serverReport is the answer to "finish".
type serverReport struct {
	CPU       time.Duration // used since the start of publishing
	First     int64         // start of publishing: wall clock, ns
	Published int64
	Mean      time.Duration // mean time of the publish calls that returned
	Longest   time.Duration // longest of them
	Peak      int64         // most memory since the process started, in bytes
}

type server struct {
	target  target
	running *running

	id        atomic.Uint64
	published atomic.Int64
	spent     atomic.Int64 // time in publish calls that returned, ns
	longest   atomic.Int64
	done      atomic.Bool

	mu  sync.Mutex
	err error

	cpu   time.Duration
	first time.Time
}

func runServer(c *child.Conn) error {
	var job serverJob
	if err := c.Receive(&job); err != nil {
		return err
	}
	t, ok := targetNamed(job.Target)
	if !ok {
		return fmt.Errorf("no target %q", job.Target)
	}
	started, err := t.Start(job.Dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &server{target: t, running: started}
	srv := &http.Server{Handler: started.Handler, ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	if err := c.Send(listener.Addr().String()); err != nil {
		return err
	}
	for {
		var p publishing
		switch err := c.Receive(&p); {
		case errors.Is(err, io.EOF):
			srv.Close()
			if !t.Ours { // closing a peer is not measured
				return nil
			}
			return started.Close()
		case err != nil:
			return err
		}
		var answer any
		switch p.Do {
		case "rss":
			debug.FreeOSMemory()
			answer = child.RSS()
		case "warm":
			if err := s.publish(warmLane, 1, time.Now()); err != nil {
				return err
			}
		case "publish":
			s.cpu, s.first = child.CPU(), time.Now()
			s.published.Store(0)
			s.spent.Store(0)
			s.longest.Store(0)
			go s.all(p)
		case "progress":
			s.mu.Lock()
			progress := serverProgress{Published: s.published.Load(), Done: s.done.Load()}
			if s.err != nil {
				progress.Err = s.err.Error()
			}
			s.mu.Unlock()
			answer = progress
		case "finish":
			report := serverReport{CPU: child.CPU() - s.cpu, First: s.first.UnixNano(), Published: s.published.Load(), Longest: time.Duration(s.longest.Load()), Peak: peak()}
			if report.Published > 0 {
				report.Mean = time.Duration(s.spent.Load() / report.Published)
			}
			answer = report
		default:
			return fmt.Errorf("unknown command %q", p.Do)
		}
		if err := c.Send(answer); err != nil {
			return err
		}
	}
}

// all publishes on all lanes.
func (s *server) all(p publishing) {
	var lanes sync.WaitGroup
	for lane := range p.Lanes {
		lanes.Go(func() {
			if err := s.lane(p, lane); err != nil {
				s.mu.Lock()
				s.err = errors.Join(s.err, err)
				s.mu.Unlock()
			}
		})
	}
	lanes.Wait()
	s.done.Store(true)
}

// lane publishes every p.Lanes-th event, from number lane on. If a call lasts until
// after the next event was due, that event's latency counts from its due time.
func (s *server) lane(p publishing, lane int) error {
	var free time.Time // when the previous call returned
	for i := lane; i < p.Events; i += p.Lanes {
		stamp := time.Now()
		if due := s.first.Add(time.Duration(i) * p.Every); p.Every > 0 {
			if free.After(due) {
				stamp = due
			} else {
				time.Sleep(time.Until(due))
				stamp = time.Now()
			}
		}
		if err := s.publish(lane, i/p.Lanes+1, stamp); err != nil {
			return err
		}
		free = time.Now()
	}
	return nil
}

func (s *server) publish(lane, number int, stamp time.Time) error {
	size := frameSize - s.target.Overhead
	payload := appendPayload(make([]byte, 0, size+64), size, lane, number, stamp.UnixNano())
	id := s.id.Add(1)
	began := time.Now()
	if err := s.running.Publish(id, payload); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	took := int64(time.Since(began))
	s.published.Add(1)
	s.spent.Add(took)
	for longest := s.longest.Load(); took > longest && !s.longest.CompareAndSwap(longest, took); longest = s.longest.Load() {
	}
	return nil
}

// peak returns the most memory that the process has had, in bytes.
func peak() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}
