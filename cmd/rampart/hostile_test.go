package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// raw is a connection over which a test says what no client would.
type raw struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (d *daemon) dial() *raw {
	d.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.base, "http://"))
	if err != nil {
		d.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	d.t.Cleanup(func() { conn.Close() })
	return &raw{conn, d.t, bufio.NewReader(conn)}
}

// say sends text; the peer may have closed the connection meanwhile.
func (c *raw) say(text string) { io.WriteString(c, text) }

// answer reads one answer, without a body if that to a HEAD.
func (c *raw) answer(method string) reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s: %v", resp.Status, err)
	}
	return reply{t: c.t, status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// ends wants the peer to close the connection.
func (c *raw) ends() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("the connection does not end, after %.100q: %v", rest, err)
	}
}

// greeted waits for the last of what a start prints, and returns how much that is.
func (d *daemon) greeted() int {
	d.t.Helper()
	d.out.waitFor(d.t, `curl -N .*\n\n`)
	return len(d.out.String())
}

// honest wants the daemon to take an event and to show it.
func (d *daemon) honest(command string) {
	d.t.Helper()
	id := d.append(claudeToken, event("claude-code", command))[0]
	d.admin("GET", "/v1/audit/events/"+id, "").want(http.StatusOK)
	d.do("", "GET", "/healthz", "").want(http.StatusOK)
}

// TestRefusalsSayWhy wants malformed and too large requests to be refused with the
// reason, and nothing of them to be stored or logged.
func TestRefusalsSayWhy(t *testing.T) {
	d := start(t)
	d.honest("before")
	printed := d.greeted()
	const get, post = "GET /v1/status HTTP/1.1\r\n", "POST /v1/audit/events HTTP/1.1\r\n"
	host := "Host: " + strings.TrimPrefix(d.base, "http://") + "\r\n"
	auth := host + "Authorization: Bearer " + d.token + "\r\n"
	agent := host + "Authorization: Bearer " + claudeToken + "\r\nContent-Type: application/json\r\n"
	one := event("a", "hostile")
	for _, c := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"a huge header", get + auth + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "Header Fields Too Large"},
		{"a huge cookie", get + auth + "Cookie: a=" + strings.Repeat("x", 1<<20), 431, "Header Fields Too Large"},
		{"a thousand headers", get + auth + strings.Repeat("X: y\r\n", 20_000) + "\r\n", 431, "Header Fields Too Large"},
		{"a huge URL", "GET /" + strings.Repeat("x", 1<<20), 431, "Header Fields Too Large"},
		{"a huge method", strings.Repeat("X", 1<<20), 431, "Header Fields Too Large"},
		{"no Host", get + "\r\n", 400, "Host"},
		{"two Hosts", get + host + host + "\r\n", 400, "Bad Request"},
		{"a header without a name", get + auth + ": x\r\n\r\n", 400, "Bad Request"},
		{"a header with a NUL", get + auth + "X: \x00\r\n\r\n", 400, "Bad Request"},
		{"space before the colon", get + auth + "Content-Length : 5\r\n\r\n", 400, "Bad Request"},
		{"a folded header", get + auth + "X: a\r\n b\r\n\r\n", 200, ""},
		{"another protocol", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, ""},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403, "Host"},
		{"HTTP/9", "GET /healthz HTTP/9.9\r\n" + host + "\r\n", 505, ""},
		{"HTTP/1.0", "GET /healthz HTTP/1.0\r\n" + host + "\r\n", 200, ""},
		{"HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n", 403, "Host"},
		{"an absolute URL", "GET " + d.base + "/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200, ""},
		{"an absolute URL of another host", "GET http://evil.example/healthz HTTP/1.1\r\n" + host + "\r\n", 403, "Host"},
		{"a proxy's request", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 403, "Host"},
		{"a rebound name", get + "Host: evil.example\r\nAuthorization: Bearer " + d.token + "\r\n\r\n", 403, "Host"},
		{"a foreign page", post + agent + "Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{}", 403, "origin"},
		{"a method in a header", get + auth + "X-HTTP-Method-Override: DELETE\r\n\r\n", 200, ""},
		{"an upgrade", get + auth + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200, ""},
		{"an unknown method", "BREW /v1/status HTTP/1.1\r\n" + auth + "\r\n", 405, "GET, HEAD"},
		{"no method", " /v1/status HTTP/1.1\r\n" + auth + "\r\n", 400, ""},
		{"an unknown expectation", post + agent + "Expect: tea\r\nContent-Length: 2\r\n\r\n{}", 417, ""},

		{"two lengths", post + agent + "Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}", 400, "Bad Request"},
		{"no length", post + agent + "Content-Length: -1\r\n\r\n{}", 400, "Bad Request"},
		{"no number for a length", post + agent + "Content-Length: 0x2\r\n\r\n{}", 400, "Bad Request"},
		{"a length that overflows", post + agent + "Content-Length: 99999999999999999999\r\n\r\n{}", 400, "Bad Request"},
		{"a huge length", post + agent + "Content-Length: 9000000000000000000\r\n\r\n{}", 413, "1048576"},
		{"a huge length of nobody", post + host + "Content-Length: 9000000000000000000\r\n\r\n{}", 401, "missing"},
		{"an unknown coding", post + agent + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"two codings", post + agent + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"a chunk that overflows", post + agent + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400, "whole"},
		{"a chunk of no size", post + agent + "Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n", 400, "whole"},
		{"a chunk longer than it says", post + agent + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", 400, "whole"},
		{"chunks of more than fits", post + agent + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 300) + "0\r\n\r\n", 413, "1048576"},
		{"a body longer than it says", post + agent + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(one)-1, one), 400, "byte"},

		{"no type", post + strings.Replace(agent, "Content-Type: application/json\r\n", "", 1) + "Content-Length: 2\r\n\r\n{}", 415, "Content-Type"},
		{"a form", post + strings.Replace(agent, "/json", "/x-www-form-urlencoded", 1) + "Content-Length: 2\r\n\r\n{}", 415, "Content-Type"},
		{"a broken type", post + strings.Replace(agent, "/json", "/json; =", 1) + "Content-Length: 2\r\n\r\n{}", 415, "Content-Type"},
		{"a gzip bomb", post + agent + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb()), bomb()), 415, "Content-Encoding"},

		{"a parent", "GET /v1/../v1/status HTTP/1.1\r\n" + auth + "\r\n", 307, ""},
		{"an escaped parent", "GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + auth + "\r\n", 404, "not found"},
		{"an escaped slash", "GET /v1%2fstatus HTTP/1.1\r\n" + auth + "\r\n", 404, "not found"},
		{"two slashes", "GET //evil.example/v1/status HTTP/1.1\r\n" + auth + "\r\n", 404, "not found"},
		{"a backslash", "GET /v1\\status HTTP/1.1\r\n" + auth + "\r\n", 404, "not found"},
		{"a NUL in the path", "GET /v1/audit/events/%00 HTTP/1.1\r\n" + auth + "\r\n", 404, ""},
		{"no UTF-8 in the path", "GET /v1/approvals/%ff%fe HTTP/1.1\r\n" + auth + "\r\n", 404, ""},
		{"a bare NUL in the path", "GET /v1/\x00 HTTP/1.1\r\n" + auth + "\r\n", 400, ""},
		{"a broken escape in the path", "GET /v1/%zz HTTP/1.1\r\n" + auth + "\r\n", 400, ""},
		{"a broken escape in the query", "GET /v1/audit/events?agent=%zz HTTP/1.1\r\n" + auth + "\r\n", 400, "query"},
		{"no UTF-8 in the query", "GET /v1/audit/events?agent=%ff HTTP/1.1\r\n" + auth + "\r\n", 200, `"events":[]`},
		{"no UTF-8 for a number", "GET /v1/audit/events?limit=%ff%00 HTTP/1.1\r\n" + auth + "\r\n", 400, "limit"},
		{"too many parameters", "GET /v1/audit/events?" + strings.Repeat("a&", 11_000) + " HTTP/1.1\r\n" + auth + "\r\n", 400, "query"},
	} {
		conn := d.dial()
		go conn.say(c.request)
		resp, err := http.ReadResponse(conn.r, nil)
		if err != nil {
			t.Errorf("%s: no answer: %v", c.name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		got := reply{t: t, status: resp.StatusCode, header: resp.Header, body: string(body)}
		if got.status != c.status || !strings.Contains(got.body+fmt.Sprint(got.header), c.says) || got.status >= 400 && got.body == "" && got.status != http.StatusExpectationFailed {
			t.Errorf("%s: %d %.200q %v, want %d that says %q", c.name, got.status, got.body, got.header, c.status, c.says)
		}
		if strings.Contains(got.body, d.token) || strings.Contains(got.body, claudeToken) {
			t.Errorf("%s: the answer shows a token: %s", c.name, got.body)
		}
		conn.Close()
	}
	if text := d.out.String(); len(text) != printed {
		t.Errorf("it logged:\n%s", text[printed:])
	}
	if n := len(d.lines()); n != 1 {
		t.Errorf("%d events were stored", n-1)
	}
	d.honest("after")
}

// bomb is 64 MiB of space before an event, compressed by gzip.
var bomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	space := bytes.Repeat([]byte(" "), 1<<20)
	for range 64 {
		z.Write(space)
	}
	z.Close()
	return b.String()
})

// TestOtherMethodsOnEachRoute: HEAD is answered as GET is, without a body. A method
// that a route does not take is answered with 405 and the methods that it takes.
func TestOtherMethodsOnEachRoute(t *testing.T) {
	d := start(t)
	takes := map[string]string{"/healthz": "GET"}
	for _, route := range append(adminRoutes, agentRoutes...) {
		takes[route.path] += " " + route.method
	}
	for path, methods := range takes {
		if path == "/v1/audit/events" || path == "/v1/approvals" {
			methods = "GET POST"
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"} {
			got := d.admin(method, path, "")
			if method == "HEAD" && (strings.Contains(methods, "GET") || path == "/v1/approvals/bulk-resolve") { // bulk-resolve could be an id
				if got.status == http.StatusMethodNotAllowed || got.body != "" {
					t.Errorf("HEAD %s: %d %q", path, got.status, got.body)
				}
				continue
			}
			got.want(http.StatusMethodNotAllowed)
			for _, m := range strings.Fields(methods) {
				if !strings.Contains(got.header.Get("Allow"), m) {
					t.Errorf("%s %s: Allow %q, want %s", method, path, got.header.Get("Allow"), m)
				}
			}
		}
	}
}

// TestHostileBodies: all of a body is stored or nothing, and its sender does not
// choose how much memory it takes.
func TestHostileBodies(t *testing.T) {
	if raceEnabled {
		t.Skip("the test looks at memory, and the race detector takes ten times as much")
	}
	d := start(t)
	const ndjson = "application/x-ndjson"
	for name, c := range map[string]struct {
		kind, body string
		status     int
		says       string
	}{
		"a million empty lines":   {ndjson, strings.Repeat("\n", 1<<20), 400, "no event"},
		"empty lines without end": {ndjson, strings.Repeat("\n", 33<<20), 413, "33554432"},
		"a million bad lines":     {ndjson, strings.Repeat("x\n", 1<<20), 400, "line 1"},
		"a line of 30 MB":         {ndjson, strings.Repeat("x", 30<<20), 413, "line 1"},
		"a bad line at the end":   {ndjson, strings.Repeat(event("a", "x")+"\n", 10_000) + "{", 400, "line 10001"},
		"brackets":                {"application/json", strings.Repeat("[", 1<<20), 400, "object"},
		"nested deeply":           {"application/json", `{"agent":"a","tool":"t","request":` + strings.Repeat(`{"a":`, 100_000), 400, "nested deeper"},
		"100,000 members":         {"application/json", `{"agent":"a","tool":"t","request":{` + strings.Repeat(`"a":1,`, 100_000), 400, "duplicate"},
		"no JSON":                 {"application/json", strings.Repeat("\x00", 1<<20), 400, "byte 0"},
	} {
		got := d.do(claudeToken, "POST", eventsPath, c.body, "Content-Type", c.kind)
		if got.status != c.status || !strings.Contains(got.fault(), c.says) || len(got.body) > 1000 {
			t.Errorf("%s: %d %.1000s, want %d that says %q", name, got.status, got.body, c.status, c.says)
		}
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
	d.honest("after")
	// A body is held at most twice while it grows, and 32 MiB is the longest.
	d.wantPeak(300)
}

// TestOneAgentDoesNotTakeAllMemory: whoever sends many large bodies at once was
// given the memory for all of them.
func TestOneAgentDoesNotTakeAllMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the test looks at memory, and the race detector takes ten times as much")
	}
	d := start(t)
	body := bytes.Repeat([]byte("\n"), 31<<20) // of 32 MiB, so that it stays in memory
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", eventsPath, claudeToken, 32<<20)
	refused := make(chan reply, 10)
	var conns []*raw
	for range cap(refused) {
		c := d.dial()
		conns = append(conns, c)
		go func() {
			c.say(head)
			c.Write(body)
		}()
		go func() {
			got := reply{t: t} // stays empty when the connection ends
			if resp, err := http.ReadResponse(c.r, nil); err == nil {
				body, _ := io.ReadAll(resp.Body)
				got.status, got.header, got.body = resp.StatusCode, resp.Header, string(body)
			}
			refused <- got
		}()
	}
	for range cap(refused) - 2 {
		got := (<-refused).want(http.StatusServiceUnavailable)
		if !strings.Contains(got.fault(), "claude-code") || got.header.Get("Retry-After") == "" {
			t.Errorf("%v %s", got.header, got.body)
		}
	}
	d.append(codexToken, event("codex-cli", "another's"))
	for _, c := range conns {
		c.Close()
	}
	d.until("claude-code may again", func() bool {
		return d.do(claudeToken, "POST", eventsPath, event("claude-code", "after")).status == http.StatusCreated
	})
	// 64 MiB, in slices that grow by a quarter and are garbage afterwards; the
	// collector lets the heap double.
	d.wantPeak(400)
}

// TestPipelining: requests sent in one piece are answered in order, each once.
func TestPipelining(t *testing.T) {
	d := start(t)
	auth := "Host: localhost\r\nAuthorization: Bearer " + d.token + "\r\n"
	post := func(command string) string {
		body := event("a", command)
		return fmt.Sprintf("POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", eventsPath, auth, len(body), body)
	}
	get := "GET " + eventsPath + " HTTP/1.1\r\n" + auth + "\r\n"
	conn := d.dial()
	conn.say(post("one") + get + post("two") + "HEAD /healthz HTTP/1.1\r\n" + auth + "\r\n" + post("three") + get +
		"GET " + streamPath + "?last_event_id=0 HTTP/1.1\r\n" + auth + "\r\n" + post("behind a stream"))
	conn.answer("POST").want(http.StatusCreated)
	shown := func(want ...string) {
		t.Helper()
		var p page
		conn.answer("GET").want(http.StatusOK).into(&p)
		if got := commands(t, p.Events); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %v, want %v", got, want)
		}
	}
	shown("one")
	conn.answer("POST").want(http.StatusCreated)
	conn.answer("HEAD").want(http.StatusOK)
	conn.answer("POST").want(http.StatusCreated)
	shown("three", "two", "one")
	resp, err := http.ReadResponse(conn.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, resp: resp, frames: make(chan frame)}
	quit := make(chan struct{})
	go w.read(quit)
	defer close(quit)
	w.types("connected", "audit", "audit", "audit", "approvals")
	if got := commands(t, d.lines()); fmt.Sprint(got) != "[one two three]" {
		t.Errorf("on the log: %v", got)
	}
	conn.Close()
	d.until("the stream ends", func() bool { return d.metric("rampart_stream_subscribers") == 0 })
	if n := len(d.lines()); n != 3 {
		t.Errorf("%d events: what stands behind a stream is no request", n)
	}
}

// TestRefusedBodiesAreNotTakenIn: a client that sends a million bytes that nobody
// wants is told so, and its connection is closed.
func TestRefusedBodiesAreNotTakenIn(t *testing.T) {
	d := start(t)
	for name, c := range map[string]struct {
		header string
		status int
	}{
		"without a token": {"", 401},
		"too long":        {"Authorization: Bearer " + claudeToken + "\r\nContent-Type: application/json\r\n", 413},
		"of no type":      {"Authorization: Bearer " + claudeToken + "\r\n", 415},
		"of a ticket":     {"Authorization: Bearer " + d.ticket() + "\r\nContent-Type: application/json\r\n", 403},
		"to nowhere":      {"X: y\r\n", 404},
	} {
		path := eventsPath
		if c.status == 404 {
			path = "/nowhere"
		}
		conn := d.dial()
		go func() {
			conn.say("POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + c.header + "Content-Length: 1000000000000\r\n\r\n")
			piece := strings.Repeat("x", 1<<16)
			for range 1 << 10 { // 64 MiB, of which no more is taken than is under way
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
			}
			t.Errorf("%s: 64 MiB were taken", name)
		}()
		if got := conn.answer("POST"); got.status != c.status || got.fault() == "" {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, c.status)
		}
		conn.ends()
	}
	d.honest("after")
}

func (d *daemon) ticket() string {
	d.t.Helper()
	return d.admin("POST", "/v1/events/ticket", "").want(http.StatusOK).object()["token"].(string)
}

// TestHangingPeersHurtNobody: hundreds of peers that send half a request keep no
// honest client waiting, and leave nothing behind.
func TestHangingPeersHurtNobody(t *testing.T) {
	d := start(t)
	before := d.resources()
	half := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s",
		eventsPath, claudeToken, event("a", "half")[:50])
	says := []string{
		"", "G", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", half, strings.Replace(half, claudeToken, "wrong", 1),
		strings.Replace(half, "Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n400\r\n", 1),
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
	}
	var conns []*raw
	for i := range 100 * len(says) {
		c := d.dial()
		c.say(says[i%len(says)])
		conns = append(conns, c)
		if i%50 == 0 {
			d.honest(fmt.Sprint(i))
		}
	}
	for _, c := range conns {
		c.Close()
	}
	d.wantResources(before)
	if got := len(d.lines()); got != 14 {
		t.Errorf("%d events, want those of the 14 honest requests", got)
	}
	// A connection takes a few buffers of 4 KiB and two goroutines.
	d.wantPeak(120)
}

// TestFiveThousandConnections opens connections and drops them, by FIN and by RST,
// in the middle of requests and of streams.
func TestFiveThousandConnections(t *testing.T) {
	d := start(t)
	d.honest("before")
	before := d.resources()
	auth := "Host: localhost\r\nAuthorization: Bearer " + d.token + "\r\n"
	says := []string{"", "GET /v1/sta", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET " + streamPath + "?last_event_id=0 HTTP/1.1\r\n" + auth + "\r\n",
		"POST " + eventsPath + " HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"}
	const waves, perWave = 20, 250 // as many at once as a shell's limit of 1,024 files allows, with room
	for wave := range waves {
		var wg sync.WaitGroup
		for i := range perWave {
			c := d.dial()
			text := says[i%len(says)]
			c.say(text)
			wg.Go(func() {
				if strings.Contains(text, streamPath) && wave%2 == 0 {
					c.r.ReadString('}') // the stream is open
				}
				if i%2 == 0 {
					c.Conn.(*net.TCPConn).SetLinger(0) // a reset
				}
				c.Close()
			})
		}
		wg.Wait()
	}
	d.honest("after")
	d.wantResources(before)
	if n := len(d.lines()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	d.wantPeak(150)
}

// TestUnreadAnswersAreNotKept: two hundred streams and exports that nobody
// reads hold no more than what is under way, while others get everything.
func TestUnreadAnswersAreNotKept(t *testing.T) {
	if raceEnabled {
		t.Skip("the test looks at memory, and the race detector takes ten times as much")
	}
	d := start(t, "-sync", "interval")
	auth := "Host: localhost\r\nAuthorization: Bearer " + d.token + "\r\n"
	batch := make([]string, 20)
	for i := range batch {
		batch[i] = event("a", strings.Repeat("x", 50_000))
	}
	d.append(d.token, batch...)
	for i := range 250 {
		path := streamPath + "?last_event_id=0"
		if i%5 == 0 {
			path = "/v1/audit/export?from=2000-01-01"
		}
		c := d.dial()
		c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10) // so that the daemon's memory has to hold the rest
		c.say("GET " + path + " HTTP/1.1\r\n" + auth + "\r\n")
		defer c.Close()
	}
	honest := d.watch("")
	for range 20 { // 20 MB, more than the bus keeps
		d.append(d.token, batch...)
		for range batch {
			honest.audit()
		}
	}
	// The bus keeps 16 MiB, and each stream that is behind keeps a piece of 64 KiB
	// that it has read; the collector lets the heap double.
	d.wantPeak(220)
}

// TestFloodOfWrongTokens: a flood of wrong tokens fills no log, and locks nobody
// out.
func TestFloodOfWrongTokens(t *testing.T) {
	d := start(t)
	printed := d.greeted()
	conn := d.dial()
	const n = 5000
	go func() {
		for i := range n {
			conn.say(fmt.Sprintf("GET %s?token=wrong%d HTTP/1.1\r\nHost: localhost\r\nX: %d\r\n\r\n", streamPath, i, i))
		}
	}()
	for i := range n {
		if got := conn.answer("GET"); got.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if i%500 == 0 {
			d.honest(fmt.Sprint(i))
		}
	}
	if text := d.out.String(); len(text) != printed {
		t.Errorf("it logged %d bytes:\n%.1000s", len(text)-printed, text[printed:])
	}
}

// TestExpect: the body of a request that is refused by its head is not asked for.
func TestExpect(t *testing.T) {
	d := start(t)
	for length, want := range map[int]string{2 << 20: "413", 100: "100"} {
		conn := d.dial()
		conn.say(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", eventsPath, claudeToken, length))
		if line, err := conn.r.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 "+want) {
			t.Errorf("%d bytes: %q %v, want %s", length, line, err, want)
		}
	}
}

// TestWhoSendsTooMuchIsToldSo: the connection was closed while the client still
// sent, and the answer could be lost with it.
func TestWhoSendsTooMuchIsToldSo(t *testing.T) {
	d := start(t)
	conn := d.dial()
	body := strings.Repeat(" ", 1<<20+1<<19)
	go conn.say(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"+
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", eventsPath, claudeToken, len(body), body))
	conn.answer("POST").want(http.StatusRequestEntityTooLarge).fault()
	conn.answer("GET").want(http.StatusOK)
}
