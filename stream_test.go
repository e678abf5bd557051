package rampart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"github.com/rampartlog/rampart"
)

// newStream returns a handler that is closed when the test ends.
func newStream(t testing.TB, b *rampart.EventBus, opts *rampart.StreamOptions) *rampart.Stream {
	t.Helper()
	s := rampart.NewStream(b, opts)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStreamLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)

		resp := site.do(http.MethodGet, "")
		want := http.Header{"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "X-Accel-Buffering": {"no"}}
		resp.Header.Del("Date") // net/http adds it
		if diff := cmp.Diff(want, resp.Header); resp.StatusCode != 200 || diff != "" {
			t.Errorf("status %s, headers (-want +got):\n%s", resp.Status, diff)
		}
		w := site.watch("")
		w.expect(connectedFrame("0"))
		first := appendOne(t, c, event(0))
		w.expect(auditFrame(t, c, first))
		publish(t, b, rampart.Event{Type: rampart.TypeApprovals})
		w.expect(approvalsFrame)
		bulk, err := c.AppendBatch(t.Context(), "run_1", event(1), event(2))
		if err != nil {
			t.Fatal(err)
		}
		w.expect(batchFrame("run_1", position(bulk[1])), approvalsFrame)
		large := event(3)
		large.RunID, large.Request = "run_2", json.RawMessage(`{"x":"`+strings.Repeat("x", 60<<10)+`"}`)
		saved := appendOne(t, c, large)
		w.expect(batchFrame("run_2", position(saved)))

		site.watch("").expect(connectedFrame(position(saved)))
	})
}

func TestStreamMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newLog(t, nil)
		site := newSite(t, newStream(t, b, nil), nil)
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			resp := site.do(method, "")
			if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: %s, Allow %q", method, resp.Status, resp.Header.Get("Allow"))
			}
		}
	})
}

// A probe must not leave a handler behind that blocks its connection.
func TestStreamHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newLog(t, &rampart.BusOptions{MaxSubscribers: 1})
		s := newStream(t, b, nil)
		site := newSite(t, s, func(_ *http.Server, tr *http.Transport) { tr.MaxConnsPerHost = 1 })
		for range 2 {
			resp := site.do(http.MethodHead, "")
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s %v", resp.Status, resp.Header)
			}
		}
		if n := b.Stats().Subscribers; n != 0 {
			t.Errorf("HEAD left %d subscribers", n)
		}
		if n := s.Stats().Opened; n != 0 {
			t.Errorf("HEAD counts as %d streams", n)
		}
	})
}

func TestStreamIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newLog(t, &rampart.BusOptions{MaxSubscribers: 1})
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)
		refused := func(why string) {
			t.Helper()
			for _, method := range []string{"GET", "HEAD"} {
				resp := site.do(method, "")
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
					method == "GET" && string(body) != `{"error":"`+why+"\"}\n" {
					t.Errorf("%s: %s, %v, %s", method, resp.Status, resp.Header, body)
				}
			}
		}
		w := site.watch("")
		w.expect(connectedFrame("0"))
		refused("too many subscribers")
		w.body.Close()
		synctest.Wait()
		site.watch("").expect(connectedFrame("0"))
		s.Close()
		refused("shutting down")
	})
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type hidden struct{ http.ResponseWriter }

func TestStreamThroughMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newLog(t, nil)
		var log bytes.Buffer
		s := newStream(t, b, &rampart.StreamOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		site := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("hide") {
				w = hidden{w}
			}
			s.ServeHTTP(wrapped{wrapped{w}}, r)
		}), nil)
		site.watch("").expect(connectedFrame("0"))
		for _, method := range []string{"GET", "HEAD"} {
			resp := site.do(method, "?hide=&token=secret")
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("Content-Type") != "application/json" ||
				method == "GET" && !strings.Contains(string(body), "Unwrap") {
				t.Errorf("%s: %s %s", method, resp.Status, body)
			}
		}
		if got := log.String(); !strings.Contains(got, "rampart_test.hidden") || strings.Contains(got, "secret") {
			t.Errorf("log: %s", got)
		}
	})
}

func TestStreamResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)
		saved := appendN(t, c, 2)
		bulk, err := c.AppendBatch(t.Context(), "run", event(2), event(3))
		if err != nil {
			t.Fatal(err)
		}
		saved = append(saved, bulk...)
		opened := []*watcher{}
		for _, tc := range []struct {
			name, after, query, header string
			from                       int
		}{
			{"header", position(saved[0]), "", position(saved[0]), 1},
			{"parameter", position(saved[1]), "?last_event_id=" + position(saved[1]), "", 2},
			{"header wins", position(saved[2]), "?last_event_id=0", position(saved[2]), 3},
			{"start", "0", "", "0", 0},
			{"bare id", saved[0].ID, "", saved[0].ID, 1},
			{"head", position(saved[3]), "", position(saved[3]), 4},
		} {
			var header []string
			if tc.header != "" {
				header = []string{"Last-Event-ID", tc.header}
			}
			w := site.watch(tc.query, header...)
			w.expect(connectedFrame(tc.after))
			w.expect(auditFrames(t, c, saved[tc.from:])...)
			w.expect(approvalsFrame)
			opened = append(opened, w)
		}
		live := appendOne(t, c, event(4))
		for _, w := range opened {
			w.expect(auditFrame(t, c, live))
		}
		if diff := cmp.Diff(map[string]uint64{"ok": uint64(len(opened)), "unknown": 0, "malformed": 0, "mismatch": 0}, s.Stats().Resumes); diff != "" {
			t.Errorf("resumes (-want +got):\n%s", diff)
		}
	})
}

// A client that cannot resume is told to query, and goes on from the head.
func TestStreamCannotResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		var log bytes.Buffer
		s := newStream(t, b, &rampart.StreamOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		site := newSite(t, s, nil)
		site.watch("", "Last-Event-ID", "x").expect("data: {\"type\":\"connected\"}\n\n", batchFrame("", "0"), approvalsFrame)

		saved := appendN(t, c, 2)
		head := position(saved[1])
		nobody := strings.Repeat("0", 26)
		altered := saved[0].ID + "." + strings.Repeat("0", 16)
		beyond := "7ZZZZZZZZZZZZZZZZZZZZZZZZZ." + strings.Repeat("0", 16)
		var opened []*watcher
		for _, tc := range []struct{ id, connected string }{
			{nobody, connectedFrame(nobody)},
			{nobody + ".0123456789abcdef", connectedFrame(nobody + ".0123456789abcdef")},
			{strings.ToLower(saved[0].ID), "data: {\"type\":\"connected\"}\n\n"},
			{altered, connectedFrame(altered)},
			{beyond, connectedFrame(beyond)},
		} {
			w := site.watch("?token=secret", "Last-Event-ID", tc.id)
			w.expect(tc.connected, batchFrame("", head), approvalsFrame)
			opened = append(opened, w)
		}
		live := appendOne(t, c, event(2))
		for _, w := range opened {
			w.expect(auditFrame(t, c, live))
		}

		st := s.Stats()
		if diff := cmp.Diff(map[string]uint64{"ok": 0, "unknown": 2, "malformed": 2, "mismatch": 2}, st.Resumes); diff != "" || st.WitnessMismatches != 2 {
			t.Errorf("%d mismatches, resumes (-want +got):\n%s", st.WitnessMismatches, diff)
		}
		for _, want := range []string{"level=ERROR", altered, saved[0].Hash, beyond, head} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not mention %s: %s", want, &log)
			}
		}
		if strings.Contains(log.String(), "secret") {
			t.Errorf("a token is in the log: %s", &log)
		}
	})
}

func TestStreamWithoutChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, nil)
		site := newSite(t, newStream(t, b, nil), nil)
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "event 1", Record: rampart.Record(`{"n":1}`)})
		publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "event 2", RunID: "r"})
		site.watch("").expect(connectedFrame("event 2"))
		site.watch("", "Last-Event-ID", "event 1").expect(connectedFrame("event 1"), batchFrame("r", "event 2"), approvalsFrame)
		site.watch("", "Last-Event-ID", "event 0").expect(connectedFrame("event 0"), batchFrame("", "event 2"), approvalsFrame)
	})
}

func TestStreamHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		site := newSite(t, newStream(t, b, nil), nil)
		w := site.watch("")
		w.expect(connectedFrame("0"))
		start := time.Now()
		w.expect(": keepalive\n\n", ": keepalive\n\n")
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("two of them took %v, want 30s", d)
		}
		<-time.After(10 * time.Second)
		e := appendOne(t, c, event(0))
		w.expect(auditFrame(t, c, e))
		start = time.Now()
		w.expect(": keepalive\n\n")
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("after an event it came after %v, want 15s", d)
		}
	})
}

// The longest WriteTimeout there is, which some give for none, made a deadline in the
// past.
func TestStreamTakesTheLongestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newLog(t, nil)
		site := newSite(t, newStream(t, b, &rampart.StreamOptions{WriteTimeout: math.MaxInt64}), nil)
		site.watch("").expect(connectedFrame("0"))
	})
}

// A message after a silence is sent at once; then the stream rests while more
// gathers.
func TestStreamRestsAfterAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		site := newSite(t, newStream(t, b, &rampart.StreamOptions{FlushEvery: time.Second}), nil)
		w := site.watch("")
		w.expect(connectedFrame("0"))
		<-time.After(5 * time.Second)
		start := time.Now()
		for i := range 3 {
			w.expect(auditFrame(t, c, appendOne(t, c, event(i))))
			if d := time.Since(start).Round(10 * time.Millisecond); d != time.Duration(i)*time.Second {
				t.Errorf("event %d came after %v", i, d)
			}
		}
	})
}

type measured struct {
	http.ResponseWriter
	longest int
}

func (m *measured) Unwrap() http.ResponseWriter { return m.ResponseWriter }

func (m *measured) Write(b []byte) (int, error) {
	m.longest = max(m.longest, len(b))
	return m.ResponseWriter.Write(b)
}

// A client that is far behind gets what it missed without rests, in pieces that a
// slow connection can take within the write timeout.
func TestStreamCatchesUpInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, &rampart.BusOptions{Window: 1})
		saved := appendBulk(t, c, 3000, 500)
		s := newStream(t, b, &rampart.StreamOptions{FlushEvery: time.Hour})
		var m measured
		site := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.ResponseWriter = w
			s.ServeHTTP(&m, r)
		}), nil)
		start := time.Now()
		w := site.watch("", "Last-Event-ID", "0")
		w.expect(connectedFrame("0"))
		w.expect(auditFrames(t, c, saved)...)
		w.expect(approvalsFrame)
		if d := time.Since(start); d > time.Minute {
			t.Errorf("took %v", d)
		}
		s.Close()
		if m.longest > 64<<10 || m.longest < 32<<10 {
			t.Errorf("the longest piece has %d bytes, want no more than 64 KiB, and not much less", m.longest)
		}
	})
}

// A client that takes nothing holds nobody up. Within the write timeout it can
// go on reading and has lost nothing; after it, it is disconnected.
func TestStreamStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, &rampart.BusOptions{Window: 1})
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)
		slow, dead, healthy := site.watch(""), site.watch(""), site.watch("")
		for _, w := range []*watcher{slow, dead, healthy} {
			w.expect(connectedFrame("0"))
		}
		var want []string
		start := time.Now()
		for range 4 {
			want = append(want, auditFrames(t, c, appendBulk(t, c, 1000, 500))...)
			healthy.expect(want[len(want)-1000:]...)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the healthy client was held up for %v", d)
		}
		healthy.body.Close()
		<-time.After(20 * time.Second)
		slow.expect(want[:100]...)
		<-time.After(20 * time.Second)
		slow.expect(want[100:]...)
		slow.expect(approvalsFrame)

		synctest.Wait()
		closed := map[string]uint64{"client": 1, "write_timeout": 1, "write_error": 0, "shutdown": 0, "error": 0}
		if diff := cmp.Diff(closed, s.Stats().Closed); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
		live := auditFrame(t, c, appendOne(t, c, event(0)))
		slow.expect(live)
	})
}

// The write timeout is for a client that takes nothing. One that takes a
// little at a time, for far longer than that, is not cut off.
func TestStreamSlowButAliveClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		s := newStream(t, b, nil)
		w := newSite(t, s, nil).watch("")
		w.expect(connectedFrame("0"))
		want := strings.Join(auditFrames(t, c, appendBulk(t, c, 200, 0)), "")
		var got []byte
		for len(got) < len(want) {
			<-time.After(5 * time.Second)
			piece := make([]byte, min(1<<10, len(want)-len(got)))
			if _, err := io.ReadFull(w.r, piece); err != nil {
				t.Fatalf("after %d of %d bytes: %v, closed %v", len(got), len(want), err, s.Stats().Closed)
			}
			got = append(got, piece...)
		}
		if string(got) != want {
			t.Error("the client got something else")
		}
	})
}

// The server's timeouts count from the request; a stream outlives them.
func TestStreamOutlivesServerTimeouts(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := newLog(t, nil)
				s := newStream(t, b, &rampart.StreamOptions{Heartbeat: time.Hour})
				site := newSite(t, s, func(srv *http.Server, tr *http.Transport) {
					srv.ReadTimeout, srv.WriteTimeout = 5*time.Second, 5*time.Second
					if http2 {
						p := new(http.Protocols)
						p.SetUnencryptedHTTP2(true)
						srv.Protocols, tr.Protocols = p, p
					}
				})
				w := site.watch("")
				w.expect(connectedFrame("0"))
				for i := range 3 {
					<-time.After(40 * time.Second)
					w.expect(auditFrame(t, c, appendOne(t, c, event(i))))
				}
				<-time.After(40 * time.Second)
				s.Close()
				w.ends()
			})
		})
	}
}

func TestStreamClose(t *testing.T) {
	for name, end := range map[string]func(*rampart.EventBus, *rampart.Stream, *http.Server) error{
		"stream": func(_ *rampart.EventBus, s *rampart.Stream, _ *http.Server) error { return s.Close() },
		"bus":    func(b *rampart.EventBus, _ *rampart.Stream, _ *http.Server) error { return b.Close() },
		"server": func(_ *rampart.EventBus, s *rampart.Stream, srv *http.Server) error {
			srv.RegisterOnShutdown(func() { s.Close() })
			return srv.Shutdown(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := newLog(t, nil)
				s := newStream(t, b, nil)
				site := newSite(t, s, nil)
				idle, blocked := site.watch(""), site.watch("")
				idle.expect(connectedFrame("0"))
				blocked.expect(connectedFrame("0"))
				idle.expect(auditFrames(t, c, appendBulk(t, c, 100, 1000))...)
				<-time.After(time.Second)

				start := time.Now()
				var wg sync.WaitGroup
				wg.Go(idle.ends)
				if err := end(b, s, site.server); err != nil {
					t.Error(err)
				}
				s.Close() // waits for the blocked stream as well
				wg.Wait()
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("took %v", d)
				}
				if st := s.Stats(); st.Open != 0 || st.Closed["shutdown"] != 2 {
					t.Errorf("%d open, closed %v", st.Open, st.Closed)
				}
			})
		})
	}
}

func TestStreamFilters(t *testing.T) {
	const audit, large, batch, approvals, first, second = "a", "l", "b", "p", "1", "2"
	for _, tc := range []struct{ query, live, stored string }{
		{"", "albp", "al12p"},
		{"?type=audit", "al", "al12"},
		{"?type=audit_batch", "lb", "l"},
		{"?type=approvals&type=connected", "p", "p"},
		{"?type=audit&type=approvals", "alp", "al12p"},
		{"?agent=a%22b", "ap", "ap"},
		{"?agent=other", "lp", "lp"},
		{"?agent=a%22b&agent=second", "abp", "a2p"},
		{"?agent=a%22b&action=deny", "p", "p"},
		{"?action=deny&type=audit", "l", "l"},
		{"?run_id=r1", "abp", "a12p"},
		{"?run_id=r2&session=myapp%2Fmain", "lp", "lp"},
		{"?tool=none", "p", "p"},
	} {
		t.Run(tc.query, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := newLog(t, nil)
				site := newSite(t, newStream(t, b, nil), nil)
				w := site.watch(tc.query)
				w.expect(connectedFrame("0"))
				add := func(agent, action, run string, size int) rampart.AuditEvent {
					e := event(0)
					e.Agent, e.Decision.Action, e.RunID = agent, action, run
					e.Request = json.RawMessage(`{"x":"` + strings.Repeat("x", size) + `"}`)
					return e
				}
				one := appendOne(t, c, add(`a"b`, "allow", "r1", 1))
				big := appendOne(t, c, add("other", "deny", "r2", 60<<10))
				many, err := c.AppendBatch(t.Context(), "r1", add("first", "approved", "r1", 1), add("second", "approved", "r1", 1))
				if err != nil {
					t.Fatal(err)
				}
				frames := map[string]string{
					audit: auditFrame(t, c, one), large: batchFrame("r2", position(big)), batch: batchFrame("r1", position(many[1])),
					first: auditFrame(t, c, many[0]), second: auditFrame(t, c, many[1]), approvals: approvalsFrame,
				}
				for _, f := range strings.Split(tc.live, "") {
					w.expect(frames[f])
				}
				w.expect(": keepalive\n\n") // and nothing before it
				w.body.Close()
				w = site.watch(tc.query, "Last-Event-ID", "0")
				w.expect(connectedFrame("0"))
				for _, f := range strings.Split(tc.stored, "") {
					w.expect(frames[f])
				}
				w.expect(": keepalive\n\n")
			})
		})
	}
}

func TestStreamRefusesUnknownTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(t, newStream(t, newBus(t, nil), nil), nil)
		resp := site.do(http.MethodGet, "?type=audits")
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "audit_batch") {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
}

// The part of a query that could not be parsed was left out: the filter was another
// one, and a client that resumed by the query lost events.
func TestStreamRefusesAMalformedQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		own, whole := newSite(t, r.Stream, nil), newSite(t, w.h, nil)
		for _, query := range []string{"?action=%zz", "?last_event_id=0;", "?type=audit&agent=a;b", "?last_event_id=%"} {
			for site, token := range map[*site]string{own: "", whole: "&token=" + adminToken} {
				resp := site.do(http.MethodGet, query+token)
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "query string") {
					t.Errorf("%s: %s %s", query, resp.Status, body)
				}
			}
		}
	})
}

func TestStreamFiltersWithoutChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, nil)
		site := newSite(t, newStream(t, b, nil), nil)
		byTool, byRun := site.watch("?tool=exec"), site.watch("?run_id=r1")
		byTool.expect(connectedFrame("0"))
		byRun.expect(connectedFrame("0"))
		own := `{"decision":{"action":"allow"},"tool":"exec","run_id":"r2","more":1}`
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "1", Record: rampart.Record(own)})
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "2", Record: rampart.Record(`{"tool":1,"run_id":"r1"}`)})
		publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "3", RunID: "r1"})
		publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "4", RunID: "r2"})
		byTool.expect("data: {\"type\":\"audit\",\"event\":"+own+"}\nid: 1\n\n", batchFrame("r1", "3"), batchFrame("r2", "4"))
		byRun.expect("data: {\"type\":\"audit\",\"event\":{\"tool\":1,\"run_id\":\"r1\"}}\nid: 2\n\n", batchFrame("r1", "3"), ": keepalive\n\n")
	})
}

func TestStreamStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		s := newStream(t, b, nil)
		site := newSite(t, s, nil)
		live := site.watch("?type=audit")
		live.expect(connectedFrame("0"))
		saved := appendN(t, c, 3)
		live.expect(auditFrames(t, c, saved)...)
		w := site.watch("", "Last-Event-ID", "0")
		w.expect(connectedFrame("0"))
		w.expect(auditFrames(t, c, saved)...)
		w.expect(approvalsFrame)
		w.body.Close()
		synctest.Wait()
		want := rampart.StreamStats{
			Open: 1, Opened: 2,
			Closed:  map[string]uint64{"client": 1, "write_timeout": 0, "write_error": 0, "shutdown": 0, "error": 0},
			Sent:    map[rampart.EventType]uint64{"connected": 2, "audit": 6, "approvals": 1, "audit_batch": 0},
			Resumes: map[string]uint64{"ok": 1, "unknown": 0, "malformed": 0, "mismatch": 0},
		}
		if diff := cmp.Diff(want, s.Stats()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A log that can no longer be read ends the stream; the client's id still counts.
func TestStreamEndsWithItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, &rampart.BusOptions{Window: 1})
		var log bytes.Buffer
		s := newStream(t, b, &rampart.StreamOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		site := newSite(t, s, nil)
		w := site.watch("")
		w.expect(connectedFrame("0"))
		rec := rampart.Record(`{"x":"` + strings.Repeat("x", 1000) + `"}`)
		for i := range 3000 {
			publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: fmt.Sprint("e", i), Record: rec})
		}
		var err error
		for err == nil {
			_, err = w.frame()
		}
		if !errors.Is(err, io.EOF) || s.Stats().Closed["error"] != 1 || !strings.Contains(log.String(), "BusOptions.Window") {
			t.Errorf("ended with %v, closed %v, log %s", err, s.Stats().Closed, &log)
		}
	})
}

// r3labs/sse is what Go programs read streams with; here behind a proxy.
func TestStreamWithR3labsBehindAProxy(t *testing.T) {
	c, b := newLog(t, nil)
	s := newStream(t, b, nil)
	origin := httptest.NewServer(s)
	defer origin.Close()
	target, _ := url.Parse(origin.URL)
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer proxy.Close()
	defer s.Close()

	const n = 50
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := sse.NewClient(proxy.URL + "/v1/events/stream?last_event_id=0")
	client.ReconnectStrategy = &backoff.StopBackOff{}
	var got, want []string
	// What it returns once its context is done does not matter.
	client.SubscribeRawWithContext(ctx, func(m *sse.Event) {
		var e struct {
			Type  rampart.EventType
			Event rampart.AuditEvent
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Error(err)
		}
		switch e.Type {
		case rampart.TypeConnected:
			for _, e := range appendN(t, c, n) {
				want = append(want, position(e))
			}
		case rampart.TypeAudit:
			if got = append(got, string(m.ID)); len(got) == n {
				cancel()
			}
			if id := position(e.Event); id != string(m.ID) {
				t.Errorf("event %s comes with the id %s", id, m.ID)
			}
		}
	})
	if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
		t.Errorf("got %d (-want +got):\n%s", len(got), diff)
	}
}
