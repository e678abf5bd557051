package record_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/build"
	"regexp"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/record"
)

const id1 = "01KDA5QX7Z0000000000000001"

var zeros = [64]byte(bytes.Repeat([]byte{'0'}, 64))

func appendLine(t testing.TB, e record.Event) []byte {
	t.Helper()
	body, _, err := e.AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	line, _ := record.AppendLine(nil, id1, body, &zeros)
	return line
}

func ptr[T any](v T) *T { return &v }

// full has every member.
func full() record.Event {
	return record.Event{
		Timestamp:        "2026-03-03T10:15:30Z",
		Agent:            "claude-code",
		Session:          "myapp/main",
		RunID:            "run_1",
		ToolCallID:       "call_1",
		Tool:             "exec",
		Request:          []byte(`{ "command" : "rm -rf \u002f", "n": 1.0E+400 }`),
		Action:           "deny",
		MatchedPolicies:  []string{"deny-rm", "watch \"all\""},
		EvaluationTimeUS: 8,
		Message:          "no\n<b>\u2028é",
		Suggestions:      []string{"ls"},
		Response:         &record.Response{ExitCode: ptr(int64(-1)), DurationMS: 12, Flags: []string{"cut"}},
		Approval:         []byte(`{"id":"x"}`),
	}
}

func TestAppendBody(t *testing.T) {
	tests := []struct {
		name string
		e    record.Event
		want string
	}{
		{"zero", record.Event{}, `"timestamp":"","agent":"","session":"","tool":"","request":{},` +
			`"decision":{"action":"","matched_policies":[],"evaluation_time_us":0},`},
		{"every member", full(), `"timestamp":"2026-03-03T10:15:30Z","agent":"claude-code","session":"myapp/main",` +
			`"run_id":"run_1","tool_call_id":"call_1","tool":"exec","request":{"command":"rm -rf \u002f","n":1.0E+400},` +
			`"decision":{"action":"deny","matched_policies":["deny-rm","watch \"all\""],"evaluation_time_us":8,` +
			"\"message\":\"no\\n<b>\u2028é\",\"suggestions\":[\"ls\"]}," +
			`"response":{"exit_code":-1,"duration_ms":12,"flags":["cut"]},"approval":{"id":"x"},`},
		{"empty response", record.Event{Response: &record.Response{}, Suggestions: []string{}},
			`"timestamp":"","agent":"","session":"","tool":"","request":{},` +
				`"decision":{"action":"","matched_policies":[],"evaluation_time_us":0},"response":{"duration_ms":0},`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, request, err := test.e.AppendBody([]byte("before "))
			if want := "before " + test.want; err != nil || string(got) != want {
				t.Errorf("got  %s, %v\nwant %s", got, err, want)
			}
			_, want, _ := strings.Cut(test.want, `"request":`)
			want, _, _ = strings.Cut(want, `,"decision"`)
			if string(request) != want {
				t.Errorf("the request is %s, want %s", request, want)
			}
		})
	}
}

func TestAppendBodyRefuses(t *testing.T) {
	tests := []struct {
		e    record.Event
		want string
	}{
		{record.Event{Request: []byte(`{"a":1,"a":2}`)}, `request: byte 7: duplicate member name "a"`},
		{record.Event{Request: []byte{}}, "request: byte 0: expected an object, found the end"},
		{record.Event{Request: []byte("null")}, "request: byte 0: expected an object, found 'n'"},
		{record.Event{Approval: []byte("[]")}, "approval: byte 0: expected an object, found '['"},
		{record.Event{Tool: "a\xff"}, "tool: byte 1: invalid UTF-8"},
		{record.Event{MatchedPolicies: []string{"a", "\xff"}}, "decision.matched_policies: byte 0: invalid UTF-8"},
	}
	for _, test := range tests {
		got, _, err := test.e.AppendBody([]byte("before"))
		var syntax *record.SyntaxError
		if err == nil || err.Error() != test.want || !errors.As(err, &syntax) || string(got) != "before" {
			t.Errorf("got %q, %v\nwant %s", got, err, test.want)
		}
	}
}

// golden was written out by hand and hashed with
// sed -E 's/,"hash":"[0-9a-f]{64}"\}$/}/' | tr -d '\n' | sha256sum.
const golden = `{"id":"01KDA5QX7Z0000000000000001","timestamp":"2026-03-03T10:15:30Z","agent":"claude-code",` +
	`"session":"myapp/main","run_id":"run_1","tool_call_id":"call_1","tool":"exec",` +
	`"request":{"command":"rm -rf \u002f","n":1.0E+400},` +
	`"decision":{"action":"deny","matched_policies":["deny-rm","watch \"all\""],"evaluation_time_us":8,` +
	"\"message\":\"no\\n<b>\u2028é\",\"suggestions\":[\"ls\"]}," +
	`"response":{"exit_code":-1,"duration_ms":12,"flags":["cut"]},"approval":{"id":"x"},` +
	`"prev_hash":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"hash":"6ef10da3e624ad07a1e18e126c7718f5ea541f6403dc02d17950d67dbe72a46a"}`

func TestGoldenLine(t *testing.T) {
	if got := appendLine(t, full()); string(got) != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
}

func TestAppendLine(t *testing.T) {
	body, _, err := new(record.Event).AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := []byte("a line\n")
	out, hash := record.AppendLine(before, id1, body, &zeros)
	line := out[len(before):]
	if !bytes.HasPrefix(out, before) {
		t.Errorf("what stood before the line is gone: %q", out)
	}
	covered := regexp.MustCompile(`,"hash":"[0-9a-f]{64}"\}$`).ReplaceAll(line, []byte("}"))
	sum := sha256.Sum256(covered)
	if want := hex.EncodeToString(sum[:]); want != string(hash[:]) || !bytes.HasSuffix(line, []byte(want+`"}`)) {
		t.Errorf("hash %s, line %s, want %s", hash, line, want)
	}
}

func TestSum(t *testing.T) {
	line := []byte(golden)
	var hash [64]byte
	if !record.Sum(line, &hash) || !bytes.HasSuffix(line, append(hash[:], `"}`...)) {
		t.Errorf("Sum gives %s for %s", hash, line)
	}
	for i := range line {
		changed := bytes.Clone(line)
		changed[i] ^= 1
		var got [64]byte
		if record.Sum(changed, &got) && bytes.HasSuffix(changed, append(got[:], `"}`...)) {
			t.Errorf("byte %d changed and the hash still agrees", i)
		}
	}
}

func TestSumWithoutHash(t *testing.T) {
	tail := `,"hash":"` + strings.Repeat("a", 64) + `"}`
	for _, line := range []string{
		"", "{}", tail[1:], "{" + tail + " ", `{,"hash":"` + strings.Repeat("A", 64) + `"}`,
		`{,"Hash":"` + strings.Repeat("a", 64) + `"}`, `{,"hash":"` + strings.Repeat("a", 63) + `"}`,
	} {
		hash := zeros
		if record.Sum([]byte(line), &hash) || hash != zeros {
			t.Errorf("Sum takes %q", line)
		}
	}
}

func TestAllocations(t *testing.T) {
	e, buf := full(), make([]byte, 0, 4096)
	body, _, err := e.AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	line, _ := record.AppendLine(nil, id1, body, &zeros)
	var f record.Fields
	var hash [64]byte
	for name, fn := range map[string]func(){
		"AppendBody":    func() { e.AppendBody(buf) },
		"AppendLine":    func() { record.AppendLine(buf, id1, body, &zeros) },
		"AppendCompact": func() { record.AppendCompact(buf, line) },
		"Scan":          func() { record.Scan(line, &f) },
		"Sum":           func() { record.Sum(line, &hash) },
		"Equal":         func() { record.Equal(f.Agent, "claude-code") },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"os":            "the form of a line does not depend on where it lies",
		"net":           "nor on how it is sent",
		"time":          "a line is a function of its arguments; the clock is the caller's",
		"sync":          "there is no state to guard",
		"log":           "faults are returned",
		"encoding/json": "it re-rounds numbers, folds the case of names and takes doubled ones",
	}
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pkg.Imports {
		for bad, reason := range forbidden {
			if path == bad || strings.HasPrefix(path, bad+"/") {
				t.Errorf("imports %s: %s", path, reason)
			}
		}
	}
}

func ExampleAppendLine() {
	e := record.Event{
		Timestamp:       "2026-03-03T10:15:30Z",
		Agent:           "claude-code",
		Session:         "myapp/main",
		Tool:            "exec",
		Request:         []byte(`{ "command": "git status" }`),
		Action:          "allow",
		MatchedPolicies: []string{"allow-git"},
	}
	body, _, err := e.AppendBody(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	line, hash := record.AppendLine(nil, "01KDA5QX7Z0000000000000001", body, &zeros)
	fmt.Println(strings.ReplaceAll(string(line), `,"`, ",\n\""))
	fmt.Println(string(hash[:16]))
	// Output:
	// {"id":"01KDA5QX7Z0000000000000001",
	// "timestamp":"2026-03-03T10:15:30Z",
	// "agent":"claude-code",
	// "session":"myapp/main",
	// "tool":"exec",
	// "request":{"command":"git status"},
	// "decision":{"action":"allow",
	// "matched_policies":["allow-git"],
	// "evaluation_time_us":0},
	// "prev_hash":"0000000000000000000000000000000000000000000000000000000000000000",
	// "hash":"01855e18ef5195a2489f847ae9617670b0f2dc175d7199b17312f99fa335b176"}
	// 01855e18ef5195a2
}
