//go:build linux

package fanout

import (
	"context"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/dunglas/mercure"
	"github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
)

// The peers are used as their documentation shows, with ids and default buffers.

const topic = "audit"

func r3labsTarget() target {
	return target{
		Name: "r3labs", Title: "r3labs/sse 2.10.0", Query: "/?stream=" + topic,
		Lanes: 1, Overhead: 22, Note: "r3labs/sse: `AutoReplay` off.",
		Start: func(string) (*running, error) {
			s := r3labs.New()
			s.AutoReplay = false
			s.CreateStream(topic)
			return &running{
				Handler: s,
				Publish: func(id uint64, payload []byte) error {
					s.Publish(topic, &r3labs.Event{ID: strconv.AppendUint(nil, id, 10), Data: payload})
					return nil
				},
				Close: func() error { s.Close(); return nil },
			}, nil
		},
	}
}

func goSSETarget() target {
	return target{
		Name: "go-sse", Title: "tmaxmax/go-sse 0.12.0", Query: "/",
		Lanes: 1, Overhead: 22,
		Start: func(string) (*running, error) {
			s := &gosse.Server{}
			return &running{
				Handler: s,
				Publish: func(id uint64, payload []byte) error {
					m := &gosse.Message{ID: gosse.ID(strconv.FormatUint(id, 10))}
					m.AppendData(string(payload))
					return s.Publish(m)
				},
				Close: func() error { return s.Shutdown(context.Background()) },
			}, nil
		},
	}
}

type eventsourceEvent struct{ id, data string }

func (e eventsourceEvent) Id() string    { return e.id }
func (e eventsourceEvent) Event() string { return "" }
func (e eventsourceEvent) Data() string  { return e.data }

func eventsourceTarget() target {
	return target{
		Name: "eventsource", Title: "launchdarkly/eventsource 1.11.0", Query: "/",
		Lanes: 1, Overhead: 22, Note: "launchdarkly/eventsource: drops a subscriber that is 128 events behind (its default).",
		Start: func(string) (*running, error) {
			s := eventsource.NewServer()
			return &running{
				Handler: s.Handler(topic),
				Publish: func(id uint64, payload []byte) error {
					s.Publish([]string{topic}, eventsourceEvent{strconv.FormatUint(id, 10), string(payload)})
					return nil
				},
				Close: func() error { s.Close(); return nil },
			}, nil
		},
	}
}

func mercureTarget() target {
	return target{
		Name: "mercure", Title: "dunglas/mercure 0.24.2", Query: "/.well-known/mercure?topic=" + topic,
		Lanes: 1, Overhead: 22, Note: "dunglas/mercure: the library with its local transport and anonymous subscribers; drops a subscriber that is 1,000 events behind or blocks a write for 5 s (its defaults).",
		Start: func(string) (*running, error) {
			h, err := mercure.NewHub(context.Background(), mercure.WithAnonymous(), mercure.WithLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				return nil, err
			}
			return &running{
				Handler: h,
				Publish: func(id uint64, payload []byte) error {
					return h.Publish(context.Background(), &mercure.Update{
						Topics: []string{topic},
						Event:  mercure.Event{ID: strconv.FormatUint(id, 10), Data: string(payload)},
					})
				},
				Close: func() error { return h.Stop(context.Background()) },
			}, nil
		},
	}
}

func centrifugeTarget() target {
	return target{
		Name: "centrifuge", Title: "centrifugal/centrifuge 0.40.1", Query: "/?cf_connect=" + url.QueryEscape(`{"id":1,"connect":{}}`),
		Lanes: 1, Overhead: 71, Note: "centrifugal/centrifuge: its SSE transport; the server subscribes the clients to the channel, with positions for recovery and a history of 300 events, and asks for no pongs, since the readers here send nothing; drops a subscriber that is 1 MiB behind (its default).",
		Start: func(string) (*running, error) {
			node, err := centrifuge.New(centrifuge.Config{})
			if err != nil {
				return nil, err
			}
			node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
				return centrifuge.ConnectReply{
					Credentials:   &centrifuge.Credentials{UserID: "admin"},
					Subscriptions: map[string]centrifuge.SubscribeOptions{topic: {EnableRecovery: true, EnablePositioning: true}},
				}, nil
			})
			if err := node.Run(); err != nil {
				return nil, err
			}
			return &running{
				Handler: centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{
					PingPongConfig: centrifuge.PingPongConfig{PongTimeout: -1},
				}),
				Publish: func(_ uint64, payload []byte) error {
					_, err := node.Publish(topic, payload, centrifuge.WithHistory(300, time.Minute))
					return err
				},
				Close: func() error { return node.Shutdown(context.Background()) },
			}, nil
		},
	}
}
