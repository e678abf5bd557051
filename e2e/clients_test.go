package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/launchdarkly/eventsource"
	"github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
	"gopkg.in/cenkalti/backoff.v1"
)

// target is where a client is to connect.
type target struct {
	url   string // of the stream
	token string
	pages site // whose origin the daemon allows
}

// clients are programs and libraries of others, each used as its own
// documentation says. They print the data of every message that they hand to
// their user, a line each, and resume as they do by themselves.
var clients = []struct {
	name  string
	lacks func() string // what the client needs and this machine does not have
	start func(t *testing.T, to target) *output
}{
	{"r3labs/sse", nothing, startR3labs},
	{"tmaxmax/go-sse", nothing, startGoSSE},
	{"launchdarkly/eventsource", nothing, startLaunchDarkly},
	{"npm eventsource", lacksNPM, startNPM},
	{"curl", lacksCurl, startCurl},
	{"Chromium", lacksChromium, startChromium},
}

func nothing() string { return "" }

// request asks for the stream.
func (to target) request(ctx context.Context) *http.Request {
	req, err := http.NewRequestWithContext(ctx, "GET", to.url, nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+to.token)
	return req
}

// during runs a client's loop until the test is over.
func during(t *testing.T, loop func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		loop(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func startR3labs(t *testing.T, to target) *output {
	out := newOutput()
	c := sse.NewClient(to.url)
	c.Headers["Authorization"] = "Bearer " + to.token
	during(t, func(ctx context.Context) {
		// The client takes a clean end of the stream for the end of its work, and
		// gives up after a quarter of an hour. Its user has to call it again, upon
		// which it goes on from its last id, and has to say for how long it may try.
		for ctx.Err() == nil {
			tries := backoff.NewExponentialBackOff()
			tries.InitialInterval, tries.MaxElapsedTime = 100*time.Millisecond, 0
			c.ReconnectStrategy = backoff.WithContext(tries, ctx)
			c.SubscribeRawWithContext(ctx, func(m *sse.Event) {
				// The client hands out messages that were cut off: it has not seen
				// their ids, so they come again. It hands out comments as empty
				// messages.
				if json.Valid(m.Data) {
					fmt.Fprintf(out, "%s\n", m.Data)
				}
			})
		}
	})
	return out
}

func startGoSSE(t *testing.T, to target) *output {
	out := newOutput()
	during(t, func(ctx context.Context) {
		c := &gosse.Client{Backoff: gosse.Backoff{InitialInterval: 100 * time.Millisecond}}
		conn := c.NewConnection(to.request(ctx))
		conn.SubscribeToAll(func(e gosse.Event) { fmt.Fprintln(out, e.Data) })
		if err := conn.Connect(); ctx.Err() == nil {
			fmt.Fprintln(out, "it gave up:", err)
		}
	})
	return out
}

func startLaunchDarkly(t *testing.T, to target) *output {
	out := newOutput()
	during(t, func(ctx context.Context) {
		stream, err := eventsource.SubscribeWithRequestAndOptions(to.request(ctx),
			eventsource.StreamOptionInitialRetry(100*time.Millisecond),
			// Without a handler the client waits until somebody reads its errors.
			eventsource.StreamOptionErrorHandler(func(error) (r eventsource.StreamErrorHandlerResult) { return r }))
		if err != nil {
			fmt.Fprintln(out, "it did not connect:", err)
			return
		}
		defer context.AfterFunc(ctx, stream.Close)()
		for e := range stream.Events {
			fmt.Fprintln(out, e.Data())
		}
	})
	return out
}

func lacksNPM() string {
	if _, ok := find("node"); !ok {
		return "node"
	}
	if _, err := os.Stat(filepath.Join("npm", "node_modules", "eventsource")); err != nil {
		return "e2e/npm/node_modules"
	}
	return ""
}

func startNPM(t *testing.T, to target) *output {
	t.Helper()
	return run(t, command{env: []string{"TOKEN=" + to.token}}, need(t, "node"), filepath.Join("npm", "listen.js"), to.url).output
}

func lacksCurl() string {
	for _, tool := range []string{"bash", "curl"} {
		if _, ok := find(tool); !ok {
			return tool
		}
	}
	return ""
}

func startCurl(t *testing.T, to target) *output {
	t.Helper()
	return run(t, command{env: []string{"TOKEN=" + to.token}}, need(t, "bash"), "curl.sh", to.url).output
}

func lacksChromium() string {
	if _, ok := findChromium(); !ok {
		return "chromium"
	}
	return ""
}

func startChromium(t *testing.T, to target) *output {
	t.Helper()
	to.pages.run("/", fmt.Sprintf(`
const source = new EventSource(%q);
source.onmessage = (event) => console.log('%%s', event.data);
`, to.url+"?token="+to.token))
	return open(t, to.pages.origin).console
}

// session is a daemon with all clients at it.
type session struct {
	*daemon
	proxy   *proxy             // between the clients and the daemon; nil for none
	clients map[string]*output // by name
}

// connect starts all clients on an empty log and waits until each has said that
// it is connected.
func connect(t *testing.T, throughProxy bool) *session {
	t.Helper()
	pages := newSite(t)
	s := &session{daemon: start(t, "-allow-origin", pages.origin), clients: make(map[string]*output)}
	address := s.address
	if throughProxy {
		s.proxy = newProxy(t, address)
		address = s.proxy.address
	}
	for _, c := range clients {
		if c.lacks() == "" {
			s.clients[c.name] = c.start(t, target{"http://" + address + streamPath, s.token, pages})
		}
	}
	for name := range s.clients {
		s.waitFor(name, "connects", func(h heard) bool { return h.opened > 0 })
	}
	return s
}

// heard is what a client has handed to its user.
type heard struct {
	events []string // of audit messages
	opened int      // connected messages
	odd    []string // lines that should not be there
}

func hear(text string) heard {
	var h heard
	for line := range strings.Lines(text) {
		var m struct {
			Type  string
			Event json.RawMessage
		}
		switch err := json.Unmarshal([]byte(line), &m); {
		case err == nil && m.Type == "connected":
			h.opened++
		case err == nil && m.Type == "audit":
			h.events = append(h.events, string(m.Event))
		case err != nil && strings.HasSuffix(line, "\n"), err == nil && m.Type != "approvals":
			h.odd = append(h.odd, line)
		}
	}
	return h
}

func (s *session) waitFor(name, what string, cond func(heard) bool) {
	s.t.Helper()
	s.clients[name].until(s.t, name+" "+what, func(text string) bool { return cond(hear(text)) })
}

// through lets an outage happen and wants every client to come back by itself.
// Events are appended before the first client is back, and after.
func (s *session) through(outage func()) {
	s.t.Helper()
	before := make(map[string]int)
	for name, out := range s.clients {
		before[name] = hear(out.String()).opened
	}
	outage()
	s.appendSome()
	for name, n := range before {
		s.waitFor(name, "comes back", func(h heard) bool { return h.opened > n })
	}
	s.appendSome()
}

func (s *session) appendSome() {
	s.t.Helper()
	for range 20 {
		s.append("git status", "allow")
	}
}

// feed appends one event after the other until the daemon takes no more, and
// returns once it has begun. The channel is closed at the end.
func (s *session) feed() (fed chan struct{}) {
	s.t.Helper()
	begun := make(chan struct{})
	fed = make(chan struct{})
	go func() {
		defer close(fed)
		for n := 0; ; n++ {
			if _, err := s.send("POST", eventsPath, event("git status", "allow")); err != nil {
				return
			}
			if n == 10 {
				close(begun)
			}
		}
	}()
	select {
	case <-begun:
	case <-fed:
		s.t.Fatal("the daemon takes no events")
	}
	return fed
}

// finished wants every client to have had every event of the log once, in order.
func (s *session) finished() {
	s.t.Helper()
	s.append("git status", "allow")
	lines := s.lines()
	for _, c := range clients {
		s.t.Run(c.name, func(t *testing.T) {
			if what := c.lacks(); what != "" {
				lacks(t, what)
			}
			var got heard
			s.clients[c.name].until(t, fmt.Sprintf("%s has the last of %d events", c.name, len(lines)), func(text string) bool {
				got = hear(text)
				return slices.Contains(got.events, lines[len(lines)-1])
			})
			if !slices.Equal(got.events, lines) {
				t.Errorf("events are missing, doubled or in another order: %s", cmp.Diff(lines, got.events))
			}
			for _, line := range got.odd {
				t.Errorf("it handed out %s", line)
			}
		})
	}
}

func TestClientsThroughCutConnections(t *testing.T) {
	t.Parallel()
	s := connect(t, true)
	s.appendSome()
	for _, how := range []int32{cutByFIN, cutByRST} {
		s.through(func() {
			cuts := s.proxy.cutStreams(how)
			if len(cuts) != len(s.clients) {
				t.Fatalf("%d streams for %d clients", len(cuts), len(s.clients))
			}
			limit := time.Now().Add(patience)
			for _, cut := range cuts {
				for !isClosed(cut) {
					if s.append("git status", "allow"); time.Now().After(limit) {
						t.Fatal("events pass, and a stream is not cut")
					}
				}
			}
		})
	}
	s.finished()
}

func TestClientsThroughRestarts(t *testing.T) {
	t.Parallel()
	s := connect(t, false)
	s.appendSome()
	for _, end := range []func(){s.kill, s.stop} {
		s.through(func() {
			fed := s.feed()
			end()
			<-fed
			s.restart()
		})
	}
	s.finished()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
