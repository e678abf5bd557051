package rampart_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// refusal wants an answer that refuses the request, with a reason in JSON, and
// returns the reason.
func refusal(t *testing.T, rec *httptest.ResponseRecorder) (says string) {
	t.Helper()
	var answer struct{ Error string }
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || answer.Error == "" || rec.Code >= 500 || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %q", rec.Code, rec.Header(), rec.Body)
	}
	return answer.Error
}

// period is the time that parameters with these names choose.
func period(t *testing.T, v url.Values, names ...string) (q rampart.Query) {
	t.Helper()
	for _, name := range names {
		s := v.Get(name)
		if s == "" {
			continue
		}
		from, err := time.Parse(time.DateOnly, s)
		until := from.Add(24 * time.Hour)
		if err != nil && name != "date" {
			from, err = time.Parse(time.RFC3339, s)
			until = from
		}
		if err != nil {
			t.Fatalf("%s=%q was taken", name, s)
		}
		if name != "to" && name != "until" && from.After(q.Since) {
			q.Since = from
		}
		if until.IsZero() { // zero would mean open; no event is that old
			until = until.Add(-1)
		}
		if name != "from" && name != "since" && (q.Until.IsZero() || until.Before(q.Until)) {
			q.Until = until
		}
	}
	return q
}

// asked works out anew what a query string asks of GET /v1/audit/events.
func asked(t *testing.T, raw string) (q rampart.Query, limit, offset int) {
	t.Helper()
	v, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatalf("%q was answered: %v", raw, err)
	}
	number := func(name string, absent, least, most int64) int {
		if v.Get(name) == "" {
			return int(absent)
		}
		n, ok := new(big.Int).SetString(v.Get(name), 10)
		if !ok || n.Cmp(big.NewInt(least)) < 0 {
			t.Fatalf("%s=%q was taken", name, v.Get(name))
		}
		if n.Cmp(big.NewInt(most)) > 0 {
			return int(most)
		}
		return int(n.Int64())
	}
	given := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(v[name]), func(s string) bool { return s == "" })
	}
	q = period(t, v, "date", "since", "until")
	q.Agent, q.Session, q.Tool, q.Action, q.RunID = given("agent"), given("session"), given("tool"), given("action"), given("run_id")
	q.After, q.Before, q.Ascending = v.Get("after"), v.Get("before"), v.Get("order") == "asc"
	if c := v.Get("cursor"); c != "" && q.Ascending {
		q.After = max(q.After, c)
	} else if c != "" && (q.Before == "" || c < q.Before) {
		q.Before = c
	}
	return q, number("limit", 50, 1, 500), number("offset", 0, 0, 1<<30)
}

// Whatever stands in a query string, the answer is what a loop over all events
// gives, or says what is wrong with the question.
func FuzzQuery(f *testing.F) {
	r, w := newWeb(f, testAuth())
	events := varied(f, r.Chain, rand.New(rand.NewPCG(1, 2)), 60)
	ids := func(list []rampart.AuditEvent) (out []string) {
		for _, e := range list {
			out = append(out, e.ID)
		}
		return out
	}
	whole := ids(events)
	paths := []string{"/v1/audit/events", "/v1/audit/export", "/v1/audit/stats", "/v1/audit/verify", "/v1/audit/dates", "/v1/approvals", "/v1/approvals/" + events[0].ID}
	for i, s := range []string{
		"", "limit=3&offset=2&order=asc", "agent=codex&agent=&action=deny&session=x", "cursor=" + whole[30] + "&limit=2", "after=" + whole[3] + "&before=" + whole[9],
		"before=" + whole[9] + "&cursor=" + whole[30], "before=" + whole[30] + "&cursor=" + whole[9], "order=asc&after=" + whole[9] + "&cursor=" + whole[30], "order=asc&after=" + whole[30] + "&cursor=" + whole[9],
		"date=2026-03-03&since=2026-03-03T05:00:00Z&until=2026-03-03T09:00:00.5%2B02:00", "limit=99999999999999999999&offset=99999999999999999999",
		"limit=999999999999999999999x", "limit=0", "limit=-1", "limit=+7", "limit=1e2", "limit=%00", "agent=a%22b%E2%80%A8", "agent=%ff", "agent=a;b", "%zz", "=&=&&", "date=0000-01-01", "date=0000-12-31", "until=0001-01-01T00:00:00Z", "date=9999-12-31",
		"since=0000-01-01T00:00:00%2B23:59&until=9999-12-31T23:59:60Z", "order=desc&cursor=0&cursor=" + whole[1], "tool=" + strings.Repeat("x", 1000),
		"from=2026-03-03&to=2026-03-03", "from=2026-03-03T01:00:00Z", "to=9999-12-31", "date=2026-03-03",
		"from=2026-03-03&to=2026-03-04&interval=7h", "from=2026-03-03T01:00:00.5Z&to=2026-03-03T09:00:00%2B02:00&interval=90s", "from=2026-03-04&to=2026-03-03&interval=1h",
		"from=0001-01-01&to=9999-12-31&interval=876600h", "from=0000-01-01&to=0000-10-01&interval=100h", "from=0000-01-01T00:00:00%2B23:59&to=0000-01-01&interval=1h", "from=2026-03-03&to=2026-03-03&interval=1s", "interval=1h", "from=2026-03-03&to=2026-03-03&interval=1e9h", "from=2026-03-03&to=2026-03-03&interval=87s",
		"id=" + events[7].ID, "id=" + events[7].ID + "&hash=" + events[7].Hash, "id=" + events[7].ID + "&hash=" + events[8].Hash[:16], "hash=x", "id=7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
		"status=approved", "status=x", "wait=1s", "wait=1e9h", strings.Repeat("agent=x&", 300),
	} {
		for _, path := range []int{i, 0, 2} {
			f.Add(uint8(path), s)
		}
	}
	f.Fuzz(func(t *testing.T, path uint8, raw string) {
		req := httptest.NewRequest("GET", paths[int(path)%len(paths)], nil)
		req.URL.RawQuery = raw
		req.Header.Set("Authorization", "Bearer "+adminToken)
		var rec *httptest.ResponseRecorder
		heaptest.Bound(t, len(raw)+100_000, func() { // a verification needs buffers
			rec = httptest.NewRecorder()
			w.h.ServeHTTP(rec, req)
		})
		if rec.Code != 200 {
			says := refusal(t, rec)
			if rec.Code == 404 && (strings.HasSuffix(req.URL.Path, "/export") && strings.HasPrefix(says, "no events") || strings.HasSuffix(req.URL.Path, events[0].ID)) {
				return
			}
			if rec.Code != 400 || !strings.HasPrefix(says, "the query string") && !strings.HasPrefix(says, "parameter ") && !strings.Contains(says, "anchor") {
				t.Fatalf("%s?%q: %d %s", req.URL.Path, raw, rec.Code, says)
			}
			return
		}
		v, err := url.ParseQuery(raw)
		if err != nil {
			if strings.HasSuffix(req.URL.Path, "/dates") { // that route takes no parameters
				return
			}
			t.Fatalf("%q was answered: %v", raw, err)
		}
		switch req.URL.Path {
		case "/v1/audit/events":
			q, limit, offset := asked(t, raw)
			want := plain(events, q)
			want = want[min(offset, len(want)):]
			next, cursor := 0, ""
			if len(want) > limit {
				want = want[:limit]
				next, cursor = offset+limit, want[limit-1]
			}
			var page struct {
				Events []rampart.AuditEvent
				Next   int    `json:"next_offset"`
				Cursor string `json:"next_cursor"`
				Date   string
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			if got := ids(page.Events); !slices.Equal(got, want) || page.Next != next || page.Cursor != cursor || page.Date != v.Get("date") {
				t.Errorf("%q: next %d %q, want %d %q (-want +got):\n%s", raw, page.Next, page.Cursor, next, cursor, cmp.Diff(want, got))
			}
		case "/v1/audit/export":
			q := period(t, v, "date", "from", "to", "since", "until")
			q.Ascending = true
			var got []string
			for line := range strings.Lines(rec.Body.String()) {
				got = append(got, rampart.Record(strings.TrimSuffix(line, "\n")).ID())
			}
			if diff := cmp.Diff(plain(events, q), got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", raw, diff)
			}
		case "/v1/audit/stats":
			var totals rampart.Totals
			q := period(t, v, "from", "to")
			if err := json.Unmarshal(rec.Body.Bytes(), &totals); err != nil || int(totals.Events) != len(plain(events, q)) {
				t.Errorf("%q: %s", raw, rec.Body)
			}
			var want []rampart.Interval
			if s := v.Get("interval"); s != "" {
				every, err := time.ParseDuration(s)
				if err != nil || every < time.Second || v.Get("from") == "" || v.Get("to") == "" {
					t.Fatalf("%q was taken", raw)
				}
				since, err := time.Parse(time.DateOnly, v.Get("from")) // may be before the zero time, which stands for none
				if err != nil {
					since, _ = time.Parse(time.RFC3339, v.Get("from"))
				}
				if since.IsZero() {
					since = since.Add(1)
				}
				want = everyOf(events, since, q.Until, every)
			}
			if diff := cmp.Diff(want, totals.Intervals); diff != "" || len(want) > 1000 {
				t.Errorf("%q (-want +got):\n%s", raw, diff)
			}
		case "/v1/audit/verify":
			var verdict struct{ OK bool }
			if err := json.Unmarshal(rec.Body.Bytes(), &verdict); err != nil {
				t.Fatal(err)
			}
			at := slices.Index(whole, v.Get("id"))
			if want := !v.Has("id") && !v.Has("hash") || at >= 0 && strings.HasPrefix(events[at].Hash, v.Get("hash")); verdict.OK != want {
				t.Errorf("%q: %s", raw, rec.Body)
			}
		}
	})
}

// following works out anew what a stream sends for a position and a query, on a log
// to which nothing is appended.
func following(t *testing.T, c *rampart.AuditChain, events []rampart.AuditEvent, frames []string, after string, v url.Values) string {
	t.Helper()
	shows := func(types ...string) bool {
		return len(v["type"]) == 0 || slices.ContainsFunc(types, func(s string) bool { return slices.Contains(v["type"], s) })
	}
	head := position(events[len(events)-1])
	if after == "" {
		return connectedFrame(head)
	}
	id, hash, dotted := strings.Cut(after, ".")
	at := slices.IndexFunc(events, func(e rampart.AuditEvent) bool {
		return e.ID == id && (!dotted || len(hash) == 16 && strings.HasPrefix(e.Hash, hash))
	})
	out := connectedFrame(after)
	switch {
	case at >= 0 || after == "0":
		chosen := plain(events[at+1:], rampart.Query{Ascending: true, Filter: rampart.Filter{Agent: v["agent"], Session: v["session"], Tool: v["tool"], Action: v["action"], RunID: v["run_id"]}})
		for i, e := range events {
			if shows("audit") && slices.Contains(chosen, e.ID) {
				out += frames[i]
			}
		}
	default:
		if !wellFormed(id, hash, dotted) {
			out = "data: {\"type\":\"connected\"}\n\n"
		}
		if shows("audit", "audit_batch") {
			out += batchFrame("", head)
		}
	}
	if shows("approvals") {
		out += approvalsFrame
	}
	return out
}

func wellFormed(id, hash string, dotted bool) bool {
	in := func(s, digits string) bool { return strings.Trim(s, digits) == "" }
	return len(id) == 26 && id[0] <= '7' && in(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") && (!dotted || len(hash) == 16 && in(hash, "0123456789abcdef"))
}

// until takes what a stream sends, and ends the stream after so many bytes.
type until struct {
	*httptest.ResponseRecorder
	bytes int
	leave context.CancelFunc
}

func (u *until) FlushError() error {
	if u.Body.Len() >= u.bytes {
		u.leave()
	}
	return nil
}

// Whatever a client resumes from and filters by, it gets every event that it
// asked for, in order and once, or is told to query.
func FuzzResume(f *testing.F) {
	r := openRampart(f, vfstest.New(), rampart.Options{Stream: rampart.StreamOptions{FlushEvery: time.Nanosecond}})
	h := r.Handler(testAuth())
	events := varied(f, r.Chain, rand.New(rand.NewPCG(3, 4)), 20)
	frames := auditFrames(f, r.Chain, events)
	middle := position(events[9])
	for _, s := range []string{
		"", "0", middle, events[9].ID, middle[:len(middle)-1], middle + "0", events[9].ID + ".", events[9].ID + ".0000000000000000", strings.ToLower(middle),
		position(events[len(events)-1]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ.0000000000000000", "00000000000000000000000000", "00000000000000000000000001.aaaaaaaaaaaaaaaa",
		" " + middle, middle + " ", "0\n", "00", "-1", "\x00", "\xff", "a\r\nid: 0", strings.Repeat("0", 5000), "81KD3V5F2R7WQX9Z4M8N6B1C0A",
	} {
		f.Add(s, "")
		f.Add("", "last_event_id="+url.QueryEscape(s))
		f.Add(s, "last_event_id=0&type=audit&agent=codex&agent=gemini")
	}
	for _, s := range []string{
		"type=approvals", "type=audit_batch", "type=connected", "type=nothing", "type=audit&type=approvals&action=deny&tool=exec", "session=", "run_id=run_1&session=x",
		"last_event_id=%zz", "agent=a%22b%E2%80%A8", "agent=a;b", "token=x", strings.Repeat("agent=x&", 1000),
	} {
		f.Add("0", s)
		f.Add(events[3].ID+".0000000000000000", s)
	}
	f.Fuzz(func(t *testing.T, header, raw string) {
		req := httptest.NewRequest("GET", "/v1/events/stream", nil)
		req.URL.RawQuery = raw
		req.Header.Set("Authorization", "Bearer "+adminToken)
		if header != "" {
			req.Header.Set("Last-Event-ID", header)
		}
		v, malformed := url.ParseQuery(raw)
		after := header
		if after == "" {
			after = v.Get("last_event_id")
		}
		want, status := "", 200
		for _, typ := range v["type"] {
			if !slices.Contains([]string{"connected", "audit", "approvals", "audit_batch"}, typ) {
				status = 400
			}
		}
		if malformed != nil {
			status = 400
		}
		if status == 200 {
			want = following(t, r.Chain, events, frames, after, v)
		}
		var rec *until
		heaptest.Bound(t, len(header)+len(raw), func() {
			ctx, leave := context.WithTimeout(t.Context(), time.Minute) // reached only if the stream sends too little
			defer leave()
			rec = &until{httptest.NewRecorder(), len(want), leave}
			h.ServeHTTP(rec, req.WithContext(ctx))
		})
		if rec.Code != status {
			t.Fatalf("%q, %q: %d %s, want %d", header, raw, rec.Code, rec.Body, status)
		}
		if status != 200 {
			refusal(t, rec.ResponseRecorder)
		} else if diff := cmp.Diff(want, rec.Body.String()); diff != "" {
			t.Errorf("after %q, %q (-want +got):\n%s", after, raw, diff)
		}
	})
}

// Nothing opens the API but a token itself, and a ticket only the stream.
func FuzzCredentials(f *testing.F) {
	_, w := newWeb(f, testAuth())
	ticket := strings.Split(w.expect(200, "", "POST", "/v1/events/ticket", "").Body.String(), `"`)[3]
	digest := sha256.Sum256([]byte(adminToken))
	for _, s := range []string{
		adminToken, agentToken, ticket, "", " ", "x", adminToken + " ", " " + adminToken, adminToken + "\x00", adminToken[1:], strings.ToUpper(adminToken), adminToken + "," + adminToken,
		ticket + "=", ticket[:len(ticket)-1], ticket[:len(ticket)-1] + "_", strings.NewReplacer("-", "+", "_", "/").Replace(ticket), string(digest[:]), fmt.Sprintf("%x", digest),
		"ticket", "admin", strings.Repeat("x", 10_000), "\xff", "Bearer " + adminToken,
	} {
		for i, scheme := range []string{"Bearer ", "bearer ", "Bearer", "Bearer  ", "Basic ", "", "Token ", "\tBearer "} {
			f.Add(scheme+s, "token="+url.QueryEscape(s), uint8(i))
		}
		f.Add("", "token="+url.QueryEscape(s)+"&token="+url.QueryEscape(s), uint8(0))
		f.Add("", "x=%zz&token="+url.QueryEscape(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, authorization, raw string, headers uint8) {
		scheme, token, _ := strings.Cut(authorization, " ")
		bearer := strings.EqualFold(scheme, "Bearer")
		var values []string
		for range headers % 3 {
			values = append(values, authorization)
		}
		single := len(values) == 1
		v, malformed := url.ParseQuery(raw)
		stream := single && bearer && (token == adminToken || token == ticket)
		if len(values) == 0 || single && (authorization == "" || !bearer || token == "") {
			stream = len(v["token"]) == 1 && (v["token"][0] == adminToken || v["token"][0] == ticket)
		}
		for _, c := range []struct {
			method, path string
			opens        bool
		}{
			{"GET", "/v1/status", single && bearer && token == adminToken},
			{"POST", "/v1/audit/events", single && bearer && (token == adminToken || token == agentToken || token == otherToken)},
			{"HEAD", "/v1/events/stream", stream},
		} {
			req := httptest.NewRequest(c.method, c.path, nil)
			req.URL.RawQuery = raw
			req.Header["Authorization"] = values
			rec := httptest.NewRecorder()
			heaptest.Bound(t, len(authorization)+len(raw), func() { w.h.ServeHTTP(rec, req) })
			if opens := rec.Code != http.StatusUnauthorized && rec.Code != http.StatusForbidden; opens != c.opens || rec.Code >= 500 {
				t.Errorf("%s %s?%q with %q: %d %s", c.method, c.path, raw, values, rec.Code, rec.Body)
			}
			if rec.Code == 200 && malformed != nil && c.method == "HEAD" {
				t.Errorf("%q was answered", raw)
			}
			if body := rec.Body.String(); strings.Contains(body, adminToken) || strings.Contains(body, agentToken) || strings.Contains(body, ticket) {
				t.Errorf("the answer shows a token: %s", body)
			}
		}
	})
}

// Whatever a body holds, it takes effect as a whole or not at all: what is stored is
// what was sent, and nothing but true approves.
func FuzzBodies(f *testing.F) {
	const call = `"agent":"a","tool":"t","decision":{"action":"allow"}`
	for path, bodies := range map[uint8][]string{
		0: {`{` + call + `}`, `{` + call + `,"request":{ "a" : 1.50 }}`, `{` + call + `,"approval":{}}`, `{` + call + `,"request":{"a":1,"a":2}}`, `{` + call + `}x`, `[]`, ``, "\xef\xbb\xbf{" + call + "}"},
		1: {`{` + call + "}\n\r\n{" + call + `}`, "\n\n", "{" + call + "}\n{", "{\n" + call + "}", "{" + call + "}\x00\n", strings.Repeat("\n", 1000)},
		2: {`{"agent":"a","tool":"t","command":"ls"}`, `{"agent":"a","tool":"t","request":{"command":"ls"},"command":"rm"}`, `{"agent":"a","tool":"t","path":"\ud800"}`, `{"agent":"a","tool":"t","command":"ls","ttl_seconds":1e9}`, `{"agent":"a","tool":"t","command":"ls","tool_call_id":"c","run_id":"run_1"}`},
		3: {`{"approved":true}`, `{"approved":false,"reason":"no"}`, `{"approved":1}`, `{"Approved":true}`, `{"approved":false,"approved":true}`, `{"approved":true,"persist":true}`, `{"approved":null}`, `{"approve":true}`},
		4: {`{"run_id":"run_1","action":"approve"}`, `{"run_id":"run_1","action":"approve","ids":["ID0"]}`, `{"run_id":"run_1","action":"approve","ids":["ID0","ID2"]}`, `{"run_id":"run_1","action":"deny","agent":"nobody"}`, `{"run_id":"run_2","action":"approve","ids":null}`, `{"action":"approve"}`, `{"run_id":"run_1","action":"approve","ids":["ID0","ID0"]}`},
	} {
		for _, b := range bodies {
			f.Add(path, b)
		}
	}
	f.Fuzz(func(t *testing.T, path uint8, body string) {
		r, w := newWeb(t, testAuth())
		var pending []string
		for i := range 3 {
			q := question(i)
			q.RunID = []string{"run_1", "run_1", "run_2"}[i]
			pending = append(pending, request(t, r.Approvals, q).ID)
		}
		body = strings.NewReplacer("ID0", pending[0], "ID1", pending[1], "ID2", pending[2]).Replace(body)
		var sent map[string]any
		valid := json.Unmarshal([]byte(body), &sent) == nil
		before := r.Chain.Head().ID
		kind := "application/json"
		if path%5 == 1 {
			kind = "application/x-ndjson"
		}
		rec := w.send("POST", []string{"/v1/audit/events", "/v1/audit/events", "/v1/approvals", "/v1/approvals/" + pending[0] + "/resolve", "/v1/approvals/bulk-resolve"}[path%5], body, "Content-Type", kind)
		stored := all(t, r.Chain, rampart.Query{After: before, Ascending: true})
		if rec.Code >= 300 {
			refusal(t, rec)
			if len(stored) > 0 {
				t.Fatalf("%q was refused with %d, and there is %q", body, rec.Code, stored)
			}
		} else if path%5 != 1 && !valid {
			t.Fatalf("%q was taken: %d", body, rec.Code)
		}
		statuses := statuses(r.Approvals)
		switch {
		case rec.Code >= 300:
		case path%5 < 2:
			var sent []string
			for line := range strings.SplitSeq(body, "\n") {
				if path%5 == 0 {
					line = body
				}
				if strings.Trim(line, " \t\r") != "" && (path%5 == 1 || len(sent) == 0) {
					sent = append(sent, line)
				}
			}
			var answer struct{ IDs []string }
			if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || len(sent) != len(stored) || len(answer.IDs) != len(stored) {
				t.Fatalf("%d stored, %d sent, %s", len(stored), len(sent), rec.Body)
			}
			for i, line := range stored {
				wantSent(t, line, sent[i])
				if id := rampart.Record(line).ID(); id != answer.IDs[i] {
					t.Errorf("id %s, stored %s", answer.IDs[i], id)
				}
			}
		case path%5 == 2:
			if statuses[strings.Split(rec.Body.String(), `"`)[3]] != rampart.Pending || len(stored) > 1 {
				t.Errorf("%s, stored %q", rec.Body, stored)
			}
			for _, line := range stored {
				if sent["request"] != nil {
					wantSent(t, line, body)
				}
			}
		case path%5 == 3:
			if yes := statuses[pending[0]] == rampart.Approved; yes != (sent["approved"] == true) || statuses[pending[0]] == rampart.Pending {
				t.Errorf("%s made it %s", body, statuses[pending[0]])
			}
		case path%5 == 4:
			for i, id := range pending {
				chosen := sent["run_id"] == []string{"run_1", "run_1", "run_2"}[i]
				if list, ok := sent["ids"].([]any); ok {
					chosen = chosen && slices.Contains(list, any(id))
				}
				for name, own := range map[string]string{"agent": question(i).Agent, "session": question(i).Session} {
					if s, _ := sent[name].(string); s != "" {
						chosen = chosen && s == own
					}
				}
				want := rampart.Pending
				if chosen {
					want = map[any]rampart.ApprovalStatus{"approve": rampart.Approved, "deny": rampart.Denied}[sent["action"]]
				}
				if statuses[id] != want {
					t.Errorf("%s made number %d %s, want %s", body, i, statuses[id], want)
				}
			}
		}
		for id, status := range statuses {
			if status != rampart.Pending && rec.Code >= 300 {
				t.Errorf("%q made %s %s", body, id, status)
			}
		}
	})
}

// wantSent compares a stored line with the event that was sent.
func wantSent(t *testing.T, line, sent string) {
	t.Helper()
	var got, want struct {
		Agent, Session, Tool string
		RunID                string `json:"run_id"`
		Request              json.RawMessage
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	names := map[string]json.RawMessage{} // encoding/json takes Tool for tool
	if err := json.Unmarshal([]byte(sent), &names); err != nil {
		t.Fatalf("%q was stored: %v", sent, err)
	}
	exact, _ := json.Marshal(map[string]json.RawMessage{"agent": names["agent"], "session": names["session"], "tool": names["tool"], "run_id": names["run_id"]})
	if err := json.Unmarshal(exact, &want); err != nil {
		t.Fatalf("%q was stored: %v", sent, err)
	}
	request := bytes.NewBufferString("{}")
	if raw := names["request"]; raw != nil {
		request.Reset()
		if err := json.Compact(request, raw); err != nil {
			t.Fatal(err)
		}
	}
	if want.Request = request.Bytes(); !reflect.DeepEqual(got, want) {
		t.Errorf("%q was stored as %q", sent, line)
	}
}
