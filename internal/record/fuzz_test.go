package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/record"
)

// What a fuzzer hardly comes upon: much of what costs most.
func TestHostileJSONTakesMemoryInProportion(t *testing.T) {
	const many = 20_000
	empty := appendLine(t, record.Event{Request: []byte(`{}`)})
	names := make([]string, 32)
	for i := range names {
		names[i] = fmt.Sprintf(`"%c":0`, 'A'+i)
	}
	var members, escaped strings.Builder
	for i := range many {
		fmt.Fprintf(&members, `"%x":0,`, i)
		fmt.Fprintf(&escaped, `"\u0061%x":0,`, i)
	}
	for name, object := range map[string]string{
		"deep":                   strings.Repeat(`{"a":[`, many),
		"deepest that is taken":  nested(64),
		"names":                  "{" + members.String() + `"":0}`,
		"escaped names":          "{" + escaped.String() + `"":0}`,
		"objects beside names":   "{" + strings.Join(names, ",") + `,"":[` + strings.Repeat(`{"a":0},`, many) + `0]}`,
		"escaped in each object": `{"a":[` + strings.Repeat(`{"\u0061":0},`, many) + `0]}`,
		"empty":                  `{"a":[` + strings.Repeat(`{},`, many) + `0]}`,
		"strings":                `{"a":[` + strings.Repeat(`"",`, many) + `""]}`,
		"escapes":                `{"a":"` + strings.Repeat(`\ud800`, many) + `"}`,
		"digits":                 `{"a":1` + strings.Repeat(`0`, many) + `e1}`,
		"space":                  `{` + strings.Repeat(" ", many) + `"a"` + strings.Repeat("\n", many) + `:0}`,
		"unclosed":               `{"a":"` + strings.Repeat(`\"`, many),
		"bad at the end":         "{" + members.String() + `"0":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			event := []byte(`{"tool":"t","request":` + object + `,"decision":{"matched_policies":[` + strings.Repeat(`"",`, many) + `""]}}`)
			line := bytes.Replace(empty, []byte(`"request":{}`), []byte(`"request":`+object), 1)
			var fields record.Fields
			heaptest.Bound(t, len(object), func() { record.AppendCompact(nil, []byte(object)) })
			heaptest.Bound(t, len(event), func() { record.ParseEvent(event) })
			heaptest.Bound(t, len(line), func() { record.Scan(line, &fields) })
			heaptest.Bound(t, len(line), func() { record.Parse(line) })
		})
	}
}

func FuzzCompact(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-2.5e+7,true,null],"b":"\ud83d\u00e9"}`, ` [ { } , "" ] `, `{"a":1,"\u0061":2}`, nested(64), nested(65), `01`, "\"\xff\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var got []byte
		var err error
		heaptest.Bound(t, len(src), func() { got, err = record.AppendCompact(nil, src) })
		if want, sure := acceptable(src); sure && want != (err == nil) {
			t.Fatalf("error %v, but encoding/json and the rules beyond it say %v", err, want)
		}
		if err != nil {
			var syntax *record.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(src) {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if again, err := record.AppendCompact(nil, got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q compacts to %q, %v", got, again, err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, src); err != nil || !bytes.Equal(want.Bytes(), got) {
			t.Fatalf("got %q, encoding/json %q, %v", got, want.Bytes(), err)
		}
		if a, b := decode(t, src), decode(t, got); !reflect.DeepEqual(a, b) {
			t.Fatalf("%q and %q differ: %v, %v", src, got, a, b)
		}
	})
}

func decode(t *testing.T, src []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	return v
}

// acceptable works out by way of encoding/json whether AppendCompact must take
// src. It is not sure where there may be surrogates, since encoding/json takes
// all lone ones for the same character.
func acceptable(src []byte) (ok, sure bool) {
	if !json.Valid(src) || !utf8.Valid(src) {
		return false, true
	}
	if bytes.Contains(src, []byte(`\ud`)) || bytes.Contains(src, []byte(`\uD`)) {
		return false, false
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil in an array
		value bool            // what comes next, in an object
	}
	var open []level
	for {
		token, err := d.Token()
		if err == io.EOF {
			return true, true
		}
		if err != nil {
			return false, true
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 {
			if top := &open[len(open)-1]; top.names != nil {
				if top.value = !top.value; top.value {
					if name := token.(string); top.names[name] {
						return false, true
					} else {
						top.names[name] = true
					}
					continue
				}
			}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > record.MaxDepth {
			return false, true
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a\n\"\\\x00", "é\u2028\U0001f600", "\xed\xa0\x80", "\xed\xa0\xbd\xed\xb8\x80", "12345678\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		value, err := record.AppendString(nil, s)
		if err != nil {
			if utf8.ValidString(s) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if got, err := record.String(value); err != nil || got != s {
			t.Fatalf("%q becomes %s, then %q, %v", s, value, got, err)
		}
		if compact, err := record.AppendCompact(nil, value); err != nil || !bytes.Equal(compact, value) {
			t.Fatalf("%s: %v", value, err)
		}
		raw := value[1 : len(value)-1]
		if record.Text(raw) != s || !record.Equal(raw, s) {
			t.Fatalf("%s is not the text %q", raw, s)
		}
		if utf8.ValidString(s) && decode(t, value) != s {
			t.Fatalf("encoding/json reads %s otherwise than %q", value, s)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(golden))
	f.Add(appendLine(f, record.Event{}))
	f.Add(appendLine(f, record.Event{Response: &record.Response{}, Request: []byte(`{"a":["\\\"",{}]}`)}))
	f.Fuzz(func(t *testing.T, line []byte) {
		var fields record.Fields
		var err error
		heaptest.Bound(t, len(line), func() {
			if err = record.Scan(line, &fields); err == nil {
				record.Parse(line)
			}
		})
		if err != nil {
			var syntax *record.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(line) {
				t.Fatalf("error %#v", err)
			}
			return
		}
		e, id, prev, _, err := record.Parse(line)
		if err != nil {
			t.Fatalf("Scan takes what Parse refuses: %v", err)
		}
		var sum [64]byte
		if !record.Sum(line, &sum) {
			t.Fatal("Scan takes a line that ends in no hash")
		}
		body, _, err := e.AppendBody(nil)
		if err != nil {
			return // request or approval, into which Scan does not look
		}
		// A line from elsewhere may have other escapes, or space within request.
		// Written once by us, it does not change any more.
		ours, _ := record.AppendLine(nil, id, body, (*[64]byte)([]byte(prev)))
		checkLine(t, ours)
		again, _, _, _, err := record.Parse(ours)
		if err != nil {
			t.Fatal(err)
		}
		again.Request, again.Approval = e.Request, e.Approval
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// checkLine holds line, which AppendLine made, to all that holds for such lines.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	var sum [64]byte
	e, id, prev, hash, err := record.Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if !record.Sum(line, &sum) || string(sum[:]) != hash {
		t.Fatalf("hash %s, want %s", hash, sum)
	}
	if !json.Valid(line) {
		t.Fatalf("not JSON: %q", line)
	}
	body, _, err := e.AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := record.AppendLine(nil, id, body, (*[64]byte)([]byte(prev))); !bytes.Equal(again, line) {
		t.Fatalf("got  %q\nwant %q", again, line)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "tool" : "exec", "request" : { "a" : 1 } } `, `{"tool":"\ud800","decision":{"matched_policies":[ "a" ,"b"]}}`,
		`{"response":{"exit_code":-1,"duration_ms":0,"flags":["x"]},"decision":{"evaluation_time_us":-0}}`, `{"id":1}`, `{"Tool":""}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var e record.Event
		var err error
		heaptest.Bound(t, len(src), func() { e, err = record.ParseEvent(src) })
		if err != nil {
			var syntax *record.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(src) {
				t.Fatalf("error %#v", err)
			}
			return
		}
		checkLine(t, appendLine(t, e))
	})
}
