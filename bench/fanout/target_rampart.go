//go:build linux

package fanout

import (
	"context"
	"net/http"
	"strconv"

	"github.com/rampartlog/rampart"
)

const token = "a-token-as-long-as-one-from-a-generator-0123456789"

// chainTarget is all of rampart: events are durable on the log before they are sent.
func chainTarget() target {
	return target{
		Name: "rampart", Title: "rampart", Ours: true, Query: "/v1/events/stream",
		Lanes: 64, Overhead: 456,
		Note: "rampart: 64 goroutines append to a chain that syncs each write (`SyncAlways`), so that a publish call is a durable `Append`; subscribers come in through `Rampart.Handler` with a bearer token, and every message has an id to resume after.",
		Start: func(dir string) (*running, error) {
			r, err := rampart.Open(dir, nil)
			if err != nil {
				return nil, err
			}
			return &running{
				Handler: r.Handler(&rampart.Auth{AdminToken: token}),
				Publish: func(_ uint64, payload []byte) error {
					_, err := r.Chain.Append(context.Background(), rampart.AuditEvent{
						Agent: "claude-code", Session: "app", Tool: "exec", Request: payload,
						Decision: rampart.Decision{Action: "allow", EvaluationTimeUS: 8},
					})
					return err
				},
				Close: r.Close,
			}, nil
		},
	}
}

// busTarget is the bus and its stream without the log, for a host with its own log.
func busTarget() target {
	return target{
		Name: "rampart-bus", Title: "rampart, bus alone", Ours: true, Query: "/v1/events/stream",
		Lanes: 1, Overhead: 43,
		Note: "rampart, bus alone: `EventBus.Publish` and `NewStream` behind the same check of a bearer token, ids on, no chain; a window of 32 MiB, since there is no log to go back to.",
		Start: func(string) (*running, error) {
			bus := rampart.NewEventBus(&rampart.BusOptions{Window: 32 << 20})
			stream := rampart.NewStream(bus, nil)
			mux := http.NewServeMux()
			mux.Handle("GET /v1/events/stream", (&rampart.Auth{AdminToken: token}).Require(rampart.ScopeAdmin, stream))
			return &running{
				Handler: mux,
				Publish: func(id uint64, payload []byte) error {
					return bus.Publish(rampart.Event{Type: rampart.TypeAudit, ID: strconv.FormatUint(id, 10), Record: payload})
				},
				Close: bus.Close,
			}, nil
		},
	}
}
