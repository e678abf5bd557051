package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/r3labs/sse/v2"
)

const streamPath = "/v1/events/stream"

func TestStreamHeaders(t *testing.T) {
	d := start(t)
	for _, method := range []string{"GET", "HEAD"} {
		resp, err := httpClient.Do(d.request(d.token, method, streamPath, ""))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", method, resp.StatusCode)
		}
		for name, want := range map[string]string{
			"Content-Type":      "text/event-stream",
			"Cache-Control":     "no-cache",
			"X-Accel-Buffering": "no",
		} {
			if got := resp.Header.Values(name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s: %q, want %q", method, name, got, want)
			}
		}
	}
}

func TestStreamRefusesOtherMethods(t *testing.T) {
	d := start(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		got := d.admin(method, streamPath, "").want(http.StatusMethodNotAllowed)
		if allow := got.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "HEAD") {
			t.Errorf("%s: Allow: %q", method, allow)
		}
	}
}

func TestStreamHeadAnswersLikeGet(t *testing.T) {
	d := start(t)
	if got := d.do("", "HEAD", streamPath, "").want(http.StatusUnauthorized); got.body != "" {
		t.Errorf("HEAD has a body: %s", got.body)
	}
	d.do(claudeToken, "HEAD", streamPath, "").want(http.StatusForbidden)
	d.admin("HEAD", streamPath, "").want(http.StatusOK)
	if got := d.admin("GET", "/v1/status", "").object()["subscribers"]; got != 0.0 {
		t.Errorf("after HEAD there are %v subscribers", got)
	}
}

// TestStreamBytes pins what goes over the wire, byte for byte.
func TestStreamBytes(t *testing.T) {
	d := start(t)
	w := d.open(d.token, "")
	if f := w.any(); f.raw != "data: {\"type\":\"connected\"}\nid: 0\n\n" {
		t.Errorf("on an empty log the stream begins with %q", f.raw)
	}
	d.append(d.token, event("claude-code", "git status"))
	line := d.lines()[0]
	want := fmt.Sprintf("data: {\"type\":\"audit\",\"event\":%s}\nid: %s\n\n", line, position(t, line))
	if f := w.next(); f.raw != want {
		t.Errorf("an audit frame:\n%s\nwant:\n%s", f.raw, want)
	}

	d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","command":"ls"}`)
	w.types("audit")
	if f := w.next(); f.raw != "data: {\"type\":\"approvals\"}\n\n" {
		t.Errorf("an approvals frame: %q", f.raw)
	}

	d.admin("POST", "/v1/audit/events", bigEvent("run_big")).want(http.StatusCreated)
	lines := d.lines()
	want = fmt.Sprintf("data: {\"type\":\"audit_batch\",\"run_id\":\"run_big\"}\nid: %s\n\n", position(t, lines[len(lines)-1]))
	if f := w.next(); f.raw != want {
		t.Errorf("a batch frame: %q, want %q", f.raw, want)
	}

	w = d.open(d.token, "")
	want = fmt.Sprintf("data: {\"type\":\"connected\"}\nid: %s\n\n", position(t, lines[len(lines)-1]))
	if f := w.any(); f.raw != want {
		t.Errorf("a new client begins with %q, want the log's head: %q", f.raw, want)
	}
}

// bigEvent is an event whose frame would be longer than 60 KiB.
func bigEvent(run string) string {
	return fmt.Sprintf(`{"agent":"a","run_id":%q,"tool":"write","request":{"content":%q},"decision":{"action":"allow"}}`,
		run, strings.Repeat("x", 61<<10))
}

func TestStreamFrameOf60KiBGoesWhole(t *testing.T) {
	d := start(t)
	w := d.watch("")
	sized := func(content int) string {
		return fmt.Sprintf(`{"timestamp":"2026-03-03T10:15:30Z","agent":"a","session":"s","tool":"write","request":{"content":%q},"decision":{"action":"allow"}}`, strings.Repeat("x", content))
	}
	d.append(d.token, sized(0))
	empty := len(w.next().raw)
	d.append(d.token, sized(60<<10-empty))
	if f := w.next(); f.Type != "audit" || len(f.raw) != 60<<10 {
		t.Errorf("a frame of just 60 KiB: %s of %d bytes", f.Type, len(f.raw))
	}
	d.append(d.token, sized(60<<10-empty+1))
	if f := w.next(); f.Type != "audit_batch" || f.RunID == nil || *f.RunID != "" {
		t.Errorf("a frame one byte longer: %.80s", f.raw)
	}
}

func TestStreamConnectedIsFlushedAtOnce(t *testing.T) {
	d := start(t)
	w := d.open(d.token, "") // nothing is ever appended
	w.types("connected")
}

func TestStreamKeepalive(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for 15 s of silence")
	}
	t.Parallel()
	d := start(t)
	w := d.watch("")
	if f := w.any(); f.raw != ": keepalive\n\n" {
		t.Errorf("after silence comes %q", f.raw)
	}
}

// TestStreamResume resumes by every form in which a position can be given.
func TestStreamResume(t *testing.T) {
	d := start(t)
	for i := range 5 {
		d.append(d.token, event("a", fmt.Sprint(i)))
	}
	lines := d.lines()
	at, other, bare := position(t, lines[1]), position(t, lines[3]), parse(t, lines[1]).ID
	for name, form := range map[string]struct {
		query   string
		headers []string
		from    string
	}{
		"header":                {headers: []string{"Last-Event-ID", at}, from: at},
		"parameter":             {query: "last_event_id=" + at, from: at},
		"header over parameter": {query: "last_event_id=" + other, headers: []string{"Last-Event-ID", at}, from: at},
		"position alone":        {headers: []string{"Last-Event-ID", bare}, from: bare},
	} {
		t.Run(name, func(t *testing.T) {
			d := *d
			d.t = t
			w := d.open(d.token, form.query, form.headers...)
			if f := w.next(); f.Type != "connected" || f.id != form.from {
				t.Errorf("begins with %q, want the position resumed from, %s", f.raw, form.from)
			}
			for _, line := range lines[2:] {
				if got := w.audit(); got != line {
					t.Errorf("replayed %s, want %s", got, line)
				}
			}
			w.types("approvals")
		})
	}
	t.Run("start of the log", func(t *testing.T) {
		d := *d
		d.t = t
		w := d.watch("last_event_id=0")
		for _, line := range lines {
			if got := w.audit(); got != line {
				t.Errorf("replayed %s, want %s", got, line)
			}
		}
		w.types("approvals")
	})
}

func TestStreamResumeAtTheHead(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "one"))
	w := d.watch("", "Last-Event-ID", position(t, d.lines()[0]))
	w.types("approvals")
	d.append(d.token, event("a", "two"))
	if got := parse(t, w.audit()).Request.Command; got != "two" {
		t.Errorf("live after a resume: %s", got)
	}
}

// TestStreamResumeWhileEventsArrive wants no gap and no overlap where the replay ends.
func TestStreamResumeWhileEventsArrive(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "first"))
	from := position(t, d.lines()[0])
	const n = 300
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for i := range n {
			d.append(d.token, event("a", fmt.Sprint(i)))
		}
	}()
	for range 5 {
		var seen []string
		w := d.watch("", "Last-Event-ID", from)
		for len(seen) < n {
			if f := w.next(); f.Type == "audit" {
				seen = append(seen, string(parse(t, string(f.Event)).Request.Command))
			}
		}
		for i, c := range seen {
			if c != fmt.Sprint(i) {
				t.Fatalf("event %d on the stream is %s", i, c)
			}
		}
	}
	<-fed
}

// TestStreamResumeElsewhere is about positions that are not on this log.
func TestStreamResumeElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		position func(line string) string
		result   string
	}{
		"unknown id":                {func(string) string { return "01ARZ3NDEKTSV4RRFFQ69G5FAV.0123456789abcdef" }, "unknown"},
		"unknown id, no hash":       {func(string) string { return "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "unknown"},
		"malformed":                 {func(string) string { return "17; drop table" }, "malformed"},
		"other hash":                {func(line string) string { return parse(t, line).ID + ".0123456789abcdef" }, "mismatch"},
		"beyond the head":           {func(string) string { return "7ZZZZZZZZZZZZZZZZZZZZZZZZZ.0123456789abcdef" }, "mismatch"},
		"beyond the head, no hash":  {func(string) string { return "7ZZZZZZZZZZZZZZZZZZZZZZZZZ" }, "unknown"},
		"hash of a character short": {func(line string) string { return position(t, line)[:42] }, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.append(d.token, event("a", "one"))
			id := c.position(d.lines()[0])
			w := d.open(d.token, "", "Last-Event-ID", id)
			frames := w.types("connected", "audit_batch", "approvals")
			if run := frames[1].RunID; run == nil || *run != "" {
				t.Errorf("the batch: %q", frames[1].raw)
			}
			d.append(d.token, event("a", "two"))
			if got := parse(t, w.audit()).Request.Command; got != "two" {
				t.Errorf("then came %s", got)
			}
			d.wantMetric(fmt.Sprintf(`rampart_stream_resumes_total{result=%q}`, c.result), 1)
			mismatches := 0.0
			if c.result == "mismatch" {
				mismatches = 1
				d.out.waitFor(t, `"?level"?[=:]"?(WARN|ERROR)`)
			}
			d.wantMetric("rampart_witness_mismatches_total", mismatches)
			if got := d.admin("GET", "/v1/status", "").object()["witness_mismatches"]; got != mismatches {
				t.Errorf("status says witness_mismatches %v, want %v", got, mismatches)
			}
		})
	}
}

func TestStreamReplayIsFiltered(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "one"), event("b", "two"), event("a", "three"))
	w := d.watch("last_event_id=0&agent=a")
	got := commands(t, []string{w.audit(), w.audit()})
	if diff := cmp.Diff([]string{"one", "three"}, got); diff != "" {
		t.Error(diff)
	}
	w.types("approvals")
}

func TestStreamFilters(t *testing.T) {
	d := start(t)
	one := func(agent, session, tool, action, run, command string) string {
		return fmt.Sprintf(`{"agent":%q,"session":%q,"run_id":%q,"tool":%q,"request":{"command":%q},"decision":{"action":%q}}`,
			agent, session, run, tool, command, action)
	}
	wants := map[string][]string{
		"agent=a":             {"1", "3"},
		"agent=a&agent=c":     {"1", "3", "4"},
		"session=t":           {"3", "4"},
		"tool=exec":           {"1", "2", "4"},
		"action=deny":         {"2", "3"},
		"run_id=q":            {"3", "4"},
		"agent=a&action=deny": {"3"},
		"agent=nobody":        {},
	}
	watchers := make(map[string]*watcher)
	for query := range wants {
		watchers[query] = d.watch(query)
	}
	d.append(d.token,
		one("a", "s", "exec", "allow", "r", "1"),
		one("b", "s", "exec", "deny", "r", "2"),
		one("a", "t", "read", "deny", "q", "3"),
		one("c", "t", "exec", "watch", "q", "4"))
	// The filters hide the event of this approval. Its approvals frame, which only type can hide, marks the end.
	d.ask(d.token, `{"tool":"last","agent":"last","session":"last","message":"m","command":"last"}`)
	for query, want := range wants {
		got := []string{}
		for f := watchers[query].next(); f.Type != "approvals"; f = watchers[query].next() {
			got = append(got, string(parse(t, string(f.Event)).Request.Command))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("?%s: %s", query, diff)
		}
	}
}

func TestStreamTypeFilter(t *testing.T) {
	d := start(t)
	audit, approvals, both := d.watch("type=audit"), d.watch("type=approvals"), d.watch("type=approvals&type=audit_batch")
	d.append(d.token, event("a", "one"))
	d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","command":"ls"}`)
	d.append(d.token, bigEvent("r"), event("a", "two"))
	// A client of audit messages must be told of an event that is too long for a frame.
	audit.types("audit", "audit", "audit_batch", "audit")
	approvals.types("approvals")
	both.types("approvals", "audit_batch")
}

func TestStreamRefusesNoFilterName(t *testing.T) {
	d := start(t)
	w := d.watch("_=1732406400&utm_source=x") // as cache busters send
	d.append(d.token, event("a", "one"))
	w.types("audit")
}

func TestTicketOpensTheStreamAndNothingElse(t *testing.T) {
	d := start(t)
	var ticket struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	before := time.Now()
	d.admin("POST", "/v1/events/ticket", "").want(http.StatusOK).into(&ticket)
	if left := ticket.ExpiresAt.Sub(before); left < 59*time.Minute || left > 61*time.Minute {
		t.Errorf("the ticket is good for %v", left)
	}
	for range 2 { // as often as its holder reconnects
		d.open("", "token="+ticket.Token).types("connected")
	}
	for _, route := range append(adminRoutes[1:], agentRoutes...) {
		if got := d.do(ticket.Token, route.method, route.path, route.body); got.status != http.StatusUnauthorized && got.status != http.StatusForbidden {
			t.Errorf("%s %s with a ticket: status %d", route.method, route.path, got.status)
		}
	}
	if strings.Contains(d.out.String(), ticket.Token) {
		t.Errorf("the log has the ticket:\n%s", d.out)
	}
}

// TestStreamSlowReader wants a reader that memory has left behind to lose
// nothing, and nobody else to wait for it.
func TestStreamSlowReader(t *testing.T) {
	d := start(t)
	slow := d.watch("type=audit") // takes no frame for a while
	fast := d.watch("type=audit")
	const batches, size = 40, 20 // 40 MB: more than the bus keeps and the sockets hold
	content := strings.Repeat("x", 50<<10)
	go func() {
		for i := range batches {
			var events []string
			for j := range size {
				events = append(events, fmt.Sprintf(`{"agent":"a","tool":"write","request":{"command":"%d","content":%q},"decision":{"action":"allow"}}`, i*size+j, content))
			}
			d.append(d.token, events...)
		}
	}()
	for _, w := range []*watcher{fast, slow} {
		for i := range batches * size {
			if got := parse(t, w.audit()).Request.Command; string(got) != fmt.Sprint(i) {
				t.Fatalf("event %d is %s", i, got)
			}
		}
	}
}

func TestStreamDeadReaderIsDisconnected(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the write timeout of 30 s")
	}
	t.Parallel()
	d := start(t)
	d.watch("") // and reads no more
	content := strings.Repeat("x", 50<<10)
	for range 20 { // 20 MB: more than the sockets hold
		var events []string
		for range 20 {
			events = append(events, fmt.Sprintf(`{"agent":"a","tool":"write","request":{"content":%q},"decision":{"action":"allow"}}`, content))
		}
		d.append(d.token, events...)
	}
	probe := d.watch("type=connected") // its keepalives pace the questions
	for d.metric(`rampart_stream_closed_total{reason="write_timeout"}`) != 1 {
		probe.any()
	}
}

func TestStreamR3labsClient(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "stored 1"), event("a", "stored 2"))
	c := sse.NewClient(d.base + streamPath)
	c.Headers["Authorization"] = "Bearer " + d.token
	c.LastEventID.Store([]byte(position(t, d.lines()[0])))
	events := make(chan *sse.Event)
	if err := c.SubscribeChanRaw(events); err != nil {
		t.Fatal(err)
	}
	defer c.Unsubscribe(events)
	d.append(d.token, event("a", "live"))
	for _, want := range []string{
		`"type":"connected"`, `"command":"stored 2"`, `"type":"approvals"`, `"command":"live"`,
	} {
		select {
		case e := <-events:
			if !strings.Contains(string(e.Data), want) {
				t.Errorf("got %s, want %s", e.Data, want)
			}
		case <-time.After(patience):
			t.Fatal("nothing comes")
		}
	}
}

// TestStreamCurl runs the two curl commands of docs/stream.md and wants the
// output that it shows.
func TestStreamCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl")
	}
	shape := []*regexp.Regexp{
		regexp.MustCompile(`^data: \{"type":"connected"\}$`),
		regexp.MustCompile(`^data: \{"type":"audit","event":\{"id":"[0-9A-Z]{26}","timestamp":"2026-03-03T10:15:30Z","agent":"claude-code","session":"myapp/main","tool":"exec","request":\{"command":"git status"\},"decision":\{"action":"allow","matched_policies":\["allow-git"\],"evaluation_time_us":8,"message":"git command allowed"\},"prev_hash":"[0-9a-f]{64}","hash":"[0-9a-f]{64}"\}\}$`),
		regexp.MustCompile(`^data: \{"type":"audit","event":\{.*"action":"ask".*\}$`),
		regexp.MustCompile(`^data: \{"type":"approvals"\}$`),
	}
	for name, args := range map[string]func(d *daemon) []string{
		"header": func(d *daemon) []string {
			return []string{"-H", "Authorization: Bearer " + d.token, d.base + streamPath}
		},
		"query": func(d *daemon) []string {
			return []string{d.base + streamPath + "?token=" + url.QueryEscape(d.token)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			cmd := exec.Command(curl, append([]string{"-sN"}, args(d)...)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()

			lines := bufio.NewScanner(out)
			data := func() string {
				for lines.Scan() {
					if strings.HasPrefix(lines.Text(), "data: ") {
						return lines.Text()
					}
				}
				t.Fatal("curl printed no more")
				return ""
			}
			for i, want := range shape {
				switch i {
				case 1:
					d.append(d.token, `{"timestamp":"2026-03-03T10:15:30Z","agent":"claude-code","session":"myapp/main","tool":"exec","request":{"command":"git status"},"decision":{"action":"allow","matched_policies":["allow-git"],"evaluation_time_us":8,"message":"git command allowed"}}`)
				case 2:
					d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","command":"git push"}`)
				}
				if got := data(); !want.MatchString(got) {
					t.Errorf("curl prints\n%s\nwant\n%s", got, want)
				}
			}
			d.stop()
			if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
				t.Errorf("after the end: %q, %v", rest, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("curl saw an unclean end: %v", err)
			}
		})
	}
}

func TestStreamOfABulkResolutionInReplay(t *testing.T) {
	d := start(t)
	d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","run_id":"r","message":"m","command":"one"}`)
	d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","run_id":"r","message":"m","command":"two"}`)
	d.admin("POST", "/v1/approvals/bulk-resolve", `{"run_id":"r","action":"approve"}`).want(http.StatusOK)
	d.watch("last_event_id=0").types("audit", "audit", "audit", "audit", "approvals")
}
