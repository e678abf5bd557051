package fanout

import (
	"net/http"
	"sync"
	"time"
)

// limitTarget does only the physical work: a byte log that all share, one write
// for all that is new, and a rest of 10 ms after each flush.
func limitTarget() target {
	return target{
		Name: "limit", Title: "limit", Ours: true, Query: "/",
		Lanes: 1, Overhead: 15,
		Note: "limit: a shared byte log through net/http that rests 10 ms after a flush and does nothing else: no authentication, no ids, no bound on memory, no time limit for a write.",
		Start: func(string) (*running, error) {
			l := &byteLog{wake: make(chan struct{})}
			return &running{Handler: l, Publish: l.publish, Close: func() error { return nil }}, nil
		},
	}
}

type byteLog struct {
	mu   sync.Mutex
	b    []byte // only appended to: what readers hold stays as it is
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
		if _, err := w.Write(b); err != nil || flush() != nil {
			return
		}
		cursor += len(b)
		time.Sleep(10 * time.Millisecond)
	}
}
