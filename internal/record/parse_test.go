package record_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rampartlog/rampart/internal/record"
)

func TestParse(t *testing.T) {
	e, id, prev, hash, err := record.Parse([]byte(golden))
	if err != nil || id != id1 || prev != string(zeros[:]) || !strings.HasSuffix(golden, hash+`"}`) {
		t.Errorf("id %s, prev_hash %s, hash %s, %v", id, prev, hash, err)
	}
	want := full()
	want.Request = []byte(`{"command":"rm -rf \u002f","n":1.0E+400}`)
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
}

func TestParseKeepsNothingOfLine(t *testing.T) {
	line := []byte(golden)
	e, _, _, _, err := record.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	clear(line)
	if body, _, err := e.AppendBody(nil); err != nil || !bytes.Contains([]byte(golden), body) {
		t.Errorf("after the line is overwritten: %s, %v", body, err)
	}
}

func TestParseEvent(t *testing.T) {
	for _, test := range []struct {
		src  string
		want record.Event
	}{
		{`{}`, record.Event{}},
		{` { "tool" : "exec" , "agent":"a\u0062\ud800" } `, record.Event{Tool: "exec", Agent: "ab\xed\xa0\x80"}},
		{`{"\u0074ool":"exec"}`, record.Event{Tool: "exec"}},
		{`{"request":{ "a": 1 },"decision":{},"response":{}}`, record.Event{Request: []byte(`{ "a": 1 }`), Response: &record.Response{}}},
		{`{"response":{"flags":[ "a" , "b" ],"duration_ms":9223372036854775807,"exit_code":-9223372036854775808},
			"decision":{"suggestions":["x"],"message":"m","evaluation_time_us":7,"matched_policies":[ ],"action":"ask"},
			"tool_call_id":"c","run_id":"r","session":"s","timestamp":"yesterday"}`,
			record.Event{
				Timestamp: "yesterday", Session: "s", RunID: "r", ToolCallID: "c",
				Action: "ask", MatchedPolicies: []string{}, EvaluationTimeUS: 7, Message: "m", Suggestions: []string{"x"},
				Response: &record.Response{ExitCode: ptr(int64(math.MinInt64)), DurationMS: math.MaxInt64, Flags: []string{"a", "b"}},
			}},
		{`{"request":` + strings.Repeat(`{"a":`, 63) + "{}" + strings.Repeat("}", 64),
			record.Event{Request: []byte(strings.Repeat(`{"a":`, 63) + "{}" + strings.Repeat("}", 63))}},
	} {
		got, err := record.ParseEvent([]byte(test.src))
		if err != nil {
			t.Errorf("%s: %v", test.src, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.src, diff)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{``, "byte 0: expected an object, found the end"},
		{`[]`, "byte 0: expected an object, found '['"},
		{`{} x`, "byte 3: expected the end, found 'x'"},
		{`{"tool":"a","tool":"b"}`, `byte 12: duplicate member name "tool"`},
		{`{"tool":"a","\u0074ool":"b"}`, `byte 12: duplicate member name "tool"`},
		{`{"request":{"a":1,"a":2}}`, `byte 18: duplicate member name "a"`},
		{`{"request":` + strings.Repeat(`{"a":`, 64) + "{}" + strings.Repeat("}", 65), "byte 331: nested deeper than 64"},

		{`{"Tool":"a"}`, `byte 8: "Tool" is no member of an event`},
		{`{"decision":{"Action":"a"}}`, `byte 22: "decision.Action" is no member of an event`},
		{`{"decision.action":"a"}`, `byte 19: "decision.action" is no member of an event`},
		{`{"response":{"stdout":"a"}}`, `byte 22: "response.stdout" is no member of an event`},
		{`{"id":"x"}`, `byte 6: "id" is given by the log`},
		{`{"prev_hash":null}`, `byte 13: "prev_hash" is given by the log`},
		{`{"hash":"x"}`, `byte 8: "hash" is given by the log`},
		{`{"approval":null}`, `byte 12: "approval" is written by the approvals queue alone`},

		{`{"timestamp":1}`, "byte 13: timestamp: expected a string, found a number"},
		{`{"agent":null}`, "byte 9: agent: expected a string, found null"},
		{`{"tool":["a"]}`, "byte 8: tool: expected a string, found an array"},
		{`{"request":"a"}`, "byte 11: request: expected an object, found a string"},
		{`{"request":null}`, "byte 11: request: expected an object, found null"},
		{`{"decision":true}`, "byte 12: decision: expected an object, found a boolean"},
		{`{"decision":{"matched_policies":null}}`, "byte 32: decision.matched_policies: expected an array of strings, found null"},
		{`{"decision":{"matched_policies":["a", {}]}}`, "byte 38: decision.matched_policies: expected a string, found an object"},
		{`{"decision": {"evaluation_time_us":-1}}`, "byte 35: decision.evaluation_time_us: expected an integer that is not negative"},
		{`{"decision":{"evaluation_time_us":"1"}}`, "byte 34: decision.evaluation_time_us: expected an integer, found a string"},
		{`{"decision":{"evaluation_time_us":1.0}}`, "byte 34: decision.evaluation_time_us: expected an integer of 64 bits without fraction or exponent"},
		{`{"response":{"exit_code":1e2}}`, "byte 25: response.exit_code: expected an integer of 64 bits without fraction or exponent"},
		{`{"response":{"exit_code":9223372036854775808}}`, "byte 25: response.exit_code: expected an integer of 64 bits without fraction or exponent"},
		{`{"response":{"duration_ms":-5}}`, "byte 27: response.duration_ms: expected an integer that is not negative"},
		{`{"response":{"flags":"cut"}}`, "byte 21: response.flags: expected an array of strings, found a string"},
	} {
		got, err := record.ParseEvent([]byte(test.src))
		var syntax *record.SyntaxError
		if err == nil || err.Error() != test.want || !errors.As(err, &syntax) {
			t.Errorf("%.80s\ngot  %v\nwant %s", test.src, err, test.want)
		}
		if diff := cmp.Diff(record.Event{}, got); diff != "" {
			t.Errorf("%.80s: an event comes back with the error: %s", test.src, diff)
		}
	}
}
