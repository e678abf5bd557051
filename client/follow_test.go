package client_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

func TestClientEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))

		empty := site.follow(t.Context(), "")
		empty.expect(connected("0"))
		first := appendOne(t, r.Chain, event(0))
		empty.expect(audits(t, r.Chain, first)...)

		live := site.follow(t.Context(), "")
		live.expect(connected(position(first)))
		second := appendOne(t, r.Chain, event(1))
		live.expect(audits(t, r.Chain, second)...)

		start := site.follow(t.Context(), "0")
		start.expect(append(append([]string{connected("0")}, audits(t, r.Chain, first, second)...), "approvals")...)
		byHand := site.follow(t.Context(), first.ID)
		byHand.expect(append(append([]string{connected(first.ID)}, audits(t, r.Chain, second)...), "approvals")...)

		p := request(t, r.Approvals, question(1))
		asked, err := r.Chain.Get(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []*follower{empty, live, start, byHand} {
			if f == empty {
				f.expect(audits(t, r.Chain, second)...)
			}
			f.expect("audit "+p.ID+"."+asked.Hash()[:16]+" "+string(asked), "approvals")
		}
	})
}

func TestClientEventsMalformedPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newRemote(t, http.NotFoundHandler())
		wantErr(t, "Events", site.follow(t.Context(), "yesterday").fails(), rampart.ErrInvalid)
		if n := site.opened.Load(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// In place of a message that stands for events, those events come.
func TestClientEventsOfBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))

		// resolve requests n approvals and resolves all of them in one write.
		resolve := func(n int) {
			for i := range n {
				request(t, r.Approvals, question(i))
				f.expect(append(audits(t, r.Chain, lastEvent(t, r.Chain)), "approvals")...)
			}
			before := r.Chain.Head().ID
			if _, err := r.Approvals.ResolveAll(t.Context(), rampart.BulkResolution{Resolution: yes, RunID: "run_1"}); err != nil {
				t.Fatal(err)
			}
			var bulk []rampart.AuditEvent
			for _, line := range all(t, r.Chain, rampart.Query{After: before, Ascending: true}) {
				bulk = append(bulk, parsed(t, line))
			}
			if len(bulk) != n {
				t.Fatalf("%d events of %d answers", len(bulk), n)
			}
			f.expect(append(audits(t, r.Chain, bulk...), "approvals")...)
		}
		resolve(3)
		for _, run := range []string{"", "run_2"} {
			e := oversize()
			e.RunID = run
			large := appendOne(t, r.Chain, e)
			after := appendOne(t, r.Chain, event(3))
			f.expect(audits(t, r.Chain, large, after)...)
		}
		resolve(250) // more than a page
	})
}

// cut ends the bodies of the next streams after so many bytes each, all cleanly or
// all not. Further streams are left whole.
type cut struct {
	http.Handler
	mu    sync.Mutex
	after []int
	clean bool
}

func (c *cut) plan(clean bool, after ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clean, c.after = clean, after
}

func (c *cut) next() (limit int, clean, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.after) == 0 {
		return 0, false, false
	}
	limit, c.after = c.after[0], c.after[1:]
	return limit, c.clean, true
}

func (c *cut) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/stream") {
		if limit, clean, ok := c.next(); ok {
			c.Handler.ServeHTTP(&cutWriter{w, limit}, r)
			if clean {
				return
			}
			panic(http.ErrAbortHandler)
		}
	}
	c.Handler.ServeHTTP(w, r)
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b[:min(len(b), w.left)])
	if w.left -= n; w.left == 0 && err == nil {
		err = http.NewResponseController(w.ResponseWriter).Flush()
		err = errors.Join(err, errors.New("cut"))
	}
	return n, err
}

// firstFrames returns the first n messages of a stream that resumes after a position.
func firstFrames(t *testing.T, stream http.Handler, after string, n int) (frames string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rampart/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	resp, err := newRemote(t, stream).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for r := bufio.NewReader(resp.Body); n > 0; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if frames += line; line == "\n" {
			n--
		}
	}
	return frames
}

// r3labs/sse yields a message that was cut off, keeps its id, and does not connect
// again after a clean end.
func TestClientLosesNothingWhereverItIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		before := appendOne(t, r.Chain, event(0))
		more := appendN(t, r.Chain, 1)
		large := appendOne(t, r.Chain, oversize())
		last := appendOne(t, r.Chain, event(4))
		want := audits(t, r.Chain, append(more, large, last)...)
		total := len(firstFrames(t, r.Stream, position(before), 5)) // connected, the three events, approvals

		h := &cut{Handler: r.Handler(testAuth())}
		site := newRemote(t, h)
		for limit := range total + 1 {
			clean := limit%2 == 0
			h.plan(clean, limit, total-limit)
			var got []string
			for e, err := range site.client(adminToken).Events(t.Context(), position(before)) {
				if err != nil {
					t.Fatalf("cut after %d bytes, clean %v: %v", limit, clean, err)
				}
				if e.Type == rampart.TypeAudit {
					got = append(got, say(e))
				}
				if len(got) >= len(want) {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("cut after %d bytes, clean %v (-want +got):\n%s", limit, clean, diff)
			}
		}
	})
}

// A new connection brings the events that were missed, and none twice.
func TestClientEventsAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := t.TempDir()
		var r *rampart.Rampart
		site := newRemote(t, http.NotFoundHandler())
		start := func() {
			r = openRampart(t, fs, rampart.Options{})
			site.serve(r.Handler(testAuth()))
		}
		start()
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		after := "0"
		for i := range 5 {
			seen := appendOne(t, r.Chain, event(i))
			f.expect(audits(t, r.Chain, seen)...)
			after = position(seen)
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			start()
			missed := appendOne(t, r.Chain, event(i))
			f.expect(connected(after))
			f.expect(audits(t, r.Chain, missed)...)
			f.expect("approvals")
		}
	})
}

// r3labs/sse gives up 15 minutes after it began.
func TestClientEventsAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		h := r.Handler(testAuth())
		site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
		began := time.Now()
		time.AfterFunc(24*time.Hour, func() { site.serve(h) })
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		if d := time.Since(began); d < 24*time.Hour || d > 24*time.Hour+31*time.Second {
			t.Errorf("it came back after %v", d)
		}
		if n := site.opened.Load(); n < 24*60*2 || n > 24*60*4 {
			t.Errorf("%d tries in a day", n)
		}
		// After that the pauses are short again.
		began = time.Now()
		r.Stream.Close()
		again := openRampart(t, t.TempDir(), rampart.Options{})
		site.serve(again.Handler(testAuth()))
		f.expect(connected("0"))
		if d := time.Since(began); d > time.Second {
			t.Errorf("after a day the next pause is %v", d)
		}
	})
}

func TestClientPausesBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := func() (at []time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			began := time.Now()
			site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				at = append(at, time.Since(began))
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			wantErr(t, "Events", site.follow(ctx, "").fails(), context.DeadlineExceeded)
			return at
		}
		one, two := tries(), tries()
		for i, most := 1, 250*time.Millisecond; i < len(one); i, most = i+1, min(2*most, 30*time.Second) {
			if d := one[i] - one[i-1]; d < most/2 || d > most {
				t.Errorf("pause %d is %v, want %v to %v", i, d, most/2, most)
			}
		}
		if slices.Equal(one, two) {
			t.Error("two clients try at the same moments")
		}
	})
}

func TestClientObeysRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		h := r.Handler(testAuth())
		var site *remote
		site = newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			site.serve(h)
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		began := time.Now()
		site.follow(t.Context(), "").expect(connected("0"))
		if d := time.Since(began); d < 20*time.Second || d > 21*time.Second {
			t.Errorf("it came back after %v, want 20 s", d)
		}
	})
}

// r3labs/sse goes on after its context is done, some 800 times a second.
func TestClientEventsEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		ctx, cancel := context.WithCancel(t.Context())
		f := site.follow(ctx, "")
		f.expect(connected("0"))
		cancel()
		wantErr(t, "while the stream stands", f.fails(), context.Canceled)

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f = site.follow(ctx, "")
		f.expect(connected("0"))
		r.Stream.Close() // from here on the server answers 503
		wantErr(t, "while the server is away", f.fails(), context.DeadlineExceeded)
		n := site.opened.Load()
		time.Sleep(time.Hour)
		if site.opened.Load() != n {
			t.Error("it goes on trying")
		}
		if n := site.bodies.Load(); n != 0 {
			t.Errorf("%d bodies were left open", n)
		}
	})
}

// r3labs/sse tries again whatever the status, and leaves the body open.
func TestClientGivesUpWhenItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		for token, want := range map[string]string{"": "missing token", "stale-token-1f": "wrong token", agentToken: "admin token"} {
			next, stop := iter.Pull2(site.client(token).Events(t.Context(), ""))
			_, err, _ := next()
			stop()
			if !errors.Is(err, rampart.ErrUnauthorized) || !strings.Contains(err.Error(), want) || token != "" && strings.Contains(err.Error(), token) {
				t.Errorf("token %q: %v, want %q", token, err, want)
			}
		}
		if n := site.opened.Load(); n != 3 {
			t.Errorf("%d requests of three clients", n)
		}

		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		site.serve(r.Handler(&rampart.Auth{AdminToken: "another-token"}))
		r.Stream.Close()
		wantErr(t, "a token that was withdrawn", f.fails(), rampart.ErrUnauthorized)
		if n := site.bodies.Load(); n != 0 {
			t.Errorf("%d bodies were left open", n)
		}
	})
}

// If the first connection is answered with something else than a stream, the URL
// is wrong. A later one may get a proxy's page while the server is away.
func TestClientEventsOfAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		html := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<p>data: {}\n\n")
		})
		for name, h := range map[string]http.Handler{"text/html": html, "404": http.NotFoundHandler()} {
			site := newRemote(t, h)
			if err := site.follow(t.Context(), "").fails(); !strings.Contains(err.Error(), name) || site.opened.Load() != 1 {
				t.Errorf("%s: %v after %d requests", name, err, site.opened.Load())
			}
			site.serve(r.Handler(testAuth()))
			f := site.follow(t.Context(), "0")
			f.expect(connected("0"), "approvals")
			site.serve(h)
			f.t = t
			time.AfterFunc(time.Hour, func() { site.serve(r.Handler(testAuth())) })
			site.transport.CloseIdleConnections()
			r.Stream.Close()
			r = openRampart(t, t.TempDir(), rampart.Options{})
			f.expect(connected("0"), "approvals")
			if n := site.bodies.Load(); n != 1 {
				t.Errorf("%s: %d bodies are open", name, n)
			}
		}
	})
}

// r3labs/sse yields an empty event for each comment, once it has seen an id.
func TestClientEventsWithoutComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		saved := make(chan rampart.AuditEvent, 1)
		time.AfterFunc(time.Hour, func() { saved <- appendOne(t, r.Chain, event(0)) })
		got, err, _ := f.next()
		if want := audits(t, r.Chain, <-saved)[0]; err != nil || say(got) != want {
			t.Errorf("after an hour of keepalives: %s, %v", say(got), err)
		}
		if n := site.opened.Load(); n != 1 {
			t.Errorf("%d connections in an hour", n)
		}
	})
}

// r3labs/sse waits for ever for a server that is gone without closing.
func TestClientLeavesASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		h := r.Handler(testAuth())
		first := appendOne(t, r.Chain, event(0))
		hang := func(w http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
		for name, silent := range map[string]http.HandlerFunc{
			"before it answers": hang,
			"after the header": func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				http.NewResponseController(w).Flush()
				hang(w, req)
			},
			"within a message": func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, auditFrame(t, r.Chain, first)[:100])
				http.NewResponseController(w).Flush()
				hang(w, req)
			},
		} {
			var site *remote
			site = newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				site.serve(h)
				silent(w, req)
			}))
			began := time.Now()
			f := site.follow(t.Context(), "0")
			f.expect(connected("0"))
			f.expect(audits(t, r.Chain, first)...)
			if d := time.Since(began); d < 45*time.Second || d > 46*time.Second {
				t.Errorf("%s: it was left after %v, want 45 s", name, d)
			}
		}
	})
}

// However long the consumer takes, that is no silence, and it loses no event.
func TestClientConsumerTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		for i := range 3 {
			e := appendOne(t, r.Chain, event(i))
			f.expect(audits(t, r.Chain, e)...)
			time.Sleep(20 * time.Second)
		}
		if n := site.opened.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		saved := appendN(t, r.Chain, 200)
		time.Sleep(time.Hour) // the server has ended the connection by now
		var got []string
		for want := audits(t, r.Chain, saved...); len(got) < len(want); {
			e, err, _ := f.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == rampart.TypeAudit {
				if got = append(got, say(e)); got[len(got)-1] != want[len(got)-1] {
					t.Fatalf("event %d is %s", len(got), say(e))
				}
			}
		}
	})
}

// r3labs/sse reconnects again and again at a message of more than 64 KiB.
func TestClientTakesLongMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openRampart(t, t.TempDir(), rampart.Options{}).Chain
		e := oversize()
		e.Request = []byte(`{"x":"` + strings.Repeat("x", 1000<<10) + `"}`)
		saved := appendOne(t, c, e)
		site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, connectedFrame("0")+auditFrame(t, c, saved))
			http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}))
		f := site.follow(t.Context(), "0")
		f.expect(connected("0"))
		f.expect(audits(t, c, saved)...)
		if n := site.opened.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Members and message types of a later version are ignored.
func TestClientEventsOfALaterVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openRampart(t, t.TempDir(), rampart.Options{}).Chain
		e := appendOne(t, c, event(0))
		audit := auditFrame(t, c, e)
		site := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			io.WriteString(w, "retry: 100\n\n: hello\n\n"+connectedFrame("0")+"data: {\"type\":\"weather\",\"event\":1}\nid: rain\n\n"+
				strings.Replace(audit, `{"type"`, `{"more":[],"type"`, 1)+audit+approvalsFrame)
			http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}))
		f := site.follow(t.Context(), "0")
		f.expect(connected("0"))
		f.expect(audits(t, c, e)...)
		f.expect("approvals") // and the second audit message was a repetition
	})
}

// A loop that ends early, in whatever way, leaves nothing behind.
func TestClientEventsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		appendN(t, r.Chain, 50)
		site := newRemote(t, r.Handler(testAuth()))
		for range site.client(adminToken).Events(t.Context(), "0") {
			break
		}
		func() {
			defer func() { recover() }()
			for range site.client(adminToken).Events(t.Context(), "0") {
				panic("in the loop")
			}
		}()
		synctest.Wait()
		if n := site.bodies.Load(); n != 0 {
			t.Errorf("%d bodies are open", n)
		}
		time.Sleep(time.Minute) // in which the server notices that its clients left
		if n := r.Bus.Stats().Subscribers; n != 0 {
			t.Errorf("%d subscribers are left", n)
		}
	})
}

// TestClientIsAWitness exchanges the log behind a client that has seen three of
// its events.
func TestClientIsAWitness(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, lines []string) []string
		verdict rampart.Verdict
	}{
		{"cut off", func(_ *testing.T, lines []string) []string { return lines[:2] }, rampart.VerdictTruncated},
		{"emptied", func(_ *testing.T, lines []string) []string { return nil }, rampart.VerdictTruncated},
		{"rewritten", func(_ *testing.T, lines []string) []string { return relink(edited(lines)) }, rampart.VerdictTruncated},
		{"rewritten and gone on with", func(t *testing.T, lines []string) []string { return relink(append(edited(lines), another(t)...)) }, rampart.VerdictTruncated},
		{"replaced by a younger one", func(t *testing.T, lines []string) []string { return relink(another(t)) }, rampart.VerdictTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := openRampart(t, t.TempDir(), rampart.Options{})
				site := newRemote(t, r.Handler(testAuth()))
				f := site.follow(t.Context(), "")
				f.expect(connected("0"))
				saved := appendN(t, r.Chain, 3)
				f.expect(audits(t, r.Chain, saved...)...)
				lines := all(t, r.Chain, rampart.Query{Ascending: true})

				other := openRampart(t, plant(t, c.change(t, lines), len(lines)+4), rampart.Options{})
				site.serve(other.Handler(testAuth()))
				r.Stream.Close()
				f.expect(connected(position(saved[2])))
				resume := "0"
				if head := other.Chain.Head(); head.ID != "" {
					resume = head.ID + "." + head.Hash[:16]
				}
				f.witness(c.verdict, position(saved[2]), resume)
				if n := other.Stream.Stats().WitnessMismatches; c.name != "replaced by a younger one" && n != 1 {
					t.Errorf("the server counted %d", n)
				}
				next := appendOne(t, other.Chain, event(9))
				f = site.follow(t.Context(), resume)
				f.expect(connected(resume))
				f.expect(audits(t, other.Chain, next)...)
			})
		})
	}
}

// A pruned log can be followed from its beginning and from any position after
// that, and from the last event dropped. From an earlier position the client gets
// a WitnessError, and can go on.
func TestClientOfAPrunedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := linesOf(t, 20)
		var saved []rampart.AuditEvent
		for _, line := range lines {
			saved = append(saved, parsed(t, line))
		}
		r, n := prunedLog(t, lines)
		site := newRemote(t, r.Handler(testAuth()))
		head := r.Chain.Head()
		statement, err := r.Chain.Get(t.Context(), head.ID)
		if err != nil {
			t.Fatal(err)
		}
		end := head.ID + "." + head.Hash[:16]
		rest := append(audits(t, r.Chain, saved[n:]...), "audit "+end+" "+string(statement), "approvals")
		for _, after := range []string{"0", position(saved[n-1]), saved[n-1].ID} {
			f := site.follow(t.Context(), after)
			f.expect(connected(after))
			f.expect(rest...)
		}
		for _, after := range []string{position(saved[0]), saved[0].ID} {
			f := site.follow(t.Context(), after)
			f.expect(connected(after))
			f.witness(rampart.VerdictPruned, after, end)
		}
		report, err := site.client(adminToken).Verify(t.Context(), rampart.Anchor{})
		if want := r.Chain.Stats().Pruned; err != nil || !report.OK() || report.Pruned != want || want.Records != uint64(n) {
			t.Errorf("%+v, %v, want %+v", report, err, want)
		}
	})
}

// A client that saw the log while it was empty, and comes back when the log's
// beginning is pruned, is told just that.
func TestClientOfALogPrunedSinceItWasEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		site := newRemote(t, r.Handler(testAuth()))
		f := site.follow(t.Context(), "")
		f.expect(connected("0"))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r, _ = prunedLog(t, linesOf(t, 20))
		site.serve(r.Handler(testAuth()))
		f.expect(connected("0"))
		f.witness(rampart.VerdictPruned, "0", "0")
	})
}

// Half of a position can be another position: "0" is the start of the log. A
// connected message that was cut off must not move the client there.
func TestClientThatIsCutWhereItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		head := position(appendOne(t, r.Chain, event(0)))
		frame := firstFrames(t, r.Stream, "", 1)
		h := &cut{Handler: r.Handler(testAuth())}
		site := newRemote(t, h)
		for limit := range len(frame) {
			h.plan(limit%2 == 0, limit)
			f := site.follow(t.Context(), "")
			f.expect(connected(head))
		}
	})
}

// A message that somebody changes on the way is noticed too.
func TestClientIsAWitnessOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openRampart(t, t.TempDir(), rampart.Options{})
		api := r.Handler(testAuth())
		seen := appendOne(t, r.Chain, event(0))
		lost := appendOne(t, r.Chain, event(1))
		next := appendOne(t, r.Chain, event(2))
		send := func(frames ...string) *follower {
			return newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !strings.HasSuffix(req.URL.Path, "/stream") {
					api.ServeHTTP(w, req)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, connectedFrame(position(seen))+strings.Join(frames, ""))
				http.NewResponseController(w).Flush()
				<-req.Context().Done()
			})).follow(t.Context(), position(seen))
		}
		frame := auditFrame(t, r.Chain, lost)
		for name, changed := range map[string]string{
			"edited":  strings.Replace(frame, "git status", "git push", 1),
			"spaced":  strings.Replace(frame, `"tool":`, `"tool": `, 1),
			"with a":  strings.Replace(frame, `"tool":`, `"Tool":"x","tool":`, 1),
			"no hash": strings.Replace(frame, `,"hash"`, `,"hush"`, 1),
		} {
			t.Log(name)
			f := send(changed)
			f.expect(connected(position(seen)))
			f.witness(rampart.VerdictTampered, position(seen), "")
		}
		// The client asks for an event that was left out,
		f := send(auditFrame(t, r.Chain, next))
		f.expect(connected(position(seen)))
		f.expect(audits(t, r.Chain, lost, next)...)
		// and checks it like any other.
		honest := api
		api = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			rec := httptest.NewRecorder()
			honest.ServeHTTP(rec, req)
			io.WriteString(w, strings.Replace(rec.Body.String(), "git status", "git push", 1))
		})
		f = send(auditFrame(t, r.Chain, next))
		f.expect(connected(position(seen)))
		f.witness(rampart.VerdictTampered, position(seen), position(next))
		api = honest
		// An event that the server's log does not have ends it.
		r2 := openRampart(t, t.TempDir(), rampart.Options{})
		for range 4 {
			appendOne(t, r2.Chain, event(7))
		}
		strange := appendOne(t, r2.Chain, event(8))
		f = send(auditFrame(t, r2.Chain, strange))
		f.expect(connected(position(seen)))
		f.expect(audits(t, r.Chain, lost, next)...)
		f.witness(rampart.VerdictMissing, position(next), position(strange))
	})
}

// prunedLog opens a log of these lines in several segments, and prunes all segments
// but the last. It returns how many events that dropped.
func prunedLog(t *testing.T, lines []string) (*rampart.Rampart, int) {
	t.Helper()
	r := openRampart(t, plant(t, lines, 6), rampart.Options{})
	n, err := r.Chain.Prune(t.Context(), time.Now().Add(time.Hour))
	if n == 0 || err != nil {
		t.Fatal(n, err)
	}
	return r, int(n)
}

func edited(lines []string) []string {
	out := slices.Clone(lines)
	for i := range out {
		out[i] = strings.Replace(out[i], "git status", "git push", 1)
	}
	return out
}

// another returns the lines of a younger log.
func another(t *testing.T) []string {
	time.Sleep(time.Second)
	return linesOf(t, 4)
}

var hashMember = regexp.MustCompile(`,"hash":"([0-9a-f]{64})"\}$`)

// relink gives the lines new hashes and links, as a forger would.
func relink(lines []string) []string {
	prev := strings.Repeat("0", 64)
	out := make([]string, len(lines))
	for i, line := range lines {
		at := strings.LastIndex(line, `"prev_hash":"`) + len(`"prev_hash":"`)
		line = hashMember.ReplaceAllString(line[:at]+prev+line[at+64:], "}")
		out[i] = fmt.Sprintf(`%s,"hash":"%x"}`, strings.TrimSuffix(line, "}"), sha256.Sum256([]byte(line)))
		prev = out[i][len(out[i])-66 : len(out[i])-2]
	}
	return out
}

// linesOf returns the stored lines of a new log with n events.
func linesOf(t *testing.T, n int) []string {
	t.Helper()
	r := openRampart(t, t.TempDir(), rampart.Options{})
	appendN(t, r.Chain, n)
	return all(t, r.Chain, rampart.Query{Ascending: true})
}

// plant writes lines as a log whose segments have that many lines each, and
// returns its directory.
func plant(t *testing.T, lines []string, each int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for first := 0; first == 0 || first < len(lines); first += each {
		segment := strings.Join(append(slices.Clone(lines[first:min(first+each, len(lines))]), ""), "\n")
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d.jsonl", first+1)), []byte(segment), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func ExampleClient_Events() {
	c, err := client.New("http://127.0.0.1:9090", &client.Options{
		Token: os.Getenv("RAMPART_TOKEN"), Logger: slog.Default(), // told while there is no server
	})
	if err != nil {
		fmt.Println("give the URL of a server:", err)
		return
	}
	for e, err := range c.Events(context.Background(), "") {
		if err != nil {
			fmt.Println("it will not go on:", err)
			return
		}
		if e.Type == rampart.TypeAudit {
			fmt.Println(e.ID, string(e.Record))
		}
	}
}

func TestClientOverHTTP2(t *testing.T) {
	r := openRampart(t, t.TempDir(), rampart.Options{})
	srv := httptest.NewUnstartedServer(r.Handler(testAuth()))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	defer r.Stream.Close()
	c, err := client.New(srv.URL, &client.Options{Token: adminToken, HTTP: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	for name, base := range map[string]string{"a stranger's certificate": srv.URL, "HTTP where HTTPS is spoken": strings.Replace(srv.URL, "https", "http", 1)} {
		stranger, err := client.New(base, &client.Options{Token: adminToken, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range stranger.Events(t.Context(), "") {
			if err == nil {
				t.Errorf("%s: an event came", name)
			}
		}
	}
	next, stop := iter.Pull2(c.Events(t.Context(), ""))
	defer stop()
	f := &follower{t, next}
	f.expect(connected("0"))
	id, err := c.Record(t.Context(), event(0))
	if err != nil {
		t.Fatal(err)
	}
	if last := lastEvent(t, r.Chain); last.ID != id {
		t.Errorf("recorded %s, the log ends with %s", id, last.ID)
	}
	f.expect(audits(t, r.Chain, lastEvent(t, r.Chain))...)
}
