//go:build linux

package fanout

import (
	"fmt"
	"net/http"
	"sync"
)

// channelsTarget is the hub that many programs write: a map of channels.
func channelsTarget() target {
	return target{
		Name: "channels", Title: "channels", Query: "/",
		Lanes: 1, Overhead: 22,
		Note: "channels: a map of 32-slot channels, and sends that drop the event when a channel is full.",
		Start: func(string) (*running, error) {
			h := &hub{subscribers: map[chan message]struct{}{}}
			return &running{Handler: h, Publish: h.publish, Close: func() error { return nil }}, nil
		},
	}
}

type message struct {
	id      uint64
	payload []byte
}

type hub struct {
	mu          sync.RWMutex
	subscribers map[chan message]struct{}
}

func (h *hub) publish(id uint64, payload []byte) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.subscribers {
		select {
		case c <- message{id, payload}:
		default:
		}
	}
	return nil
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := make(chan message, 32)
	h.mu.Lock()
	h.subscribers[c] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.subscribers, c)
		h.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	if flush() != nil {
		return
	}
	for {
		select {
		case m := <-c:
			if _, err := fmt.Fprintf(w, "data: %s\nid: %d\n\n", m.payload, m.id); err != nil || flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
