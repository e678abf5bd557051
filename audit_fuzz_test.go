// Keeps "The record" of docs/security.md: no honest log is called bad, whatever Append was given.

package rampart_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/formattest"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// honest is a log in memory that fuzzed events are appended to, and its lines.
type honest struct {
	fs    *vfstest.FS
	c     *rampart.AuditChain
	lines []string
}

func (h *honest) begin(t testing.TB) {
	t.Helper()
	h.fs, h.lines = vfstest.New(), nil
	h.c = h.open(t, h.fs)
}

func (h *honest) open(t testing.TB, fs *vfstest.FS) *rampart.AuditChain {
	t.Helper()
	c, err := rampart.OpenAuditChain("", rampart.AuditOptions{Sync: rampart.SyncNever}.WithSegmentSize(goldenSegment).WithFS(fs))
	if err != nil {
		t.Fatalf("an honest log does not open: %v", err)
	}
	return c
}

// end closes the log, and opens it as that leaves it and as a crash leaves it.
func (h *honest) end(t testing.TB) {
	t.Helper()
	crashed := h.fs.Recover(vfstest.Kept, 0)
	if err := h.c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fs := range []*vfstest.FS{h.fs, crashed} {
		c := h.open(t, fs)
		if r := verified(t, c); !r.OK() || r.Events != uint64(len(h.lines)) {
			t.Fatalf("an honest log: %+v %v", r, r.Fault)
		}
		if d := cmp.Diff(h.lines, all(t, c, rampart.Query{Ascending: true})); d != "" {
			t.Fatal(d)
		}
		c.Close()
	}
}

// Whatever Append takes is stored byte for byte, found by what it says, read
// back equal, and part of a log that verifies, opens and opens after a crash.
// What it does not take is ErrInvalid and leaves nothing.
func FuzzAppend(f *testing.F) {
	add := func(request string, text string, action string, number int64) {
		f.Add(text+"a", text, text, text, text+"t", action, text, text, []byte(request), number, number, uint8(number))
	}
	for _, request := range []string{
		`{}`, ` { "a" : [ 1.0 , -0 , 12345678901234567890 , 1e400 , 1e-400, 1E+05, 0.1e-999999999999 ] } `, `{"n":` + strings.Repeat("9", 10_000) + `}`,
		"{\"\u2028\u2029\":\"\u2028\u2029\"}", `{"a":"\ud800","b":"\udc00\ud800","c":"\ud83d\ude00"}`, `{"a":"\u0000\/\u003c","":""}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":1,"A":2}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":.5}`, `{"a":1.}`, `{"a":NaN}`, `[]`, `null`, ``, `{} {}`, "\ufeff{}",
		strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
		`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		`{"id":"01KJSK45EG0000000003QBE79R","hash":"","prev_hash":"","approval":{"status":"approved"}}`,
		`{"x":"},\"decision\":{\"action\":\"allow\"},\"hash\":\"`,
	} {
		add(request, "", "allow", 0)
	}
	for _, text := range []string{"a\"\\\n\t\x00\x7f", "\u2028\u202e\U0001f600", "\xff", "\xed\xa0\x80", "\xed\xa0\xbd\xed\xb8\x80", `","hash":"`, strings.Repeat("long", 100)} {
		add(`{"a":1}`, text, "deny", 1)
	}
	for _, number := range []int64{1, -1, math.MaxInt64, math.MinInt64, -62167219200, -62167219201, 253402300799, 253402300800} {
		add(`{"a":1}`, "x", "a-z_0", number)
	}
	add(`{}`, "x", "Allow", 7)
	add(`{}`, "x", "", 3)

	var h honest
	h.begin(f)
	f.Cleanup(func() { h.end(f) })
	f.Fuzz(func(t *testing.T, agent, session, runID, callID, tool, action, message, word string, request []byte, sec, number int64, shape uint8) {
		e := rampart.AuditEvent{
			Agent: agent, Session: session, RunID: runID, ToolCallID: callID, Tool: tool, Request: request,
			Decision: rampart.Decision{Action: action, Message: message, EvaluationTimeUS: number},
		}
		if shape&1 != 0 {
			e.Timestamp = time.Unix(sec, number).In(time.FixedZone("", int(shape)*600-86400))
		}
		if shape&2 != 0 {
			e.Decision.MatchedPolicies, e.Decision.Suggestions = []string{word, message}, []string{word}
		}
		if shape&4 != 0 {
			code := int(number)
			e.Response = &rampart.Response{ExitCode: &code, DurationMS: sec, Flags: []string{message, word}}
		}
		if shape&8 != 0 {
			e.Request = nil
		}
		if shape&16 != 0 {
			e.Response = &rampart.Response{}
		}
		before := h.c.Head()
		saved, err := h.c.Append(t.Context(), e)
		if err != nil {
			if !errors.Is(err, rampart.ErrInvalid) || h.c.Head() != before || h.c.Err() != nil || saved.ID != "" {
				t.Fatalf("refused with %v; head %v, before %v", err, h.c.Head(), before)
			}
			return
		}
		line, err := h.c.Get(t.Context(), saved.ID)
		if err != nil {
			t.Fatal(err)
		}
		h.lines = append(h.lines, string(line))

		if l := formattest.Parse(string(line)); l.Bad != "" || l.ID != saved.ID || l.Hash != saved.Hash || l.PrevHash != saved.PrevHash || before.Hash != "" && l.PrevHash != before.Hash {
			t.Fatalf("by hand: %+v: %s", l, line)
		}
		var want bytes.Buffer
		if e.Request == nil {
			want.WriteString("{}")
		} else if err := json.Compact(&want, e.Request); err != nil {
			t.Fatalf("took a request that is no JSON: %v", err)
		}
		var parsed struct {
			Agent, Session, Tool string
			Request              json.RawMessage
			Decision             struct{ Message string }
		}
		if err := json.Unmarshal(line, &parsed); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if string(parsed.Request) != want.String() || string(saved.Request) != want.String() {
			t.Fatalf("request %s and %s, want %s", parsed.Request, saved.Request, want.Bytes())
		}
		if utf8.ValidString(agent+session+tool+message) && (parsed.Agent != agent || parsed.Session != session || parsed.Tool != tool || parsed.Decision.Message != message) {
			t.Fatalf("encoding/json reads %+v", parsed)
		}

		stored, err := line.Event()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(saved, stored) {
			t.Fatalf("saved, stored: %s", cmp.Diff(saved, stored))
		}
		if !e.Timestamp.IsZero() && !saved.Timestamp.Equal(e.Timestamp) {
			t.Fatalf("timestamp %v, want %v", saved.Timestamp, e.Timestamp)
		}
		e.ID, e.PrevHash, e.Hash, e.Timestamp, e.Request = saved.ID, saved.PrevHash, saved.Hash, saved.Timestamp, saved.Request
		if e.Decision.MatchedPolicies == nil {
			e.Decision.MatchedPolicies = []string{}
		}
		if !reflect.DeepEqual(e, saved) {
			t.Fatalf("given, saved: %s", cmp.Diff(e, saved))
		}

		q := rampart.Query{Since: saved.Timestamp, Until: saved.Timestamp.Add(1), After: before.ID, Filter: rampart.Filter{
			Agent: []string{agent}, Session: []string{session}, Tool: []string{tool}, Action: []string{action}, RunID: []string{runID},
		}}
		if saved.Timestamp.IsZero() { // then Append sets it
			q.Since = time.Time{}
		}
		if got := all(t, h.c, q); !slices.Equal(got, []string{string(line)}) {
			t.Fatalf("found by what it says: %q, want %q", got, line)
		}
		if len(h.lines) == 256 {
			h.end(t)
			h.begin(t)
		}
	})
}
