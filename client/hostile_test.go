package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/record"
)

// impostor answers in place of a server: the first request for the stream with the
// body stream, later ones with 401, which ends a client, and all other requests
// with the body answer.
type impostor struct {
	stream, answer string
	opened         int
}

func (i *impostor) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{Status: "200 OK", StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: r}
	body := i.answer
	if strings.HasSuffix(r.URL.Path, "/stream") {
		if i.opened++; i.opened > 1 {
			resp.Status, resp.StatusCode = "401 Unauthorized", 401
		}
		resp.Header.Set("Content-Type", "text/event-stream")
		body = i.stream
	}
	resp.Body = io.NopCloser(strings.NewReader(body))
	return resp, nil
}

func impostorClient(t testing.TB, via http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New("http://rampart", &client.Options{Token: adminToken, HTTP: &http.Client{Transport: via}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever the stream and the answers contain, Events ends with an error, and the
// events that it yielded before are a chain that follows on its position.
func FuzzClientEvents(f *testing.F) {
	r := openRampart(f, f.TempDir(), rampart.Options{})
	saved := appendN(f, r.Chain, 3)
	var frames []string
	for _, e := range saved {
		frames = append(frames, auditFrame(f, r.Chain, e))
	}
	lines := all(f, r.Chain, rampart.Query{Ascending: true})
	page := `{"events":[` + strings.Join(lines, ",") + `],"next_cursor":""}`
	start := connectedFrame("0")
	for _, s := range []struct{ stream, answer, after string }{
		{start + strings.Join(frames, ""), page, "0"},
		{start + frames[2], page, ""},
		{start + batchFrame("", position(saved[2])), page, "0"},
		{connectedFrame(position(saved[0])) + frames[2], strings.Replace(page, lines[0]+",", "", 1), position(saved[0])},
		{start + frames[0] + frames[0] + approvalsFrame, lines[0], "0"},
		{start + frames[1], page, ""},
		{start + batchFrame("r", position(saved[2])), `{"events":[],"next_cursor":"` + saved[0].ID + `"}`, "0"},
		{start + batchFrame("r", position(saved[2])), `{"events":[` + lines[0] + `],"next_cursor":"` + saved[0].ID + `"}`, "0"},
		{start + batchFrame("r", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), `{"ok":false}`, "0"},
		{batchFrame("", "0"), `{"ok":true}`, position(saved[1])},
		{"data: {\"type\":\"audit\",\"event\":null}\n\n:\n\nevent: x\nretry: 1\ndata\n\n", `null`, saved[0].ID},
		{"\ufeff" + strings.ReplaceAll(start+frames[0], "\n", "\r\n"), `[]`, ""},
		{strings.Repeat("data: ", 3000), `{"events":`, ""},
	} {
		f.Add(s.stream, s.answer, s.after)
	}
	f.Fuzz(func(t *testing.T, stream, answer, after string) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			var got []rampart.Event
			var err error
			// For each message the client may send three requests.
			asked := 3 * (strings.Count(stream, "data") + 1)
			heaptest.Bound(t, len(stream)+asked*(len(answer)+100), func() {
				got, err = nil, nil
				c := impostorClient(t, &impostor{stream: stream, answer: answer})
				for e, fault := range c.Events(ctx, after) {
					if err = fault; err == nil {
						got = append(got, e)
					}
				}
			})
			if err == nil || ctx.Err() != nil {
				t.Fatalf("%v, %v", err, ctx.Err())
			}
			id, hash, _ := strings.Cut(after, ".")
			if after == "0" {
				id = ""
			}
			for _, e := range got {
				if e.Type != rampart.TypeAudit {
					continue
				}
				var fields record.Fields
				var sum [64]byte
				if err := record.Scan(e.Record, &fields); err != nil || !record.Sum(e.Record, &sum) || string(sum[:]) != string(fields.Hash) {
					t.Fatalf("gave out %q: %v", e.Record, err)
				}
				if string(fields.ID) <= id || !strings.HasPrefix(string(fields.PrevHash), hash) {
					t.Fatalf("%s does not follow on %s.%s", e.Record, id, hash)
				}
				id, hash = string(fields.ID), string(fields.Hash)
				if want := id + "." + hash[:16]; e.ID != want {
					t.Fatalf("position %s, want %s", e.ID, want)
				}
			}
		})
	})
}

// endless answers every request with 200 and a body that repeats the same for ever
// after its beginning. It counts the bytes that are read.
type endless struct {
	kind, begin, again string
	taken              atomic.Int64
}

type endlessBody struct {
	*endless
	next string
}

func (b *endlessBody) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if b.next == "" {
			b.next = b.again
		}
		k := copy(p[n:], b.next)
		b.next, n = b.next[k:], n+k
	}
	b.taken.Add(int64(n))
	return n, nil
}

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	body := io.NopCloser(&endlessBody{e, e.begin})
	return &http.Response{Status: "200 OK", StatusCode: 200, Header: http.Header{"Content-Type": {e.kind}}, Body: body, Request: r}, nil
}

// A client read an endless answer into memory.
func TestClientLeavesAnEndlessAnswer(t *testing.T) {
	pad := strings.Repeat("x", 1<<16)
	for name, e := range map[string]*endless{
		"in the answer": {kind: "application/json", begin: `{"id":"`, again: pad},
		"behind it":     {kind: "application/json", begin: `{"id":"x"}`, again: strings.Repeat(" ", 1<<16)},
		"a stream":      {kind: "application/json", begin: `{"ids":[`, again: strings.Repeat(`"x",`, 1<<14)},
	} {
		c := impostorClient(t, e)
		_, err := c.RequestApproval(t.Context(), rampart.ApprovalRequest{Agent: "a", Tool: "t"})
		if err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("%s: %v", name, err)
		}
		if n := e.taken.Load(); n > 9<<20 {
			t.Errorf("%s: it took %d bytes", name, n)
		}
	}
}

// A client asked for ever for the page after one without events.
func TestClientLeavesPagesWithoutEnd(t *testing.T) {
	c := impostorClient(t, &impostor{answer: `{"events":[],"next_cursor":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`})
	for _, err := range c.Query(t.Context(), rampart.Query{}) {
		if err == nil || !strings.Contains(err.Error(), "without events") {
			t.Error(err)
		}
	}
}

// An endless message takes no more memory than the longest that is allowed.
func TestClientLeavesAnEndlessMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, again := range []string{"data: " + strings.Repeat("x", 1000) + "\n", "x", "data\r", "data: x\n", "id: 1\n"} {
			e := &endless{kind: "text/event-stream", begin: connectedFrame("0"), again: again}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			for event, err := range impostorClient(t, e).Events(ctx, "") {
				if err != nil && !errors.Is(err, context.DeadlineExceeded) || err == nil && event.Type != rampart.TypeConnected {
					t.Errorf("%q: %+v %v", again, event, err)
				}
			}
			cancel()
			if n := e.taken.Load(); n > 8*(3<<20) { // in the few tries of a second
				t.Errorf("%q: it took %d bytes", again, n)
			}
		}
	})
}
