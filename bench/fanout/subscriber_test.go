//go:build linux

package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"
)

// body returns an answer with the events, in chunks of cut bytes.
func body(cut int, events ...[3]int) []byte {
	var stream, b []byte
	for _, e := range events {
		stream = append(stream, "id: 7@\ndata: "...) // this '@' is not in a marker
		stream = appendPayload(stream, 120, e[0], e[1], int64(e[2]))
		stream = append(stream, "\n\n"...)
	}
	b = append(b, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"...)
	for len(stream) > 0 {
		n := min(cut, len(stream))
		b = fmt.Appendf(b, "%x\r\n%s\r\n", n, stream[:n])
		stream = stream[n:]
	}
	return b
}

func TestReaderCounts(t *testing.T) {
	const now = 1_764_102_117_123_456_789
	ms := func(n int) int { return now - n*int(time.Millisecond) }
	sent := [][3]int{
		{warmLane, 1, ms(9)},
		{0, 1, ms(10)}, {1, 1, ms(20)}, {0, 2, ms(30)},
		{0, 5, ms(40)}, // 3 and 4 of lane 0 are lost
		{1, 1, ms(50)}, // twice
		{0, 4, ms(50)}, // too late: lost and out of order
		{1, 2, ms(60)},
		{1, 3, ms(70)}, // 4 and 5 of lane 1 never come
	}
	want := tally{Received: 6, Lost: 2 + 2, Duplicates: 2}
	for _, cut := range []int{1, 7, 100, 1 << 20} { // bytes in a chunk
		answer := body(cut, sent...)
		for _, piece := range []int{1, 2, 3, 39, 40, 41, 150, len(answer)} { // bytes in a read
			r, l := newReader(2), &latencies{}
			for p := answer; len(p) > 0; p = p[min(piece, len(p)):] {
				if !r.feed(p[:min(piece, len(p))], now, 1, l) {
					t.Fatalf("chunks of %d, reads of %d: ended early: %s", cut, piece, r.refused)
				}
			}
			if got := r.end(10); got != want || !r.warm {
				t.Errorf("chunks of %d, reads of %d: %+v, warm %v, want %+v", cut, piece, got, r.warm, want)
			}
			if l.n != 6 {
				t.Errorf("chunks of %d, reads of %d: %d latencies, want 6", cut, piece, l.n)
			}
			if p := l.quantile(.5); p < 30 || p > 30*33/32. {
				t.Errorf("chunks of %d, reads of %d: median %v ms, want 30", cut, piece, p)
			}
		}
	}
}

func TestReaderSeesTheEnd(t *testing.T) {
	r, l := newReader(1), &latencies{}
	if r.feed(append(body(50, [3]int{0, 1, 1}), "0\r\n\r\n"...), 2, 1, l) {
		t.Error("goes on after the last chunk")
	}
	if got := r.end(1); got != (tally{Received: 1}) {
		t.Errorf("%+v", got)
	}
	for _, answer := range []string{"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"} {
		r := newReader(1)
		if r.feed([]byte(answer), 2, 1, l) || r.refused == "" {
			t.Errorf("%q was taken", answer)
		}
	}
}

func TestReaderTakesABodyWithoutChunks(t *testing.T) {
	r, l := newReader(1), &latencies{}
	event := "data: " + string(appendPayload(nil, 60, 0, 1, 1)) + "\n\n"
	if !r.feed([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+event[:20]), 2, 1, l) || !r.feed([]byte(event[20:]), 2, 1, l) {
		t.Error(r.refused)
	}
	if got := r.end(1); got != (tally{Received: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestPayload(t *testing.T) {
	for _, size := range []int{0, 42, 50, 51, 60, 500} {
		b := appendPayload(nil, size, 7, 123, 1_764_102_117_123_456_789)
		if !json.Valid(b) || !bytes.Contains(b, []byte(`"m":"@07:0000000123:1764102117123456789"`)) || bytes.Count(b, []byte("@")) != 1 {
			t.Errorf("%s", b)
		}
		if size > 50 && len(b) != size {
			t.Errorf("%d bytes, want %d", len(b), size)
		}
	}
}

func TestQuantile(t *testing.T) {
	var l latencies
	if !math.IsNaN(l.quantile(.5)) {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]float64{.001: 1, .5: 500, .99: 990, 1: 1000} {
		if got := l.quantile(q); got < want || got > want*33/32 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	for v := uint64(1); v < 1<<40; v = v*9/8 + 1 {
		if i := bucket(v); v > top(i) || i > 0 && v <= top(i-1) {
			t.Errorf("%d is in bucket %d: %d to %d", v, i, top(i-1)+1, top(i))
		}
	}
}

func TestOnLane(t *testing.T) {
	for events := range 20 {
		sum := 0
		for lane := range 6 {
			sum += onLane(lane, 6, events)
		}
		if sum != events {
			t.Errorf("%d of %d events", sum, events)
		}
	}
}

// The check of our rows finds each kind of fault.
func TestWholeFails(t *testing.T) {
	s := scenario{Name: "test", Subscribers: 3, Events: 10, Stalled: true}
	good := func() *figures {
		return &figures{
			Server: serverReport{Published: 10},
			Load:   loadReport{tally: tally{Received: 20}, Complete: 2, Stalled: tally{Received: 10}},
		}
	}
	if err := whole(limitTarget(), s, good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*figures){
		"published": func(f *figures) { f.Server.Published-- },
		"received":  func(f *figures) { f.Load.Received-- },
		"lost":      func(f *figures) { f.Load.Lost++ },
		"twice":     func(f *figures) { f.Load.Duplicates++ },
		"complete":  func(f *figures) { f.Load.Complete-- },
		"dropped":   func(f *figures) { f.Dropped++ },
		"stalled":   func(f *figures) { f.Load.Stalled.Lost++ },
	} {
		f := good()
		spoil(f)
		if whole(limitTarget(), s, f) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
