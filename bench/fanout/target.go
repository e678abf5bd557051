//go:build linux

package fanout

import (
	"net/http"
)

// frameSize is about the size of an event on the wire, with its HTTP chunk, in every
// target.
const frameSize = 490

// target is one way to send events to many subscribers over SSE.
type target struct {
	Name  string // name in -targets
	Title string // name in tables
	Ours  bool   // any loss is an error; also true for the limits
	Query string // path and query of the subscribers' request
	Lanes int    // concurrent publishers

	// Overhead is how many bytes a frame has besides the payload. Payloads are
	// shorter by it, so that all frames have one size.
	Overhead int
	Note     string // its configuration, where that is not the default

	// Start starts the target. It may keep files in dir.
	Start func(dir string) (*running, error)
}

// running is a target in its server process.
type running struct {
	Handler http.Handler
	// Publish sends an event to all subscribers. The target may keep payload. id rises
	// by one with each event. The lanes call Publish concurrently.
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
