//go:build linux

package ingest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

type clientsConfig struct {
	Addr    string
	Clients int
	PerBody int
	Follow  bool // whether a subscriber reads the stream
}

// outcome is what the clients measured during one command.
type outcome struct {
	Events        int
	Seconds       float64
	Answer, Frame []float64 // ms until the answer and until the frame, at quantiles
}

var quantiles = []float64{50, 99, 99.9}

// Silence for so long is a fault, however slow the machine is.
const hung = time.Minute

// clients are the senders and the subscriber of one process. The numbering of bodies
// and events continues from one command to the next.
type clients struct {
	clientsConfig
	senders []*sender
	stream  *subscriber
	next    int // number of the first event of the next command
}

// runClients executes commands. A command is the number of bodies to send.
func runClients(c *child.Conn) error {
	var all clients
	if err := c.Receive(&all.clientsConfig); err != nil {
		return err
	}
	for range all.Clients {
		conn, err := net.Dial("tcp", all.Addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		all.senders = append(all.senders, newSender(conn, all.PerBody))
	}
	if all.Follow {
		conn, err := net.Dial("tcp", all.Addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if all.stream, err = subscribe(conn, all.Addr); err != nil {
			return err
		}
	}
	for {
		var bodies int
		if err := c.Receive(&bodies); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		o, err := all.send(bodies)
		if err != nil {
			return err
		}
		if err := c.Send(o); err != nil {
			return err
		}
	}
}

// sent is a body that was acknowledged.
type sent struct {
	began, answered time.Time
	answer          []byte
}

func (c *clients) send(bodies int) (o outcome, err error) {
	log := make([]sent, bodies)
	failed := make(chan error, c.Clients+1)
	var senders sync.WaitGroup
	var taken atomic.Int64
	began := time.Now()
	for _, s := range c.senders {
		senders.Go(func() {
			for {
				i := int(taken.Add(1)) - 1
				if i >= bodies {
					return
				}
				if err := s.post(&log[i], c.next+i*c.PerBody); err != nil {
					failed <- err
					if c.stream != nil {
						c.stream.conn.Close() // the subscriber would wait in vain
					}
					return
				}
			}
		})
	}
	events := bodies * c.PerBody
	var frames []frame
	if c.stream != nil {
		if frames, err = c.stream.read(c.next, events); err != nil {
			failed <- err // after a sender's error, which may be the cause
		}
	}
	if err == nil {
		senders.Wait()
	}
	o = outcome{Events: events, Seconds: time.Since(began).Seconds()}
	select {
	case err := <-failed:
		return o, err
	default:
	}
	if frames != nil {
		if err := hold(log, frames, c.PerBody); err != nil {
			return o, err
		}
		o.Frame = spread(events, func(i int) time.Duration { return frames[i].read.Sub(log[i/c.PerBody].began) })
	}
	o.Answer = spread(events, func(i int) time.Duration {
		b := &log[i/c.PerBody]
		return b.answered.Sub(b.began)
	})
	c.next += events
	return o, nil
}

// hold compares the acknowledged ids with those that the subscriber read.
func hold(log []sent, frames []frame, perBody int) error {
	for i := range log {
		ids, err := idsOf(log[i].answer)
		if err != nil {
			return err
		}
		if len(ids) != perBody {
			return fmt.Errorf("an answer to %d events has %d ids", perBody, len(ids))
		}
		for k, id := range ids {
			if got := frames[i*perBody+k].id; got != id {
				return fmt.Errorf("an event was acknowledged as %s and came as %s", id, got)
			}
		}
	}
	return nil
}

// spread returns the latencies at quantiles, in ms.
func spread(n int, latency func(i int) time.Duration) (out []float64) {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = latency(i)
	}
	slices.Sort(all)
	for _, q := range quantiles {
		out = append(out, float64(all[min(n-1, int(float64(n)*q/100))])/1e6)
	}
	return out
}

// sender is a client with one connection. It writes HTTP itself: net/http's client
// would take more CPU than the server that is measured.
type sender struct {
	conn    net.Conn
	in      *bufio.Reader
	perBody int
	head    string
	body    []byte
	out     []byte
}

func newSender(conn net.Conn, perBody int) *sender {
	typ := "application/json"
	if perBody > 1 {
		typ = "application/x-ndjson"
	}
	return &sender{
		conn: conn, in: bufio.NewReader(conn), perBody: perBody,
		head: "POST /v1/audit/events HTTP/1.1\r\nHost: " + conn.RemoteAddr().String() + "\r\nAuthorization: Bearer " + agentToken +
			"\r\nContent-Type: " + typ + "\r\nContent-Length: ",
	}
}

const (
	callKey   = `"tool_call_id":"call-` // the event's number follows
	digits    = 9
	eventHead = `{"session":"myapp/main","tool":"exec",` + callKey
	eventTail = `","request":{"command":"git log --oneline internal\n","path":"/home"},"decision":{"action":"allow","matched_policies":["allow-git"],"evaluation_time_us":8,"message":"git command allowed"}}`
)

func appendEvent(dst []byte, n int) []byte {
	return append(fmt.Appendf(append(dst, eventHead...), "%0*d", digits, n), eventTail...)
}

// post sends one body with the events from number n on.
func (s *sender) post(log *sent, n int) error {
	s.body = s.body[:0]
	for i := range s.perBody {
		s.body = append(appendEvent(s.body, n+i), '\n')
	}
	s.out = append(s.out[:0], s.head...)
	s.out = strconv.AppendInt(s.out, int64(len(s.body)), 10)
	s.out = append(append(s.out, "\r\n\r\n"...), s.body...)

	log.began = time.Now()
	s.conn.SetDeadline(log.began.Add(hung))
	if _, err := s.conn.Write(s.out); err != nil {
		return err
	}
	res, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	log.answer, err = io.ReadAll(res.Body)
	log.answered = time.Now()
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(log.answer))
	}
	return err
}
