package rampart_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestUnmatched(t *testing.T) {
	_, w := newWeb(t, testAuth())
	for _, path := range []string{"/", "/v1", "/v1/nowhere", "/v1/approvals/", "/v1/audit/events/a/b", "/metrics"} {
		w.as("").expect(404, `{"error":"not found"}`, "GET", path, "")
	}
	for route, allow := range map[string]string{
		"DELETE /v1/approvals": "GET, HEAD, POST", "PUT /v1/audit/events": "GET, HEAD, POST", "POST /healthz": "GET, HEAD",
		"GET /v1/approvals/x/resolve": "POST", "POST /v1/events/stream": "GET, HEAD", "OPTIONS /v1/events/stream": "GET, HEAD",
	} {
		f := strings.Fields(route)
		rec := w.as("").expect(405, "", f[0], f[1], "")
		if got := rec.Header().Get("Allow"); got != allow || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s: Allow %q, want %q; %s", route, got, allow, rec.Body)
		}
	}
}

func TestJSONHeaders(t *testing.T) {
	_, w := newWeb(t, testAuth())
	for _, path := range []string{"/healthz", "/v1/status", "/v1/audit/events", "/nowhere"} {
		h := w.send("GET", path, "").Header()
		for name, want := range map[string]string{"Content-Type": "application/json", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestHealthAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		r := openRampart(t, fs, rampart.Options{Version: "1.2.3"})
		w := &web{t, r.Handler(testAuth()), adminToken}
		time.Sleep(90 * time.Second)
		w.expect(200, `{"status":"ok","mode":"record","uptime_seconds":90,"version":"1.2.3"}`, "GET", "/healthz", "")
		w.expect(200, `{"version":"1.2.3","uptime_seconds":90,"mode":"record","head":{"id":"","hash":""},"events":0,"segments":1,"bytes":0,`+
			`"sync":"always","subscribers":0,"slowest_lag_events":0,"pending_approvals":0,"witness_mismatches":0}`, "GET", "/v1/status", "")
		request(t, r.Approvals, question(1))
		head := r.Chain.Head()
		w.expect(200, "", "GET", "/v1/audit/verify", "")
		w.expect(200, fmt.Sprintf(`{"version":"1.2.3","uptime_seconds":90,"mode":"record","head":{"id":"%s","hash":"%s"},"events":1,"segments":1,"bytes":%d,`+
			`"sync":"always","subscribers":0,"slowest_lag_events":0,"pending_approvals":1,"witness_mismatches":0,`+
			`"last_verify":{"ok":true,"verdict":"ok","events":1,"at":"%s"}}`, head.ID, head.Hash, r.Chain.Stats().Bytes, time.Now().UTC().Format(time.RFC3339)), "GET", "/v1/status", "")

		fs.FailSync(1, errDisk, true)
		_, err := r.Chain.Append(t.Context(), event(1))
		wantErr(t, "Append", err, rampart.ErrFailed)
		rec := w.expect(503, "", "GET", "/healthz", "")
		if !strings.HasPrefix(rec.Body.String(), `{"status":"failing","error":"`) {
			t.Error(rec.Body)
		}
	})
}

func TestPostEvents(t *testing.T) {
	r, w := newWeb(t, testAuth())
	const minimal = `{"agent":"a","tool":"t","decision":{"action":"allow"}}`
	full := `{"timestamp":"2026-03-03T12:15:30.5+02:00","agent":"a","session":"s","run_id":"r","tool_call_id":"c","tool":"t",` +
		`"request": { "n" : 1.0, "big":12345678901234567890, "s":"\ud800<>" },"decision":{"action":"deny","matched_policies":["p"],` +
		`"evaluation_time_us":8,"message":"m","suggestions":["x"]},"response":{"exit_code":-1,"duration_ms":5,"flags":["f"]}}`
	rec := w.expect(201, "", "POST", "/v1/audit/events", full, "Content-Type", "application/json; charset=utf-8")
	stored := all(t, r.Chain, rampart.Query{})[0]
	want := `,"timestamp":"2026-03-03T10:15:30.5Z","agent":"a","session":"s","run_id":"r","tool_call_id":"c","tool":"t",` +
		`"request":{"n":1.0,"big":12345678901234567890,"s":"\ud800<>"},"decision":{"action":"deny","matched_policies":["p"],` +
		`"evaluation_time_us":8,"message":"m","suggestions":["x"]},"response":{"exit_code":-1,"duration_ms":5,"flags":["f"]},"prev_hash":`
	if !strings.Contains(stored, want) || rec.Body.String() != `{"ids":["`+stored[7:33]+`"]}`+"\n" {
		t.Errorf("%s\nstored %s\nwant %s", rec.Body, stored, want)
	}

	const ndjson = "application/x-ndjson"
	rec = w.expect(201, "", "POST", "/v1/audit/events", "\n"+minimal+"\r\n  \n"+minimal, "Content-Type", ndjson)
	var answer struct{ IDs []string }
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || !slices.Equal(answer.IDs, ids(t, r.Chain, rampart.Query{Ascending: true})[1:]) {
		t.Errorf("%s (%v)", rec.Body, err)
	}

	before := r.Chain.Stats().Events
	for _, c := range []struct {
		contentType, body string
		status            int
		says              string
	}{
		{"", minimal, 415, "application/x-ndjson"},
		{"text/plain", minimal, 415, ""},
		{"application/x-www-form-urlencoded", minimal, 415, ""},
		{"application/json", ``, 400, "byte 0"},
		{"application/json", minimal + minimal, 400, "byte 54"},
		{"application/json", `{"agent":"a","agent":"a","tool":"t","decision":{"action":"allow"}}`, 400, "byte 13"},
		{"application/json", `{"agent":"a","tool":7,"decision":{"action":"allow"}}`, 400, "byte 20: tool"},
		{"application/json", `{"agent":"a","tool":"t","Tool":"t","decision":{"action":"allow"}}`, 400, "Tool"},
		{"application/json", `{"agent":"a","tool":"t","id":"x","decision":{"action":"allow"}}`, 400, "id"},
		{"application/json", `{"agent":"a","tool":"t","approval":{},"decision":{"action":"allow"}}`, 400, "approval"},
		{"application/json", `{"agent":"a","tool":"t","timestamp":"2026-03-03 10:15:30","decision":{"action":"allow"}}`, 400, "timestamp"},
		{"application/json", `{"agent":"a","tool":"t","timestamp":"2026-03-03T1:15:30Z","decision":{"action":"allow"}}`, 400, "RFC 3339"},
		{"application/json", `{"agent":"a","tool":"t","decision":{"action":"Allow"}}`, 400, "lower-case"},
		{"application/json", `{"agent":"a","tool":"t` + "\xff" + `","decision":{"action":"allow"}}`, 400, "UTF-8"},
		{"application/json", minimal + strings.Repeat(" ", 1<<20), 413, "1048576"},
		{ndjson, "\n\n", 400, "no event"},
		{ndjson, minimal + "\n\v\n" + minimal, 400, `line 2: byte 0`}, // no white space of JSON
		{ndjson, "\u00a0\n" + minimal, 400, `line 1: byte 0`},
		{ndjson, minimal + "\n\n" + `{"agent":"a"`, 400, `line 3: byte 12`},
		{ndjson, "\n" + minimal + "\n\n" + `{"agent":"a","tool":"","decision":{"action":"allow"}}` + "\n" + minimal, 400, `line 4: tool is required`},
		{ndjson, minimal + "\n" + minimal + strings.Repeat(" ", 1<<20), 413, "line 2"},
		{ndjson, strings.Repeat(strings.Repeat(" ", 1<<19)+"\n", 64), 413, "33554432"},
		{ndjson, strings.Repeat(minimal+"\n", 65537), 400, "line 65537"},
	} {
		rec := w.send("POST", "/v1/audit/events", c.body, "Content-Type", c.contentType)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s %.120q: %d %s, want %d %q", c.contentType, c.body, rec.Code, rec.Body, c.status, c.says)
		}
	}
	if n := r.Chain.Stats().Events; n != before {
		t.Errorf("%d events of refused requests were stored", n-before)
	}
}

// A slow body must not hold a connection for ever.
func TestBodyHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := newWeb(t, testAuth())
		site := newSite(t, w.h, nil)
		for token, limit := range map[string]time.Duration{adminToken: 30 * time.Second, "wrong": 5 * time.Second} {
			conn, err := site.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			go fmt.Fprintf(conn, "POST /v1/approvals HTTP/1.1\r\nHost: rampart\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", token)
			got, _ := io.ReadAll(conn)
			if took := time.Since(began); took > limit+time.Second || !bytes.HasPrefix(got, []byte("HTTP/1.1 40")) {
				t.Errorf("%s: after %v: %.60q", token, took, got)
			}
		}
	})
}

// Nor must a body that nobody reads: the server takes it in before it sends its
// answer.
func TestUnreadBodyHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := newWeb(t, testAuth())
		api, own := newSite(t, w.h, nil), newSite(t, testAuth().Require(rampart.ScopeAdmin, w.h), nil)
		for _, c := range []struct {
			site               *site
			path, token, gives string
		}{
			{api, "/v1/events/stream", "wrong", "HTTP/1.1 401"},
			{api, "/v1/events/stream?type=x", adminToken, "HTTP/1.1 400"},
			{api, "/v1/events/stream", adminToken, "HTTP/1.1 200"},
			{api, "//healthz", "wrong", "HTTP/1.1 307"},
			{api, "/nothing", "wrong", "HTTP/1.1 404"},
			{own, "/metrics", "wrong", "HTTP/1.1 401"},
		} {
			conn, err := c.site.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(6 * time.Second))
			go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: rampart\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", c.path, c.token)
			got := make([]byte, len(c.gives))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.gives {
				t.Errorf("GET %s with the token %q: %q, %v, want %q", c.path, c.token, got, err, c.gives)
			}
			conn.Close()
		}
	})
}

func TestGetEvents(t *testing.T) {
	r, w := newWeb(t, testAuth())
	for i := range 7 {
		e := event(i)
		e.Timestamp = time.Date(2026, 3, 1+i, 0, 0, 0, 0, time.UTC)
		e.Agent, e.Session = []string{"a", "b", "c"}[i%3], []string{"", "s"}[i%2]
		e.Decision.Message = "<&>"
		appendOne(t, r.Chain, e)
	}
	want := all(t, r.Chain, rampart.Query{})
	id := ids(t, r.Chain, rampart.Query{})
	pick := func(n ...int) (out []string) {
		for _, i := range n {
			out = append(out, want[i])
		}
		return out
	}
	for query, c := range map[string]struct {
		events []string
		offset int
		cursor string
	}{
		"":                                      {want, 0, ""},
		"?_=17&agent=&limit=":                   {want, 0, ""},
		"?limit=3":                              {want[:3], 3, id[2]},
		"?limit=3&offset=3":                     {want[3:6], 6, id[5]},
		"?limit=3&offset=6":                     {want[6:], 0, ""},
		"?limit=7":                              {want, 0, ""},
		"?limit=9999999":                        {want, 0, ""},
		"?offset=99":                            {nil, 0, ""},
		"?limit=2&cursor=" + id[2]:              {want[3:5], 2, id[4]},
		"?limit=2&order=asc&cursor=" + id[4]:    {pick(3, 2), 2, id[2]},
		"?order=asc&limit=1":                    {pick(6), 1, id[6]},
		"?after=" + id[4] + "&before=" + id[1]:  {want[2:4], 0, ""},
		"?before=" + id[3] + "&cursor=" + id[1]: {want[4:], 0, ""},
		"?date=2026-03-02":                      {pick(5), 0, ""},
		"?since=2026-03-02T00:00:00Z&until=2026-03-04T02:00:00%2B02:00": {pick(4, 5), 0, ""},
		"?date=2026-03-02&since=2026-03-03T00:00:00Z":                   {nil, 0, ""},
		"?agent=a&agent=b":          {pick(0, 2, 3, 5, 6), 0, ""},
		"?agent=a&session=s":        {pick(3), 0, ""},
		"?tool=none":                {nil, 0, ""},
		"?action=allow&run_id=none": {nil, 0, ""},
	} {
		date := ""
		if strings.Contains(query, "date=") {
			date = "2026-03-02"
		}
		body := fmt.Sprintf(`{"events":[%s],"next_offset":%d,"next_cursor":"%s","date":"%s"}`, strings.Join(c.events, ","), c.offset, c.cursor, date)
		w.expect(200, body, "GET", "/v1/audit/events"+query, "")
	}
	for _, bad := range []string{
		"limit=0", "limit=x", "limit=1.5", "offset=-1", "cursor=x", "after=" + id[0][1:], "before=X", "order=up", "date=2026-3-1",
		"date=2026-02-30", "since=2026-03-01", "until=now",
	} {
		name, _, _ := strings.Cut(bad, "=")
		if rec := w.expect(400, "", "GET", "/v1/audit/events?"+bad, ""); !strings.Contains(rec.Body.String(), "parameter "+name+" ") {
			t.Errorf("%s: %s", bad, rec.Body)
		}
	}
	w.expect(400, "", "GET", "/v1/audit/events?agent=%zz", "")
	w.expect(200, want[3], "GET", "/v1/audit/events/"+id[3], "")
	w.expect(404, "", "GET", "/v1/audit/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", "")
	w.expect(404, "", "GET", "/v1/audit/events/x", "")
	w.expect(200, `{"dates":["2026-03-07","2026-03-06","2026-03-05","2026-03-04","2026-03-03","2026-03-02","2026-03-01"],"configured":true}`, "GET", "/v1/audit/dates", "")

	totals := func(n int, agents string, s int) string {
		return fmt.Sprintf(`{"total_events":%d,"by_action":{"allow":%d},"by_tool":{"exec":%d},"by_agent":{%s},"by_session":{"s":%d}}`, n, n, n, agents, s)
	}
	w.expect(200, totals(7, `"a":3,"b":2,"c":2`, 3), "GET", "/v1/audit/stats", "")
	w.expect(200, totals(2, `"b":1,"c":1`, 1), "GET", "/v1/audit/stats?from=2026-03-02&to=2026-03-03", "")
	w.expect(200, totals(1, `"b":1`, 1), "GET", "/v1/audit/stats?from=2026-03-02T00:00:00Z&to=2026-03-03T00:00:00Z", "")
	w.expect(400, "", "GET", "/v1/audit/stats?from=yesterday", "")
	w.expect(200, strings.TrimSuffix(totals(2, `"b":1,"c":1`, 1), "}")+`,"intervals":[`+
		`{"from":"2026-03-02T00:00:00Z","total_events":1,"by_action":{"allow":1}},`+
		`{"from":"2026-03-02T20:00:00Z","total_events":1,"by_action":{"allow":1}},`+
		`{"from":"2026-03-03T16:00:00Z","total_events":0,"by_action":{}}]}`,
		"GET", "/v1/audit/stats?from=2026-03-02&to=2026-03-03&interval=20h", "")
	w.expect(200, `{"total_events":0,"by_action":{},"by_tool":{},"by_agent":{},"by_session":{},"intervals":[]}`,
		"GET", "/v1/audit/stats?from=2026-03-02T00:00:00Z&to=2026-03-02T00:00:00Z&interval=1h", "")
	w.expect(200, totals(7, `"a":3,"b":2,"c":2`, 3), "GET", "/v1/audit/stats?interval=", "")
	const day = "from=2026-03-02&to=2026-03-02&interval="
	for query, says := range map[string]string{
		day + "x": "duration", day + "1": "duration", day + "1d": "duration", day + "999ms": "1s at least", day + "0": "1s at least", day + "-1h": "1s at least",
		day + "86s": "more than 1000", day + "0s": "1s at least", day + "0h": "1s at least", "interval=1h": "from and to", "from=2026-03-02&interval=1h": "from and to", "to=2026-03-02&interval=1h": "from and to",
		"from=0000-01-01T00:00:00%2B01:00&to=2026-03-02&interval=999999h": "year",
	} {
		if rec := w.expect(400, "", "GET", "/v1/audit/stats?"+query, ""); !strings.Contains(rec.Body.String(), "parameter interval ") || !strings.Contains(rec.Body.String(), says) {
			t.Errorf("%s: %s", query, rec.Body)
		}
	}

	for query, c := range map[string]struct {
		name   string
		events []string
	}{
		"date=2026-03-02":                     {"-2026-03-02", pick(5)},
		"from=2026-03-02&to=2026-03-03":       {"-2026-03-02-to-2026-03-03", pick(5, 4)},
		"since=2026-03-07T00:00:00Z":          {"-2026-03-07", pick(0)},
		"until=2026-03-02T00:00:00Z":          {"-to-2026-03-01", pick(6)},
		"to=2026-03-01T00:00:01Z&limit=bogus": {"-to-2026-03-01", pick(6)},
	} {
		rec := w.expect(200, strings.Join(c.events, "\n"), "GET", "/v1/audit/export?"+query, "")
		if got := rec.Header().Get("Content-Disposition"); got != `attachment; filename="rampart-audit`+c.name+`.jsonl"` || rec.Header().Get("Content-Type") != "application/jsonl" {
			t.Errorf("%s: %v", query, rec.Header())
		}
	}
	w.expect(404, "", "GET", "/v1/audit/export?date=2025-01-01", "")
	w.expect(400, "", "GET", "/v1/audit/export", "")
	w.expect(400, "", "GET", "/v1/audit/export?date=x", "")
}

func TestPageIsAtMost500(t *testing.T) {
	r, w := newWeb(t, testAuth())
	appendBulk(t, r.Chain, 501, 1)
	rec := w.expect(200, "", "GET", "/v1/audit/events?limit=501", "")
	var page struct{ Events []json.RawMessage }
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || len(page.Events) != 500 {
		t.Errorf("%d events (%v)", len(page.Events), err)
	}
}

func TestVerifyRoute(t *testing.T) {
	dir := t.TempDir()
	r, err := rampart.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := &web{t, r.Handler(testAuth()), adminToken}
	w.expect(200, `{"ok":true,"events":0,"first_id":"","last_id":"","head_hash":""}`, "GET", "/v1/audit/verify", "")
	saved := appendN(t, r.Chain, 3)
	whole := fmt.Sprintf(`{"ok":true,"events":3,"first_id":"%s","last_id":"%s","head_hash":"%s"}`, saved[0].ID, saved[2].ID, saved[2].Hash)
	for _, anchor := range []string{"", "?id=" + saved[1].ID, "?id=" + saved[1].ID + "&hash=" + saved[1].Hash, "?id=" + saved[1].ID + "&hash=" + saved[1].Hash[:16]} {
		w.expect(200, whole, "GET", "/v1/audit/verify"+anchor, "")
	}
	for _, anchor := range []string{"id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "id=" + saved[1].ID + "&hash=" + saved[2].Hash} {
		rec := w.expect(200, "", "GET", "/v1/audit/verify?"+anchor, "")
		if !strings.HasPrefix(rec.Body.String(), `{"ok":false,`) || !strings.Contains(rec.Body.String(), `"verdict":"truncated"`) {
			t.Errorf("%s: %s", anchor, rec.Body)
		}
	}
	for _, bad := range []string{"id=x", "hash=" + saved[0].Hash, "id=" + saved[0].ID + "&hash=xyz"} {
		w.expect(400, "", "GET", "/v1/audit/verify?"+bad, "")
	}
	edit(t, segments(t, dir)[0], func(b []byte) []byte { return bytes.Replace(b, []byte(`"n":1`), []byte(`"n":7`), 1) })
	rec := w.expect(200, "", "GET", "/v1/audit/verify", "")
	want := regexp.MustCompile(`^\{"ok":false,"events":1,"first_id":"` + saved[0].ID + `","last_id":"` + saved[0].ID + `","head_hash":"` + saved[0].Hash +
		`","verdict":"tampered","segment":"0+1\.jsonl","line":2,"offset":[0-9]+,"id":"` + saved[1].ID + `","expected":"hash [0-9a-f]{64}","found":"` + saved[1].Hash + `"\}\n$`)
	if !want.MatchString(rec.Body.String()) {
		t.Errorf("%s\nwant %s", rec.Body, want)
	}
	if rec := w.send("GET", "/v1/status", ""); !strings.Contains(rec.Body.String(), `"last_verify":{"ok":false,"verdict":"tampered","events":1,"at":"`) {
		t.Error(rec.Body)
	}
}

func TestApprovalRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		now := time.Now().UTC()
		stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
		w.expect(200, `{"approvals":[],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")

		rec := w.as(agentToken).expect(201, "", "POST", "/v1/approvals",
			`{"tool":"exec","message":"m","request":{ "command":"rm <x>", "n":1.0 },"session":"s","run_id":"r","tool_call_id":"c","ttl_seconds":60,"unknown":[1]}`)
		p := r.Approvals.List(rampart.ApprovalFilter{})[0]
		created := `{"id":"` + p.ID + `","status":"pending","expires_at":"` + stamp(time.Minute) + `"}`
		if rec.Body.String() != created+"\n" {
			t.Errorf("%s, want %s", rec.Body, created)
		}
		w.as(agentToken).expect(201, created, "POST", "/v1/approvals", `{"tool":"exec","tool_call_id":"c","command":"other"}`)
		one := func(status, resolved string) string {
			return `{"id":"` + p.ID + `","tool":"exec","command":"rm <x>","request":{"command":"rm <x>","n":1.0},"agent":"claude-code","session":"s","run_id":"r","message":"m",` +
				`"status":"` + status + `","created_at":"` + stamp(0) + `","expires_at":"` + stamp(time.Minute) + `",` + resolved + `"request_sha256":"` + p.RequestSHA256 + `"}`
		}
		because := func(approval string) string { return strings.TrimSuffix(approval, "}") + `,"reason":"no"}` }
		w.expect(200, one("pending", ""), "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"approvals":[`+one("pending", "")+`],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")

		resolve := "/v1/approvals/" + p.ID + "/resolve"
		for _, bad := range []string{`{}`, `{"approved":null}`, `{"approved":"true"}`, `{"Approved":true}`, `{"approved":true,"approved":true}`, `{"approved":true,"persist":true}`, `[]`, ``} {
			w.expect(400, "", "POST", resolve, bad, "Content-Type", "application/json")
		}
		w.expect(415, "", "POST", resolve, `{"approved":true}`, "Content-Type", "text/plain")
		w.expect(413, "", "POST", resolve, `{"approved":true,"reason":"`+strings.Repeat("x", 1<<20)+`"}`)
		w.expect(404, "", "POST", "/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", `{"approved":true}`)
		w.expect(404, "", "POST", "/v1/approvals/x/resolve", `{"approved":true}`)
		w.expect(200, one("pending", ""), "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"id":"`+p.ID+`","status":"denied","approved":false,"persisted":false}`, "POST", resolve, `{"approved":false,"resolved_by":"kim","reason":"no","persist":false}`)
		w.expect(410, "", "POST", resolve, `{"approved":true}`)
		ended := because(one("denied", `"resolved_at":"`+stamp(0)+`","resolved_by":"kim",`))
		w.expect(200, ended, "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"approvals":[`+ended+`],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals?status=denied", "")
		w.expect(200, `{"approvals":[],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")
		w.expect(400, "", "GET", "/v1/approvals?status=Denied", "")
		if e := lastEvent(t, r.Chain); !strings.Contains(string(e.Approval), `"resolved_by":"kim","credential":"admin","reason":"no"`) {
			t.Errorf("%s", e.Approval)
		}
		rec = w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
		id := strings.Split(rec.Body.String(), `"`)[3]
		w.expect(200, `{"id":"`+id+`","status":"approved","approved":true,"persisted":false}`, "POST", "/v1/approvals/"+id+"/resolve", `{"approved":true}`)
	})
}

func TestPostApproval(t *testing.T) {
	r, w := newWeb(t, testAuth())
	for body, want := range map[string]string{
		`"command":"ls"`:                                  `{"command":"ls"}`,
		`"path":"/etc"`:                                   `{"path":"/etc"}`,
		`"path":"/etc","command":"ls \"x\""`:              `{"command":"ls \"x\"","path":"/etc"}`,
		`"request":{},"session":null,"ttl_seconds":null`:  `{}`,
		`"request":{"a":[1.50]}`:                          `{"a":[1.50]}`,
		`"request":{"command":"ls"},"command":"ls"`:       `{"command":"ls"}`,
		`"request":{"command":["a","b"]},"command":"a b"`: `{"command":["a","b"]}`,
	} {
		rec := w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t",`+body+`}`)
		p, err := r.Approvals.Get(t.Context(), strings.Split(rec.Body.String(), `"`)[3])
		if err != nil || string(p.Request) != want {
			t.Errorf("%s: request %s, want %s (%v)", body, p.Request, want, err)
		}
	}
	before := r.Chain.Stats().Events
	for body, says := range map[string]string{
		`"request":{"command":"ls"},"command":"rm"`:        "command",
		`"request":{},"command":"rm"`:                      "command",
		`"request":{"path":["a"]},"path":"b"`:              "path",
		`"request":[]`:                                     "object",
		`"request":{"a":1,"a":2}`:                          "byte",
		`"command":"ls","ttl_seconds":-1`:                  "TTL",
		`"command":"ls","ttl_seconds":2592001`:             "30 days",
		`"command":"ls","ttl_seconds":9223372036854775807`: "30 days",
		`"command":"ls","ttl_seconds":1.5`:                 "whole number",
		`"command":"ls","ttl_seconds":1e1`:                 "whole number",
		`"command":["ls"]`:                                 "string",
		`"Tool":"x","tool":"y"`:                            "tool",
		`"message":"m"`:                                    "say what would run",
	} {
		rec := w.expect(400, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t",`+body+`}`)
		if !strings.Contains(rec.Body.String(), says) {
			t.Errorf("%s: %s, want %q", body, rec.Body, says)
		}
	}
	w.expect(400, "", "POST", "/v1/approvals", `{"agent":"a","Tool":"t"}`)
	w.expect(400, "", "POST", "/v1/approvals", `{"tool":"t"}`)
	w.expect(415, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`, "Content-Type", "")
	if n := r.Chain.Stats().Events; n != before {
		t.Errorf("%d events of refused requests", n-before)
	}
}

func TestApprovalLimitRoute(t *testing.T) {
	r := openRampart(t, vfstest.New(), rampart.Options{Approvals: rampart.ApprovalOptions{MaxPending: 1}})
	w := &web{t, r.Handler(testAuth()), adminToken}
	w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
	if rec := w.expect(503, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`); rec.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestBulkResolveRoute(t *testing.T) {
	r, w := newWeb(t, testAuth())
	var id []string
	for i := range 4 {
		q := question(i)
		if i == 3 {
			q.RunID = "run_2"
		}
		id = append(id, request(t, r.Approvals, q).ID)
	}
	var list struct {
		Groups []struct {
			RunID    string    `json:"run_id"`
			Agent    string    `json:"agent"`
			Session  string    `json:"session"`
			Count    int       `json:"count"`
			Earliest time.Time `json:"earliest_created_at"`
			Items    []struct{ ID string }
		} `json:"run_groups"`
	}
	rec := w.expect(200, "", "GET", "/v1/approvals", "")
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || len(list.Groups) != 1 || list.Groups[0].Count != 3 ||
		list.Groups[0].RunID != "run_1" || list.Groups[0].Items[2].ID != id[2] || !list.Groups[0].Earliest.Equal(r.Approvals.List(rampart.ApprovalFilter{})[0].CreatedAt) {
		t.Errorf("%+v (%v)", list, err)
	}
	const bulk = "/v1/approvals/bulk-resolve"
	for body, status := range map[string]int{
		`{"action":"approve"}`:                                                          400,
		`{"run_id":"","action":"approve"}`:                                              400,
		`{"run_id":"run_1"}`:                                                            400,
		`{"run_id":"run_1","action":"approved"}`:                                        400,
		`{"run_id":"run_1","action":"approve","ids":[]}`:                                400,
		`{"run_id":"run_1","action":"approve","ids":null}`:                              400,
		`{"run_id":"run_1","action":"approve","ids":"x"}`:                               400,
		`{"run_id":"run_1","action":"approve","ids":[7]}`:                               400,
		`{"run_id":"run_1","action":"approve","scope":"run"}`:                           400,
		`{"run_id":"run_1","action":"approve","scope":"all"}`:                           400,
		`{"run_id":"run_1","action":"approve","ids":["` + id[0] + `","x"]}`:             409,
		`{"run_id":"run_1","action":"approve","ids":["` + id[3] + `"]}`:                 409,
		`{"run_id":"run_1","action":"approve","ids":["` + id[0] + `","` + id[0] + `"]}`: 400,
	} {
		w.expect(status, "", "POST", bulk, body)
	}
	const none = `{"resolved":0,"ids":[]}`
	w.expect(200, none, "POST", bulk, `{"run_id":"run_1","action":"approve","agent":"nobody"}`)
	w.expect(200, none, "POST", bulk, `{"run_id":"nowhere","action":"approve"}`)
	if n := r.Chain.Stats().Events; n != 4 {
		t.Fatalf("%d events were written", n-4)
	}
	w.expect(200, `{"resolved":1,"ids":["`+id[1]+`"]}`, "POST", bulk, `{"run_id":"run_1","action":"deny","ids":["`+id[1]+`"]}`)
	w.expect(200, `{"resolved":2,"ids":["`+id[0]+`","`+id[2]+`"]}`, "POST", bulk, `{"run_id":"run_1","action":"approve","scope":"pending","agent":"claude-code","session":"myapp/main","resolved_by":"kim"}`)
	got := []rampart.ApprovalStatus{}
	for _, i := range id {
		got = append(got, statuses(r.Approvals)[i])
	}
	if diff := cmp.Diff([]rampart.ApprovalStatus{rampart.Approved, rampart.Denied, rampart.Approved, rampart.Pending}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWaitParameter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		q := question(1)
		q.TTL = 10 * time.Minute
		p := request(t, r.Approvals, q)
		for wait, want := range map[string]time.Duration{"0s": 0, "1500ms": 1500 * time.Millisecond, "60s": time.Minute, "2h": time.Minute} {
			began := time.Now()
			rec := w.expect(200, "", "GET", "/v1/approvals/"+p.ID+"?wait="+wait, "")
			if took := time.Since(began); took != want || !strings.Contains(rec.Body.String(), `"status":"pending"`) {
				t.Errorf("wait=%s: after %v, %s", wait, took, rec.Body)
			}
		}
		for _, wait := range []string{"", "30", "-1s", "soon", "%zz", "1s;"} {
			w.expect(400, "", "GET", "/v1/approvals/"+p.ID+"?wait="+wait, "")
		}
		w.expect(400, "", "GET", "/v1/approvals?status=%zz", "")
	})
}

// A long wait outlives the server's own time limits, tells its answer at once,
// and ends with its client.
func TestWaitOnAServerWithTimeouts(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := newWeb(t, testAuth())
				var conns atomic.Int32
				site := newSite(t, w.h, func(s *http.Server, tr *http.Transport) {
					s.ReadTimeout, s.WriteTimeout = time.Second, time.Second
					if http2 {
						p := new(http.Protocols)
						p.SetUnencryptedHTTP2(true)
						s.Protocols, tr.Protocols = p, p
					}
					s.ConnState = func(_ net.Conn, state http.ConnState) {
						if state == http.StateNew {
							conns.Add(1)
						}
					}
				})
				get := func(ctx context.Context, id string) (string, error) {
					req, err := http.NewRequestWithContext(ctx, "GET", "http://rampart/v1/approvals/"+id+"?wait=60s", nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Authorization", "Bearer "+adminToken)
					resp, err := site.client.Do(req)
					if err != nil {
						return "", err
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					return resp.Status + string(body), err
				}
				p := request(t, r.Approvals, question(1))
				began := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(40 * time.Second)
					if _, err := r.Approvals.Resolve(context.Background(), p.ID, yes); err != nil {
						t.Error(err)
					}
				})
				got, err := get(t.Context(), p.ID)
				if err != nil || !strings.HasPrefix(got, "200") || !strings.Contains(got, `"status":"approved"`) || time.Since(began) != 40*time.Second {
					t.Errorf("after %v: %s, %v", time.Since(began), got, err)
				}
				wg.Wait()

				p = request(t, r.Approvals, question(2))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := get(ctx, p.ID); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				synctest.Wait()
				idle := make(chan struct{})
				go func() { defer close(idle); _ = site.server.Shutdown(context.Background()) }()
				began = time.Now()
				<-idle
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the handler of a client that left went on for %v", took)
				}
				if n := conns.Load(); n != 1 {
					t.Errorf("%d connections, want one", n)
				}
			})
		})
	}
}

// A download goes on as long as its client takes bytes, and its time limit does not
// stay on the connection.
func TestDownloadOutlivesWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		saved := appendBulk(t, r.Chain, 40, 10_000)
		for _, limit := range []time.Duration{0, 5 * time.Second} {
			site := newSite(t, w.h, func(s *http.Server, _ *http.Transport) { s.WriteTimeout = limit })
			conn, err := site.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, rest := range []time.Duration{2 * time.Second, 0} {
				go fmt.Fprintf(conn, "GET /v1/audit/export?date=2026-03-03 HTTP/1.1\r\nHost: rampart\r\nAuthorization: Bearer %s\r\n\r\n", adminToken)
				resp, err := http.ReadResponse(bufio.NewReader(slowly{conn, rest}), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if n := bytes.Count(body, []byte("\n")); err != nil || n != len(saved) {
					t.Errorf("WriteTimeout %v: %d lines, %v", limit, n, err)
				}
				time.Sleep(2 * time.Minute)
			}
		}
	})
}

// slowly rests before each read.
type slowly struct {
	io.Reader
	rest time.Duration
}

func (s slowly) Read(b []byte) (int, error) {
	time.Sleep(s.rest)
	return s.Reader.Read(b[:min(len(b), 32<<10)])
}

// A change that can't be made durable is answered with 503, and did not happen.
func TestRoutesFailClosed(t *testing.T) {
	fs := vfstest.New()
	r := openRampart(t, fs, rampart.Options{})
	w := &web{t, r.Handler(testAuth()), adminToken}
	p := request(t, r.Approvals, question(1))
	for route, body := range map[string]string{
		"/v1/audit/events":                   `{"agent":"a","tool":"t","decision":{"action":"allow"}}`,
		"/v1/approvals":                      `{"agent":"a","tool":"t","command":"ls"}`,
		"/v1/approvals/" + p.ID + "/resolve": `{"approved":true}`,
		"/v1/approvals/bulk-resolve":         `{"run_id":"run_1","action":"approve"}`,
	} {
		fs.FailAt(1, errDisk, false)
		w.expect(503, "", "POST", route, body)
	}
	if got := r.Approvals.List(rampart.ApprovalFilter{}); len(got) != 1 || r.Chain.Stats().Events != 1 {
		t.Errorf("%d events, pending %v", r.Chain.Stats().Events, got)
	}
	w.expect(200, "", "GET", "/healthz", "")
	w.expect(200, "", "POST", "/v1/approvals/"+p.ID+"/resolve", `{"approved":true}`)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, route := range []string{"GET /healthz", "GET /v1/audit/events", "GET /v1/audit/dates", "GET /v1/approvals/" + p.ID, "HEAD /v1/events/stream"} {
		f := strings.Fields(route)
		w.expect(503, "", f[0], f[1], "")
	}
	w.expect(503, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
}

// An answer that could not be read to its end was broken off, and the host's
// log said nothing of it.
func TestAnswerThatIsBrokenOffIsLogged(t *testing.T) {
	for _, path := range []string{"/v1/audit/events?order=asc", "/v1/audit/export?since=2026-01-01T00:00:00Z"} {
		fs, logs := vfstest.New(), new(bytes.Buffer)
		r := openRampart(t, fs, rampart.Options{Logger: slog.New(slog.NewTextHandler(logs, nil))})
		first := 0
		for r.Chain.Stats().Segments < 2 {
			appendN(t, r.Chain, 1)
			first++
		}
		if err := fs.Remove(segmentName(first)); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("GET %s: %v", path, got)
				}
			}()
			(&web{t, r.Handler(testAuth()), adminToken}).send("GET", path, "")
		}()
		if got := logs.String(); !strings.Contains(got, "broken off") || !strings.Contains(got, segmentName(first)) {
			t.Errorf("GET %s: logged %q", path, got)
		}
	}
}

// unfinished is a body whose end does not come. What came of it is held, all the
// same.
type unfinished struct {
	io.Reader
	given chan struct{} // closed when all but the end was given
	stop  chan struct{}
}

func (e *unfinished) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		close(e.given)
		<-e.stop
	}
	return n, err
}

// The bodies of one credential may have 64 MiB at once. The host's log says nothing
// of a refusal: whoever can reach the limit could fill a disk with such lines.
func TestBodiesOfOneCredential(t *testing.T) {
	var logged bytes.Buffer
	r, err := rampart.Open(t.TempDir(), &rampart.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := r.Handler(testAuth())
	post := func(token string, body io.Reader) *httptest.ResponseRecorder {
		q := httptest.NewRequest("POST", "http://localhost/v1/audit/events", body)
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Content-Type", "application/x-ndjson")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, q)
		return rec
	}
	blank := func(n int) io.Reader { return strings.NewReader(strings.Repeat("\n", n)) }
	stop := make(chan struct{})
	var held sync.WaitGroup
	for range 2 {
		e := &unfinished{blank(31 << 20), make(chan struct{}), stop}
		held.Go(func() { post(adminToken, e) })
		<-e.given
	}
	if rec := post(adminToken, blank(3<<20)); rec.Code != 503 || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "one after the other") {
		t.Errorf("beyond the limit: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if rec := post(agentToken, blank(3<<20)); rec.Code == 503 {
		t.Errorf("another credential: %d %s", rec.Code, rec.Body)
	}
	close(stop)
	held.Wait()
	if rec := post(adminToken, blank(3<<20)); rec.Code == 503 {
		t.Errorf("once they were answered: %d %s", rec.Code, rec.Body)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %q", &logged)
	}
}

func segmentName(first int) string { return fmt.Sprintf("%020d.jsonl", first) }
