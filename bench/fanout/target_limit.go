//go:build linux

package fanout

import (
	"net/http"
	"sync"
	"time"
)

// limitTarget does only the physical work. All connections share one byte log. Each
// writes it in pieces of 64 KiB, and pauses for 10 ms when it has sent everything.
func limitTarget() target {
	return target{
		Name: "limit", Title: "limit", Ours: true, Query: "/",
		Lanes: 1, Overhead: 19,
		Note: "limit: writes a shared byte log through net/http, pauses 10 ms after it has sent everything, and does nothing else: no authentication, no ids, no bound on memory, no time limit for a write.",
		Start: func(string) (*running, error) {
			l := &byteLog{b: make([]byte, 0, 32<<20), wake: make(chan struct{})}
			return &running{Handler: l, Publish: l.publish, Close: func() error { return nil }}, nil
		},
	}
}

type byteLog struct {
	mu   sync.Mutex
	b    []byte // only appended to: bytes that readers hold never change
	wake chan struct{}
}

func (l *byteLog) publish(_ uint64, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(append(append(l.b, "data: "...), payload...), "\n\n"...)
	close(l.wake)
	l.wake = make(chan struct{})
	return nil
}

func (l *byteLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	l.mu.Lock()
	cursor := len(l.b)
	l.mu.Unlock()
	if flush() != nil {
		return
	}
	for {
		l.mu.Lock()
		b, wake := l.b[cursor:], l.wake
		l.mu.Unlock()
		if len(b) == 0 {
			select {
			case <-wake:
			case <-r.Context().Done():
				return
			}
			continue
		}
		piece := b[:min(len(b), 64<<10)] // fits in the processor's cache
		if _, err := w.Write(piece); err != nil || flush() != nil {
			return
		}
		if cursor += len(piece); len(piece) == len(b) {
			time.Sleep(10 * time.Millisecond)
		}
	}
}
