//go:build linux

package fanout

import (
	"bytes"
	"time"
)

// reader is one subscriber's side of a stream. It checks the sequence of the events.
type reader struct {
	header  []byte // the part of the header that has come; nil once it is complete
	refused string // the server's answer, if it is not 200 and a stream
	plain   bool   // the body has no chunks; it ends with the connection
	chunks  chunked
	scan    scanner
	warm    bool // an event of warmLane has come
	last    []uint32
	tally
}

// tally counts the events of one subscriber, or of all.
type tally struct {
	Received   int // distinct events
	Lost       int // events that were skipped: a later one came first
	Duplicates int // events that came again, or after a later one
}

func (t *tally) add(o tally) {
	t.Received += o.Received
	t.Lost += o.Lost
	t.Duplicates += o.Duplicates
}

func newReader(lanes int) *reader { return &reader{header: []byte{}, last: make([]uint32, lanes)} }

// feed takes bytes p that were read at the time now, and reports whether the stream
// goes on. It adds the latency of every sample-th delivery to l.
func (r *reader) feed(p []byte, now int64, sample int, l *latencies) bool {
	if r.header != nil {
		r.header = append(r.header, p...)
		i := bytes.Index(r.header, []byte("\r\n\r\n"))
		if i < 0 {
			return true
		}
		head := r.header[:i]
		r.plain = bytes.Contains(head, []byte("Connection: close"))
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) || !r.plain && !bytes.Contains(head, []byte("Transfer-Encoding: chunked")) {
			r.refused = string(head)
			return false
		}
		p, r.header = r.header[i+4:], nil
	}
	data := func(b []byte) {
		r.scan.scan(b, func(lane, number int, ns int64) {
			if lane == warmLane {
				r.warm = true
				return
			}
			switch last := int(r.last[lane]); {
			case number <= last:
				r.Duplicates++
				return
			default:
				r.Lost += number - last - 1
				r.last[lane] = uint32(number)
			}
			r.Received++
			if r.Received%sample == 0 {
				l.add(time.Duration(now - ns))
			}
		})
	}
	if r.plain {
		data(p)
		return true
	}
	return r.chunks.feed(p, data)
}

// end returns the tally after the last event. Events that are missing at the end of
// a lane count as lost.
func (r *reader) end(events int) tally {
	t := r.tally
	for lane, last := range r.last {
		t.Lost += onLane(lane, len(r.last), events) - int(last)
	}
	return t
}

// onLane returns how many of the events the lane publishes: the lanes take turns.
func onLane(lane, lanes, events int) int { return (events - lane + lanes - 1) / lanes }
