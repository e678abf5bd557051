package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
)

// A server that can't read its log ends each stream right after its greeting.
// Clients came back at once, four times a second, for as long as that lasted.
func TestClientPausesGrowWhenStreamsOnlyGreet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connections := 0
		site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			connections++
			w.Header().Set("Content-Type", "text/event-stream")
			w.Write([]byte(connectedFrame("0")))
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		greetings := 0
		for e, err := range site.client("").Events(ctx, "0") {
			if err == nil && e.Type == rampart.TypeConnected {
				greetings++
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if greetings != connections || connections < 100 || connections > 260 {
			t.Errorf("%d greetings, %d connections in an hour", greetings, connections)
		}
	})
}

// After a connection that brought a message, or that lasted, the next pause is
// short again.
func TestClientPausesBeginAnew(t *testing.T) {
	for name, stream := range map[string]func(http.ResponseWriter, *http.Request){
		"a message came": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(approvalsFrame)) },
		"it lasted": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(40 * time.Second):
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended time.Time
				longest, connections := time.Duration(0), 0
				site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if connections++; connections > 1 {
						longest = max(longest, time.Since(ended))
					}
					w.Header().Set("Content-Type", "text/event-stream")
					w.Write([]byte(connectedFrame("0")))
					http.NewResponseController(w).Flush()
					stream(w, r)
					ended = time.Now()
				}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				for _, err := range site.client("").Events(ctx, "0") {
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				}
				if connections < 80 || longest > time.Second {
					t.Errorf("%d connections, up to %v between them", connections, longest)
				}
			})
		})
	}
}
