//go:build linux

package fanout

import (
	"net/http"
)

// frameSize is about what an event takes on the wire, with HTTP's chunk around
// it, whoever sends it.
const frameSize = 490

// target is one way to tell many subscribers over SSE.
type target struct {
	Name  string // in -targets
	Title string // in tables
	Ours  bool   // any loss is an error; the limit is ours too
	Query string // of the subscribers' request
	Lanes int    // publishers side by side

	// Overhead is what a frame has beside the payload: payloads are shorter by it.
	Overhead int
	Note     string // how it is configured, where that is not by default

	// Start makes one. dir is for files.
	Start func(dir string) (*running, error)
}

// running is a target in its server process.
type running struct {
	Handler http.Handler
	// Publish gives an event, which is the target's to keep, to all
	// subscribers. id rises by one with each; lanes call concurrently.
	Publish func(id uint64, payload []byte) error
	Close   func() error
}

// targets in the order of the tables.
func targets() []target {
	return []target{chainTarget(), busTarget(), limitTarget(), takenOverTarget(), r3labsTarget(), goSSETarget(), eventsourceTarget(), mercureTarget(), centrifugeTarget(), channelsTarget()}
}

func targetNamed(name string) (target, bool) {
	for _, t := range targets() {
		if t.Name == name {
			return t, true
		}
	}
	return target{}, false
}
