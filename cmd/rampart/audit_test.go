package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const eventsPath = "/v1/audit/events"

func TestAppendOne(t *testing.T) {
	d := start(t)
	got := d.do(claudeToken, "POST", eventsPath, event("claude-code", "ls")).want(http.StatusCreated)
	id := parse(t, d.lines()[0]).ID // on disk when the answer is there
	if want := fmt.Sprintf(`{"ids":[%q]}`, id); strings.TrimSpace(got.body) != want {
		t.Errorf("answer %s, want %s", got.body, want)
	}
	d.do(claudeToken, "POST", eventsPath, event("claude-code", "ls"), "Content-Type", "application/json; charset=utf-8").want(http.StatusCreated)
}

func TestAppendMany(t *testing.T) {
	d := start(t)
	ids := d.append(claudeToken, event("claude-code", "one"), event("claude-code", "two"), event("claude-code", "three"))
	lines := d.lines()
	if diff := cmp.Diff([]string{"one", "two", "three"}, commands(t, lines)); diff != "" {
		t.Error(diff)
	}
	for i, line := range lines {
		if parse(t, line).ID != ids[i] {
			t.Errorf("line %d is %s, the answer said %s", i, line, ids[i])
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != 3 {
		t.Errorf("ids do not rise: %v", ids)
	}
	d.do(claudeToken, "POST", eventsPath, event("claude-code", "no newline at the end"), "Content-Type", "application/x-ndjson").want(http.StatusCreated)
}

func TestAppendOneBadLineRefusesAll(t *testing.T) {
	d := start(t)
	bad := `{"agent":"a","tool":"exec","request":{},"decision":{"action":"allow"},"colour":"red"}`
	got := d.do(claudeToken, "POST", eventsPath, strings.Join([]string{event("a", "one"), event("a", "two"), bad, event("a", "four")}, "\n"),
		"Content-Type", "application/x-ndjson").want(http.StatusBadRequest)
	if fault := got.fault(); !regexp.MustCompile(`\bline 3\b`).MatchString(fault) || !strings.Contains(fault, "colour") {
		t.Errorf("the fault does not name line 3 and its member: %s", fault)
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

// TestAppendRefusals lists what strict checking refuses.
func TestAppendRefusals(t *testing.T) {
	d := start(t)
	with := func(member string) string {
		return `{"agent":"a","tool":"exec","request":{"command":"ls"},"decision":{"action":"allow"}` + member + `}`
	}
	for name, c := range map[string]struct{ body, says string }{
		"malformed":             {`{"agent":"a",}`, `\b1[23]\b`}, // the offset
		"cut off":               {`{"agent":"a"`, `\b1[12]\b`},
		"trailing":              {with("") + "x", `[0-9]`},
		"no object":             {`[]`, ``},
		"empty":                 {` `, ``},
		"wrong type":            {`{"agent":1,"tool":"exec","request":{},"decision":{"action":"allow"}}`, `agent`},
		"unknown member":        {with(`,"colour":"red"`), `colour`},
		"unknown of a decision": {`{"agent":"a","tool":"exec","request":{},"decision":{"action":"allow","colour":"red"}}`, `colour`},
		"letter case":           {with(`,"Session":"s"`), `Session`},
		"doubled":               {with(`,"agent":"b"`), `agent`},
		"doubled deep":          {`{"agent":"a","tool":"exec","request":{"x":{"y":1,"y":2}},"decision":{"action":"allow"}}`, `y`},
		"doubled by an escape":  {`{"agent":"a","tool":"exec","request":{"y":1,"\u0079":2},"decision":{"action":"allow"}}`, `y`},
		"invalid UTF-8":         {"{\"agent\":\"a\xff\",\"tool\":\"exec\",\"request\":{},\"decision\":{\"action\":\"allow\"}}", `[0-9]`},
		"request no object":     {`{"agent":"a","tool":"exec","request":"ls","decision":{"action":"allow"}}`, `request`},
		"too deep":              {`{"agent":"a","tool":"exec","request":{"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `},"decision":{"action":"allow"}}`, ``},
		"no action":             {`{"agent":"a","tool":"exec","request":{},"decision":{}}`, `action`},
		"upper-case action":     {`{"agent":"a","tool":"exec","request":{},"decision":{"action":"Allow"}}`, `action`},
		"approval":              {with(`,"approval":{"id":"x","status":"approved"}`), `approval`},
		"timestamp":             {with(`,"timestamp":"yesterday"`), `timestamp`},
	} {
		t.Run(name, func(t *testing.T) {
			fault := d.do(d.token, "POST", eventsPath, c.body).want(http.StatusBadRequest).fault()
			if !regexp.MustCompile(c.says).MatchString(fault) {
				t.Errorf("the fault %q does not say %s", fault, c.says)
			}
		})
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

func TestAppendSizeLimits(t *testing.T) {
	d := start(t)
	sized := func(n int) string {
		return fmt.Sprintf(`{"agent":"a","tool":"write","request":{"content":%q},"decision":{"action":"allow"}}`, strings.Repeat("x", n))
	}
	const mib = 1 << 20
	d.do(d.token, "POST", eventsPath, sized(mib)).want(http.StatusRequestEntityTooLarge).fault()
	d.do(d.token, "POST", eventsPath, event("a", "ok")+"\n"+sized(mib), "Content-Type", "application/x-ndjson").want(http.StatusRequestEntityTooLarge).fault()
	all := strings.Repeat(sized(mib-1000)+"\n", 33)
	resp, err := httpClient.Do(d.request(d.token, "POST", eventsPath, all, "Content-Type", "application/x-ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("33 MiB: %s", resp.Status)
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
	d.do(d.token, "POST", eventsPath, sized(mib-1000)).want(http.StatusCreated)
}

func TestContentTypes(t *testing.T) {
	d := start(t)
	for _, c := range []struct{ path, body string }{
		{eventsPath, event("a", "ls")},
		{"/v1/approvals", `{"tool":"exec","agent":"a","message":"m","command":"ls"}`},
		{"/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", `{"approved":true}`},
		{"/v1/approvals/bulk-resolve", `{"run_id":"r","action":"approve"}`},
	} {
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";"} {
			d.admin("POST", c.path, c.body, "Content-Type", contentType).want(http.StatusUnsupportedMediaType).fault()
		}
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

func TestEventKeyOrder(t *testing.T) {
	d := start(t)
	d.append(d.token,
		`{"decision":{"suggestions":["x"],"message":"m","evaluation_time_us":1,"matched_policies":["p"],"action":"deny"},`+
			`"response":{"flags":["f"],"duration_ms":2,"exit_code":0},"request":{"b":1,"a":2},"tool":"exec","tool_call_id":"c","run_id":"r","session":"s","agent":"a","timestamp":"2026-03-03T11:15:30.5+01:00"}`,
		`{"agent":"a","tool":"exec","request":{},"decision":{"action":"allow"}}`)
	full, least := d.lines()[0], d.lines()[1]
	want := `","timestamp":"2026-03-03T10:15:30.5Z","agent":"a","session":"s","run_id":"r","tool_call_id":"c","tool":"exec",` +
		`"request":{"b":1,"a":2},"decision":{"action":"deny","matched_policies":["p"],"evaluation_time_us":1,"message":"m","suggestions":["x"]},` +
		`"response":{"exit_code":0,"duration_ms":2,"flags":["f"]},"prev_hash":"` + strings.Repeat("0", 64) + `","hash":"` + parse(t, full).Hash + `"}`
	if got := full[len(`{"id":"`)+26:]; got != want {
		t.Errorf("stored\n%s\nwant\n%s", got, want)
	}
	e := parse(t, least)
	want = fmt.Sprintf(`{"id":%q,"timestamp":%q,"agent":"a","session":"","tool":"exec","request":{},"decision":{"action":"allow","matched_policies":[],"evaluation_time_us":0},"prev_hash":%q,"hash":%q}`,
		e.ID, e.Timestamp.Format(time.RFC3339Nano), e.PrevHash, e.Hash)
	if least != want {
		t.Errorf("what is empty:\n%s\nwant\n%s", least, want)
	}
	if since := time.Since(e.Timestamp); since < 0 || since > patience {
		t.Errorf("its timestamp is not the time of appending: %v", e.Timestamp)
	}
}

func TestRequestIsKeptByteForByte(t *testing.T) {
	d := start(t)
	var events, want []string
	for _, request := range []string{
		`{"n":12345678901234567890,"f":1.50,"e":1E+2,"z":-0}`,
		`{"s":"\u003c\/\ud83d\ude00é😀\u0000"}`,
		`{"lone":"\ud800"}`,
		`{"Action":"x","action":"y"}`,
		`{"":{"":[[],{},null,true]}}`,
		`{"text":"data: x\nid: 7\n\nevent: y\r\u2028"}`,
	} {
		events = append(events, `{"agent":"a","tool":"x","request":`+request+`,"decision":{"action":"allow"}}`)
		want = append(want, request)
	}
	events = append(events, "{\"agent\":\"a\",\"tool\":\"x\",\"request\": { \"a b\" :\t[ 1 , 2 ] } ,\"decision\":{\"action\":\"allow\"}}")
	want = append(want, `{"a b":[1,2]}`)

	w := d.watch("type=audit")
	d.append(d.token, events...)
	page := d.query("order=asc")
	for i, line := range d.lines() {
		if !strings.Contains(line, `"request":`+want[i]+`,"decision"`) {
			t.Errorf("stored %s, want in it %s", line, want[i])
		}
		if got := string(page.Events[i]); got != line {
			t.Errorf("the page has %s, the log %s", got, line)
		}
		if got := w.audit(); got != line {
			t.Errorf("the stream has %s, the log %s", got, line)
		}
	}
}

func TestHashChain(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "one"), event("a", "two"), `{"agent":"a","tool":"x","request":{"fake":",\"hash\":\"`+strings.Repeat("0", 64)+`\"}"},"decision":{"action":"allow"}}`)
	d.askFor("ask")
	checkHashes(t, d.lines())
}

// tail is what the recipe of the contract takes out of a line.
var tail = regexp.MustCompile(`,"hash":"[0-9a-f]{64}"\}$`)

// checkHashes recomputes every hash and link from the bytes alone.
func checkHashes(t *testing.T, lines []string) {
	t.Helper()
	prev := strings.Repeat("0", 64)
	for i, line := range lines {
		e := parse(t, line)
		sum := sha256.Sum256([]byte(tail.ReplaceAllString(line, "}")))
		if got := hex.EncodeToString(sum[:]); got != e.Hash {
			t.Fatalf("line %d: hash %s, the recipe gives %s", i+1, e.Hash, got)
		}
		if e.PrevHash != prev {
			t.Fatalf("line %d: prev_hash %s, want %s", i+1, e.PrevHash, prev)
		}
		prev = e.Hash
	}
}

// feed is a log for the queries: ten events over three days.
func feed(t *testing.T) *daemon {
	d := start(t)
	base := time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC)
	var events []string
	for i := range 10 {
		events = append(events, fmt.Sprintf(`{"timestamp":%q,"agent":"a%d","session":"s%d","run_id":"r%d","tool":"t%d","request":{"command":"%d"},"decision":{"action":%q}}`,
			base.Add(time.Duration(i)*3*time.Hour).Format(time.RFC3339), i%2, i%3, i%4, i%5, i, []string{"allow", "deny", "watch"}[i%3]))
	}
	d.append(d.token, events...)
	return d
}

func TestQuery(t *testing.T) {
	d := feed(t)
	lines := d.lines()
	id := func(i int) string { return parse(t, lines[i]).ID }
	for query, want := range map[string]string{
		"":                                  "9 8 7 6 5 4 3 2 1 0",
		"order=asc":                         "0 1 2 3 4 5 6 7 8 9",
		"limit=3":                           "9 8 7",
		"limit=3&offset=2":                  "7 6 5",
		"offset=20":                         "",
		"order=asc&limit=2&offset=8":        "8 9",
		"agent=a1":                          "9 7 5 3 1",
		"session=s2":                        "8 5 2",
		"tool=t0":                           "5 0",
		"action=deny":                       "7 4 1",
		"run_id=r3":                         "7 3",
		"agent=a1&action=deny":              "7 1",
		"tool=t0&tool=t1":                   "6 5 1 0",
		"agent=nobody":                      "",
		"date=2026-03-01":                   "0",
		"date=2026-03-02":                   "8 7 6 5 4 3 2 1",
		"date=2026-03-09":                   "",
		"since=2026-03-02T22:00:00Z":        "9 8",
		"until=2026-03-02T01:00:00Z":        "0",
		"since=2026-03-02T02:00:00%2B01:00": "9 8 7 6 5 4 3 2 1",
		"since=2026-03-02T01:00:00Z&until=2026-03-02T07:00:00Z": "2 1",
		"after=" + id(7):  "9 8",
		"before=" + id(2): "1 0",
		"order=asc&after=" + id(3) + "&before=" + id(6): "4 5",
	} {
		got := strings.Join(commands(t, d.query(query).Events), " ")
		if got != want {
			t.Errorf("?%s: %s, want %s", query, got, want)
		}
	}
}

func TestQueryAnswer(t *testing.T) {
	d := feed(t)
	got := d.admin("GET", eventsPath+"?limit=2&date=2026-03-02", "").want(http.StatusOK)
	if h := got.header.Get("Content-Type"); h != "application/json" {
		t.Errorf("Content-Type: %s", h)
	}
	if diff := cmp.Diff([]string{"events", "next_offset", "next_cursor", "date"}, keys(t, got.body)); diff != "" {
		t.Error(diff)
	}
	var p page
	got.into(&p)
	if p.NextOffset != 2 || p.NextCursor == "" || p.Date != "2026-03-02" {
		t.Errorf("%+v", p)
	}
	last := d.query("limit=50")
	if last.NextOffset != 0 || last.NextCursor != "" {
		t.Errorf("at the end: next_offset %d, next_cursor %q", last.NextOffset, last.NextCursor)
	}
	empty := d.admin("GET", eventsPath+"?agent=nobody", "").want(http.StatusOK)
	if !strings.HasPrefix(empty.body, `{"events":[]`) {
		t.Errorf("nothing found: %s", empty.body)
	}
}

func TestQueryLimits(t *testing.T) {
	d := start(t)
	var events []string
	for i := range 600 {
		events = append(events, event("a", fmt.Sprint(i)))
	}
	d.append(d.token, events...)
	for query, want := range map[string]int{"": 50, "limit=1": 1, "limit=500": 500, "limit=501": 500, "limit=99999999999999999999": 500} {
		if got := len(d.query(query).Events); got != want {
			t.Errorf("?%s: %d events, want %d", query, got, want)
		}
	}
}

// TestQueryPages walks the log page by page while events arrive.
func TestQueryPages(t *testing.T) {
	d := feed(t)
	for _, order := range []string{"asc", "desc"} {
		want := commands(t, d.query("limit=500&order="+order).Events)
		var got []string
		next := ""
		for {
			p := d.query("limit=3&order=" + order + "&cursor=" + url.QueryEscape(next))
			got = append(got, commands(t, p.Events)...)
			if next = p.NextCursor; next == "" {
				break
			}
			if order == "desc" {
				d.append(d.token, event("late", "late"))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", order, diff)
		}
	}
}

func TestQueryOffsets(t *testing.T) {
	d := feed(t)
	want := commands(t, d.query("").Events)
	var got []string
	for offset := 0; ; {
		p := d.query(fmt.Sprintf("limit=4&offset=%d", offset))
		got = append(got, commands(t, p.Events)...)
		if offset = p.NextOffset; offset == 0 {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestQueryBadParametersAreNamed(t *testing.T) {
	d := feed(t)
	for query, name := range map[string]string{
		"limit=x":                     "limit",
		"limit=0":                     "limit",
		"limit=-1":                    "limit",
		"limit=-99999999999999999999": "limit",
		"offset=-1":                   "offset",
		"offset=x":                    "offset",
		"cursor=x":                    "cursor",
		"order=up":                    "order",
		"date=yesterday":              "date",
		"date=2026-02-30":             "date",
		"since=yesterday":             "since",
		"until=2026-03-02":            "until",
		"after=x":                     "after",
		"before=x":                    "before",
	} {
		fault := d.admin("GET", eventsPath+"?"+query, "").want(http.StatusBadRequest).fault()
		if !strings.Contains(fault, name) {
			t.Errorf("?%s: the fault does not name it: %s", query, fault)
		}
	}
}

func TestGetOne(t *testing.T) {
	d := feed(t)
	for _, line := range d.lines() {
		got := d.admin("GET", eventsPath+"/"+parse(t, line).ID, "").want(http.StatusOK)
		if strings.TrimSuffix(got.body, "\n") != line {
			t.Errorf("got %s, want %s", got.body, line)
		}
	}
	for _, id := range []string{"01ARZ3NDEKTSV4RRFFQ69G5FAV", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "nonsense"} {
		d.admin("GET", eventsPath+"/"+id, "").want(http.StatusNotFound).fault()
	}
}

func TestDates(t *testing.T) {
	d := start(t)
	if got := strings.TrimSpace(d.admin("GET", "/v1/audit/dates", "").want(http.StatusOK).body); got != `{"dates":[],"configured":true}` {
		t.Errorf("of an empty log: %s", got)
	}
	d = feed(t)
	want := `{"dates":["2026-03-03","2026-03-02","2026-03-01"],"configured":true}`
	if got := strings.TrimSpace(d.admin("GET", "/v1/audit/dates", "").want(http.StatusOK).body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStats(t *testing.T) {
	d := feed(t)
	count := func(query string) map[string]any {
		return d.admin("GET", "/v1/audit/stats"+query, "").want(http.StatusOK).object()
	}
	want := map[string]any{
		"total_events": 10.0,
		"by_action":    map[string]any{"allow": 4.0, "deny": 3.0, "watch": 3.0},
		"by_tool":      map[string]any{"t0": 2.0, "t1": 2.0, "t2": 2.0, "t3": 2.0, "t4": 2.0},
		"by_agent":     map[string]any{"a0": 5.0, "a1": 5.0},
		"by_session":   map[string]any{"s0": 4.0, "s1": 3.0, "s2": 3.0},
	}
	if diff := cmp.Diff(want, count("")); diff != "" {
		t.Error(diff)
	}
	if got := count("?from=2026-03-01&to=2026-03-01")["total_events"]; got != 1.0 {
		t.Errorf("of one day: %v", got)
	}
	if got := count("?from=2026-03-02&to=2026-03-03")["total_events"]; got != 9.0 {
		t.Errorf("of two days: %v", got)
	}
	want = map[string]any{"from": "2026-03-02T00:00:00Z", "total_events": 8.0, "by_action": map[string]any{"allow": 2.0, "deny": 3.0, "watch": 3.0}}
	if got := count("?from=2026-03-01&to=2026-03-04&interval=24h")["intervals"].([]any); len(got) != 4 || !cmp.Equal(want, got[1]) {
		t.Errorf("by days: %v", got)
	}
	for _, query := range []string{"from=x", "to=x", "interval=x", "interval=1h"} {
		fault := d.admin("GET", "/v1/audit/stats?"+query, "").want(http.StatusBadRequest).fault()
		if name, _, _ := strings.Cut(query, "="); !strings.Contains(fault, name) {
			t.Errorf("?%s: %s", query, fault)
		}
	}
}

func TestExport(t *testing.T) {
	d := feed(t)
	lines := d.lines()
	for query, want := range map[string][]string{
		"?date=2026-03-02":               lines[1:9],
		"?date=2026-03-01":               lines[:1],
		"?from=2026-03-02&to=2026-03-03": lines[1:],
	} {
		got := d.admin("GET", "/v1/audit/export"+query, "").want(http.StatusOK)
		if got.body != strings.Join(want, "\n")+"\n" {
			t.Errorf("%s: %s", query, got.body)
		}
		if h := got.header.Get("Content-Type"); h != "application/jsonl" {
			t.Errorf("Content-Type: %s", h)
		}
		if h := got.header.Get("Content-Disposition"); !strings.HasPrefix(h, "attachment") {
			t.Errorf("Content-Disposition: %s", h)
		}
	}
	d.admin("GET", "/v1/audit/export?date=2026-03-09", "").want(http.StatusNotFound).fault()
	d.admin("GET", "/v1/audit/export?date=x", "").want(http.StatusBadRequest).fault()
}

func TestVerify(t *testing.T) {
	d := feed(t)
	lines := d.lines()
	first, last := parse(t, lines[0]), parse(t, lines[9])
	want := map[string]any{"ok": true, "events": 10.0, "first_id": first.ID, "last_id": last.ID, "head_hash": last.Hash}
	got := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK).object()
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: %v, want %v", name, got[name], v)
		}
	}
	noted := parse(t, lines[4])
	anchor := func(id, hash string) any {
		return d.admin("GET", "/v1/audit/verify?id="+id+"&hash="+hash, "").want(http.StatusOK).object()["ok"]
	}
	if anchor(noted.ID, noted.Hash) != true {
		t.Error("an event that is there is not found")
	}
	if anchor(noted.ID, last.Hash) != false || anchor("01ARZ3NDEKTSV4RRFFQ69G5FAV", noted.Hash) != false {
		t.Error("an event that is not there is found")
	}
	if d.admin("GET", "/v1/audit/verify?id="+noted.ID, "").want(http.StatusOK).object()["ok"] != true {
		t.Error("an id alone proves presence")
	}
	for _, query := range []string{"hash=" + noted.Hash, "id=x&hash=" + noted.Hash, "id=" + noted.ID + "&hash=x"} {
		d.admin("GET", "/v1/audit/verify?"+query, "").want(http.StatusBadRequest).fault()
	}
}

// TestVerifyNamesTheTamperedLine edits the log behind the running daemon's back.
func TestVerifyNamesTheTamperedLine(t *testing.T) {
	d := feed(t)
	lines := d.lines()
	edit := func(from, to string) {
		segment := d.dir + "/audit/00000000000000000001.jsonl"
		data := readFile(t, segment)
		if !bytes.Contains(data, []byte(from)) {
			t.Fatalf("%s is not in the log", from)
		}
		writeFile(t, d.dir+"/audit", "00000000000000000001.jsonl", string(bytes.Replace(data, []byte(from), []byte(to), 1)), 0o600)
	}
	edit(`{"command":"4"}`, `{"command":"5"}`)
	got := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK)
	if got.object()["ok"] != false {
		t.Fatalf("an edited line is not seen: %s", got.body)
	}
	for _, want := range []string{"00000000000000000001.jsonl", parse(t, lines[4]).ID, `:5`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the verdict does not name %s: %s", want, got.body)
		}
	}
	edit(`{"command":"5"}`, `{"command":"4"}`)
}

func TestAppendWhileMany(t *testing.T) {
	d := start(t)
	ids := make(chan string)
	const writers, each = 8, 25
	for range writers {
		go func() {
			for i := range each {
				ids <- d.append(claudeToken, event("claude-code", fmt.Sprint(i)))[0]
			}
		}()
	}
	acknowledged := make(map[string]bool)
	for range writers * each {
		acknowledged[<-ids] = true
	}
	lines := d.lines()
	for _, line := range lines {
		delete(acknowledged, parse(t, line).ID)
	}
	if len(lines) != writers*each || len(acknowledged) > 0 {
		t.Errorf("%d lines; acknowledged and missing: %v", len(lines), acknowledged)
	}
	checkHashes(t, lines)
}
