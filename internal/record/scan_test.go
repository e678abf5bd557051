package record_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rampartlog/rampart/internal/record"
)

func TestScan(t *testing.T) {
	full := appendLine(t, full())
	want := record.Fields{
		ID:               []byte(id1),
		Timestamp:        []byte("2026-03-03T10:15:30Z"),
		Agent:            []byte("claude-code"),
		Session:          []byte("myapp/main"),
		RunID:            []byte("run_1"),
		ToolCallID:       []byte("call_1"),
		Tool:             []byte("exec"),
		Request:          []byte(`{"command":"rm -rf \u002f","n":1.0E+400}`),
		Action:           []byte("deny"),
		MatchedPolicies:  []byte(`["deny-rm","watch \"all\""]`),
		EvaluationTimeUS: []byte("8"),
		Message:          []byte("no\\n<b>\u2028é"),
		Suggestions:      []byte(`["ls"]`),
		Response:         []byte(`{"exit_code":-1,"duration_ms":12,"flags":["cut"]}`),
		Approval:         []byte(`{"id":"x"}`),
		PrevHash:         zeros[:],
		Hash:             []byte(golden[len(golden)-66 : len(golden)-2]),
	}
	var f record.Fields
	if err := record.Scan(full, &f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}

	// What the line before had is not left over.
	if err := record.Scan(appendLine(t, record.Event{}), &f); err != nil {
		t.Fatal(err)
	}
	fields := reflect.ValueOf(f)
	absent := ""
	for i := range fields.NumField() {
		if fields.Field(i).IsNil() {
			absent += " " + fields.Type().Field(i).Name
		}
	}
	if want := " RunID ToolCallID Message Suggestions Response Approval"; absent != want {
		t.Errorf("absent:%s, want%s", absent, want)
	}
}

// Each of the ways in which an edited line can differ from what is written is seen.
func TestScanRefuses(t *testing.T) {
	hash, tail := strings.Repeat("0", 64), golden[len(golden)-10:]
	for _, test := range []struct{ old, new, want string }{
		{`{"id":`, ` {"id":`, `expected member "id", found ' '`},
		{`{"id":`, `{ "id":`, `expected member "id", found ' '`},
		{`{"id":`, `{"Id":`, `expected member "id", found 'I'`},
		{id1, "81" + id1[2:], "expected a ULID"},
		{id1, strings.ToLower(id1), "expected a ULID"},
		{id1, "0U" + id1[2:], "expected a ULID"},
		{id1, id1[1:], "expected a ULID"},
		{id1, id1 + "0", `expected member "timestamp", found '0'`},
		{`,"timestamp":"2026-03-03T10:15:30Z"`, ``, `expected member "timestamp", found 'a'`},
		{`"timestamp":"2026-03-03T10:15:30Z"`, `"timestamp":1`, `expected member "timestamp", found '1'`},
		{`,"agent"`, `,"agent":"x","agent"`, `expected member "session", found 'a'`},
		{`,"agent"`, `, "agent"`, `expected member "agent", found ' '`},
		{`"agent":"claude-code","session":"myapp/main"`, `"session":"myapp/main","agent":"claude-code"`, `expected member "agent", found 's'`},
		{`claude-code`, "claude\tcode", "control character in a string"},
		{`claude-code`, "claude\xffcode", "invalid UTF-8"},
		{`claude-code`, `claude\-code`, "no escape that JSON has"},
		{`"run_1"`, `""`, `expected no member "run_id" where it is empty`},
		{`"call_1"`, `""`, `expected no member "tool_call_id" where it is empty`},
		{`"run_id":"run_1","tool_call_id":"call_1"`, `"tool_call_id":"call_1","run_id":"run_1"`, `expected member "tool", found 'r'`},
		{`,"tool":"exec"`, ``, `expected member "tool", found 'r'`},
		{`"tool":"exec",`, `"tool":"exec","extra":1,`, `expected member "request", found 'e'`},
		{`{"command":"rm -rf \u002f","n":1.0E+400}`, `[]`, "expected an object, found '['"},
		{`{"command":"rm -rf \u002f","n":1.0E+400}`, `{"a":[}`, "bracket that closes another"},
		{`{"command":"rm -rf \u002f","n":1.0E+400}`, `{"a":{]}}`, "bracket that closes another"},
		{`{"command":"rm -rf \u002f","n":1.0E+400}`, `{"a":{{{`, "object without its closing brace"},
		{`{"command":"rm -rf \u002f","n":1.0E+400}`, `{"a":` + nested(64) + "}", "nested deeper than 64"},
		{`"decision":{"action"`, `"decision":{"Action"`, `expected member "action", found 'A'`},
		{`"action":"deny"`, `"action":null`, `expected member "action", found 'n'`},
		{`["deny-rm","watch \"all\""]`, `null`, "expected an array of strings, found 'n'"},
		{`["deny-rm","watch \"all\""]`, `["a", "b"]`, "expected a string, found ' '"},
		{`["deny-rm","watch \"all\""]`, `["a" ,"b"]`, "expected ',' or ']', found ' '"},
		{`["deny-rm","watch \"all\""]`, `["a",]`, "expected a string, found ']'"},
		{`["deny-rm","watch \"all\""]`, `["a",1]`, "expected a string, found '1'"},
		{`"evaluation_time_us":8`, `"evaluation_time_us":-8`, "expected an integer that is not negative"},
		{`"evaluation_time_us":8`, `"evaluation_time_us":08`, "expected an integer, found '0'"},
		{`"evaluation_time_us":8`, `"evaluation_time_us":"8"`, `expected an integer, found '"'`},
		{`"evaluation_time_us":8`, `"evaluation_time_us":8.0`, `expected "}", found '.'`},
		{`"evaluation_time_us":8`, `"evaluation_time_us":9223372036854775808`, "expected an integer of 64 bits"},
		{`"message":"no\n<b>` + "\u2028é\"", `"message":""`, `expected no member "message" where it is empty`},
		{`"suggestions":["ls"]`, `"suggestions":[]`, `expected no member "suggestions" where it is empty`},
		{`"suggestions":["ls"]`, `"suggestions":["ls"],"by":"x"`, `expected "}", found ','`},
		{`"exit_code":-1`, `"exit_code":-0`, "expected an integer, found '-'"},
		{`"exit_code":-1`, `"exit_code":-9223372036854775809`, "expected an integer of 64 bits"},
		{`"exit_code":-1,`, `"exit_code":-1 ,`, `expected ",", found ' '`},
		{`"exit_code":-1,"duration_ms":12`, `"duration_ms":12,"exit_code":-1`, `expected "}", found ','`},
		{`"duration_ms":12,`, ``, `expected member "duration_ms", found 'f'`},
		{`"flags":["cut"]`, `"flags":[]`, `expected no member "flags" where it is empty`},
		{`"response":{"exit_code":-1,"duration_ms":12,"flags":["cut"]}`, `"response":null`, `expected "{", found 'n'`},
		{`"approval":{"id":"x"}`, `"approval":null`, "expected an object, found 'n'"},
		{`"prev_hash":"` + hash, `"prev_hash":"` + hash[1:], "expected 64 lower-case hex digits"},
		{`"prev_hash":"` + hash, `"prev_hash":"` + hash[1:] + "A", "expected 64 lower-case hex digits"},
		{`"prev_hash":"` + hash, `"prev_hash":"` + hash[1:] + "g", "expected 64 lower-case hex digits"},
		{`"prev_hash":"` + hash, `"prev_hash":"` + hash + "0", `expected member "hash", found '0'`},
		{tail, tail + " ", "expected the end, found ' '"},
		{tail, tail + "\n", `expected the end, found '\n'`},
		{tail, tail[:len(tail)-1], `expected "\"}", found the end`},
	} {
		i := strings.Index(golden, test.old)
		if i < 0 {
			t.Fatalf("%s is not in the golden line", test.old)
		}
		line := golden[:i] + test.new + golden[i+len(test.old):]
		var f record.Fields
		err := record.Scan([]byte(line), &f)
		if err == nil || !strings.HasSuffix(err.Error(), ": "+test.want) {
			t.Errorf("%s for %s: got %v, want %s", test.new, test.old, err, test.want)
		}
		if _, _, _, _, parsed := record.Parse([]byte(line)); fmt.Sprint(parsed) != fmt.Sprint(err) {
			t.Errorf("Parse says %v, Scan %v", parsed, err)
		}
	}
}

func TestScanCut(t *testing.T) {
	var f record.Fields
	for i := range len(golden) {
		if err := record.Scan([]byte(golden[:i]), &f); err == nil {
			t.Errorf("takes the first %d bytes for a line", i)
		}
	}
}

// Quotes and backslashes within request do not hide where it ends.
func TestScanRequest(t *testing.T) {
	for _, request := range []string{
		`{"a":"\""}`, `{"a":"\\"}`, `{"a":"\\\"}"}`, `{"\"}":"{["}`, `{"a":"","b":"}"}`, `{"a":[{},[{"b":"]"}]]}`,
	} {
		var f record.Fields
		if err := record.Scan(appendLine(t, record.Event{Request: []byte(request)}), &f); err != nil || string(f.Request) != request {
			t.Errorf("%s: got %s, %v", request, f.Request, err)
		}
	}
}
