package record_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rampartlog/rampart/internal/record"
)

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestAppendCompact(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{`null`, `null`},
		{" \t\r\n1 ", `1`},
		{"{ \"a\" : [ 1 , 2 ] ,\n\"b\":{ } , \"c\" : [ ] }", `{"a":[1,2],"b":{},"c":[]}`},
		{`{"":1," ":2}`, `{"":1," ":2}`},
		{`" a  b "`, `" a  b "`},
		{`[0,-0,10,1.50,1E400,1e-7,0.0e+00,123456789012345678901234567890]`, `[0,-0,10,1.50,1E400,1e-7,0.0e+00,123456789012345678901234567890]`},
		{`"\"\\\/\b\f\n\r\t\u00e9\u00E9\u0000"`, `"\"\\\/\b\f\n\r\t\u00e9\u00E9\u0000"`},
		{`"\ud800 \udc00\ud800 \uD83D\uDE00"`, `"\ud800 \udc00\ud800 \uD83D\uDE00"`},
		{"\"\x7f é \u2028 \U0010ffff \ufffd \ufeff\"", "\"\x7f é \u2028 \U0010ffff \ufffd \ufeff\""},
		{`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`},
		{"{\"a\":1,\"A\":2,\"\u00e1\":3,\"a\u0301\":4}", "{\"a\":1,\"A\":2,\"\u00e1\":3,\"a\u0301\":4}"},
		{nested(record.MaxDepth), nested(record.MaxDepth)},
	} {
		got, err := record.AppendCompact([]byte("before "), []byte(test.src))
		if want := "before " + test.want; err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", test.src, got, err, want)
		}
	}
}

func TestAppendCompactRefuses(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{``, "byte 0: expected a value, found the end"},
		{` `, "byte 1: expected a value, found the end"},
		{`1 2`, "byte 2: expected the end, found '2'"},
		{`{}}`, "byte 2: expected the end, found '}'"},
		{"\ufeff{}", `byte 0: expected a value, found '\ufeff'`},
		{"\v1", `byte 0: expected a value, found '\v'`},
		{"\u00a01", `byte 0: expected a value, found '\u00a0'`},
		{"1\x00", `byte 1: expected the end, found '\x00'`},
		{"\xff", "byte 0: expected a value, found byte 0xff"},

		{`True`, "byte 0: expected a value, found 'T'"},
		{`nul`, "byte 0: expected null, found 'n'"},
		{`truer`, "byte 4: expected the end, found 'r'"},
		{`NaN`, "byte 0: expected a value, found 'N'"},

		{`01`, "byte 0: number with a leading zero"},
		{`-01`, "byte 1: number with a leading zero"},
		{`-`, "byte 1: expected a digit, found the end"},
		{`+1`, "byte 0: expected a value, found '+'"},
		{`.5`, "byte 0: expected a value, found '.'"},
		{`1.`, "byte 2: expected a digit, found the end"},
		{`1.e5`, "byte 2: expected a digit, found 'e'"},
		{`1e+`, "byte 3: expected a digit, found the end"},
		{`0x10`, "byte 1: expected the end, found 'x'"},
		{`-Infinity`, "byte 1: expected a digit, found 'I'"},

		{`"`, "byte 1: string without its closing quote"},
		{`"12345678`, "byte 9: string without its closing quote"},
		{`"\"`, "byte 3: string without its closing quote"},
		{`"\`, "byte 1: no escape that JSON has"},
		{`"\x41"`, "byte 1: no escape that JSON has"},
		{`"\u12"`, "byte 1: no escape that JSON has"},
		{`"\u12G4"`, "byte 1: no escape that JSON has"},
		{`"\U0041"`, "byte 1: no escape that JSON has"},
		{"\"a\nb\"", "byte 2: control character in a string"},
		{"\"12345678\x00\"", "byte 9: control character in a string"},
		{"\"\x1f\"", "byte 1: control character in a string"},
		{"\"a\xffb\"", "byte 2: invalid UTF-8"},
		{"\"\xc0\x80\"", "byte 1: invalid UTF-8"},         // overlong
		{"\"\xed\xa0\x80\"", "byte 1: invalid UTF-8"},     // a surrogate
		{"\"\xf4\x90\x80\x80\"", "byte 1: invalid UTF-8"}, // beyond U+10FFFF
		{"\"\xe2\x82\"", "byte 1: invalid UTF-8"},         // cut
		{`'a'`, `byte 0: expected a value, found '\''`},

		{`[1,]`, "byte 3: expected a value, found ']'"},
		{`[,1]`, "byte 1: expected a value, found ','"},
		{`[1 2]`, "byte 3: expected ',' or ']', found '2'"},
		{`[1}`, "byte 2: expected ',' or ']', found '}'"},
		{`[`, "byte 1: expected a value, found the end"},
		{`{"a":1,}`, "byte 7: expected a member name, found '}'"},
		{`{"a":1]`, "byte 6: expected ',' or '}', found ']'"},
		{`{"a" 1}`, "byte 5: expected ':', found '1'"},
		{`{"a":}`, "byte 5: expected a value, found '}'"},
		{`{a:1}`, "byte 1: expected a member name, found 'a'"},
		{`{"a\x":1}`, "byte 3: no escape that JSON has"},
		{`{1:1}`, "byte 1: expected a member name, found '1'"},
		{`{"a":1/*c*/}`, "byte 6: expected ',' or '}', found '/'"},
		{`{`, "byte 1: expected a member name, found the end"},

		{`{"a":1,"b":2,"a":3}`, `byte 13: duplicate member name "a"`},
		{`[{"x":{"a":1, "a":1}}]`, `byte 14: duplicate member name "a"`},
		{`{"a":1,"\u0061":2}`, `byte 7: duplicate member name "a"`},
		{`{"\u0061":1,"a":2}`, `byte 12: duplicate member name "a"`},
		{`{"/":1,"\/":2}`, `byte 7: duplicate member name "/"`},
		{`{"😀":1,"\ud83d\uDE00":2}`, "byte 10: duplicate member name \"😀\""},
		{`{"\ud800":1,"\uD800":2}`, `byte 12: duplicate member name "\xed\xa0\x80"`},
		{`{"":1,"":2}`, `byte 6: duplicate member name ""`},
		{`{"` + strings.Repeat("n", 100) + `":1,"` + strings.Repeat("n", 100) + `":2}`,
			`byte 106: duplicate member name "` + strings.Repeat("n", 64) + `"…`},

		{nested(record.MaxDepth + 1), "byte 64: nested deeper than 64"},
		{strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), "byte 320: nested deeper than 64"},
		{strings.Repeat("[", 1<<20), "byte 64: nested deeper than 64"},
	} {
		got, err := record.AppendCompact([]byte("before"), []byte(test.src))
		var syntax *record.SyntaxError
		if err == nil || err.Error() != test.want || !errors.As(err, &syntax) || string(got) != "before" {
			t.Errorf("%.80s\ngot  %q, %v\nwant %s", test.src, got, err, test.want)
		}
	}
}

// Objects outgrow the names that are compared one by one in each of the ways there are.
func TestDuplicateAmongMany(t *testing.T) {
	object := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"n%d":{"x":%d},`, i, i)
		}
		return "{" + b.String() + last + ":0}"
	}
	for _, n := range []int{1, 31, 32, 33, 1000} {
		for _, src := range []string{object(n, `"n"`), `{"a":` + object(n, `"b"`) + `,"b":` + object(n, `"a"`) + `}`} {
			if got, err := record.AppendObject(nil, []byte(src)); err != nil || string(got) != src {
				t.Errorf("%d members: %v", n, err)
			}
		}
		for _, name := range []string{`"n0"`, fmt.Sprintf(`"n%d"`, n-1), `"\u006e0"`} {
			src := object(n, name)
			_, err := record.AppendObject(nil, []byte(src))
			if want := fmt.Sprintf("byte %d: duplicate", len(src)-len(name)-len(":0}")); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%d members and %s: %v, want %s", n, name, err, want)
			}
		}
	}
}

// A hostile object may cost an allocation or so for each of its names. Comparing
// each with all before it would hold this test up for half a minute.
func TestManyMembers(t *testing.T) {
	const n = 100_000
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	src := append([]byte("{"), b.Bytes()[1:]...)
	src = append(src, '}')
	if allocs := testing.AllocsPerRun(1, func() {
		if _, err := record.AppendObject(nil, src); err != nil {
			t.Error(err)
		}
	}); allocs > 2*n {
		t.Errorf("%v allocations for %d members", allocs, n)
	}
}

func TestAppendObject(t *testing.T) {
	for src, want := range map[string]string{
		`[]`:   "byte 0: expected an object, found '['",
		` "a"`: `byte 1: expected an object, found '"'`,
		`null`: "byte 0: expected an object, found 'n'",
		``:     "byte 0: expected an object, found the end",
		`{} {`: "byte 3: expected the end, found '{'",
	} {
		if got, err := record.AppendObject(nil, []byte(src)); err == nil || err.Error() != want || got != nil {
			t.Errorf("%s: got %q, %v, want %s", src, got, err, want)
		}
	}
	if got, err := record.AppendObject(nil, []byte(" {\n} ")); err != nil || string(got) != "{}" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMembers(t *testing.T) {
	type member struct {
		Name, Value string
		Offset      int
	}
	var got []member
	src := ` { "a" : [ 1 ] ,"\u0062\ud800":"x","c":{"a":1}}`
	err := record.Members([]byte(src), func(name string, value []byte, offset int) error {
		got = append(got, member{name, string(value), offset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []member{{"a", "[ 1 ]", 9}, {"b\xed\xa0\x80", `"x"`, 31}, {"c", `{"a":1}`, 39}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	stop := errors.New("stop")
	calls := 0
	err = record.Members([]byte(src), func(string, []byte, int) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("got %v after %d calls, want the function's error after one", err, calls)
	}
	if err := record.Members([]byte("[]"), nil); err == nil {
		t.Error("an array has members")
	}
}

// Requests of real tool calls are kept byte for byte.
func TestToolCalls(t *testing.T) {
	file, err := os.Open("../../../shared/data/toolcalls.jsonl")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	n := 0
	for lines.Scan() {
		n++
		var call struct{ Request json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			t.Fatal(err)
		}
		got, err := record.AppendObject(nil, call.Request)
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, call.Request); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("line %d:\ngot  %s\nwant %s", n, got, want.Bytes())
		}
	}
	if err := lines.Err(); err != nil || n == 0 {
		t.Fatalf("%d lines, %v", n, err)
	}
}
