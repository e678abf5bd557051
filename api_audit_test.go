package rampart_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

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

func segmentName(first int) string { return fmt.Sprintf("%020d.jsonl", first) }
