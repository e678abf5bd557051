package record_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/record"
)

// decoded has a target of each type that Decode fills.
type decoded struct {
	S    string
	P    *string
	N    int64
	B    *bool
	O    []byte
	List []string
}

func (d *decoded) targets() map[string]any {
	return map[string]any{"s": &d.S, "p": &d.P, "n": &d.N, "b": &d.B, "o": &d.O, "list": &d.List}
}

func TestDecode(t *testing.T) {
	for src, want := range map[string]decoded{
		`{}`: {},
		` { "s" : "a\u0062" , "p" : "" , "n" : -9223372036854775808, "b":false, "o": { "x" : 1.50 }, "list":[ "a" , "\ud800"], "other":[1] } `: {
			S: "ab", P: ptr(""), N: -1 << 63, B: ptr(false), O: []byte(`{ "x" : 1.50 }`), List: []string{"a", "\xed\xa0\x80"}},
		`{"\u0073":"x","S":1,"N":"x"}`:                                    {S: "x"},
		`{"s":null,"p":null,"n":null,"b":null,"o":null}`:                  {},
		`{"list":[],"b":true,"n":0,"o":{}}`:                               {List: []string{}, B: ptr(true), O: []byte(`{}`)},
		`{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`: {},
	} {
		var got decoded
		if err := record.Decode([]byte(src), got.targets()); err != nil {
			t.Errorf("%s: %v", src, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", src, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{``, "byte 0: expected an object, found the end"},
		{`[]`, "byte 0: expected an object, found '['"},
		{`{"x":1}x`, "byte 7: expected the end, found 'x'"},
		{`{"x":1,"\u0078":2}`, `byte 7: duplicate member name "x"`},
		{`{"o":{"a":1,"a":2}}`, `byte 12: duplicate member name "a"`},
		{`{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, "byte 68: nested deeper than 64"},
		{`{"s":7}`, "byte 5: s: expected a string, found a number"},
		{`{"p":["ls"]}`, "byte 5: p: expected a string, found an array"},
		{`{"n":1.5}`, "byte 5: n: expected a whole number of 64 bits"},
		{`{"n":1e1}`, "byte 5: n: expected a whole number of 64 bits"},
		{`{"n":9223372036854775808}`, "byte 5: n: expected a whole number of 64 bits"},
		{`{"n":"1"}`, "byte 5: n: expected a whole number of 64 bits"},
		{`{"b":"true"}`, "byte 5: b: expected true or false, found a string"},
		{`{"b":1}`, "byte 5: b: expected true or false, found a number"},
		{`{"o":[]}`, "byte 5: o: expected an object, found an array"},
		{`{"list":null}`, "byte 8: list: expected an array of strings, found null"},
		{`{"list":"x"}`, "byte 8: list: expected an array of strings, found a string"},
		{`{"list":["x",7]}`, "byte 13: list: expected a string, found a number"},
	} {
		err := record.Decode([]byte(test.src), new(decoded).targets())
		var syntax *record.SyntaxError
		if err == nil || err.Error() != test.want || !errors.As(err, &syntax) {
			t.Errorf("%.80s\ngot  %v\nwant %s", test.src, err, test.want)
		}
	}
}

// A target that can't be filled would be one that is silently left alone.
func TestDecodeOfNoSuchTarget(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a *json.RawMessage is taken, and left alone")
		}
	}()
	record.Decode([]byte(`{"o":{}}`), map[string]any{"o": new(json.RawMessage)})
}

func TestAppendStrings(t *testing.T) {
	for want, pairs := range map[string][]string{
		`{}`:                         nil,
		`{"a":""}`:                   {"a", ""},
		`{"a":"x\"\n","b":"\ud800"}`: {"a", "x\"\n", "b", "\xed\xa0\x80"},
	} {
		if got, err := record.AppendStrings([]byte("before"), pairs...); err != nil || string(got) != "before"+want {
			t.Errorf("%q: %s, %v", pairs, got, err)
		}
	}
	got, err := record.AppendStrings([]byte("before"), "a", "x", "b", "y\xff")
	var syntax *record.SyntaxError
	if string(got) != "before" || !errors.As(err, &syntax) || err.Error() != "b: byte 1: invalid UTF-8" {
		t.Errorf("%s, %v", got, err)
	}
}

// Decode takes an object with those members as encoding/json does, or refuses it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"s":"a","p":"b","n":7,"b":true,"o":{"x":[1.0]},"list":["a","b"]}`, `{"s":null,"b":1}`, `{"list":null}`, `{"n":-0}`, `{"S":"a"}`, `{"s":"a","s":"b"}`, `{"list":[ ]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var got decoded
		var err error
		heaptest.Bound(t, len(src), func() { err = record.Decode(src, got.targets()) })
		if err != nil {
			var syntax *record.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(src) {
				t.Fatalf("error %#v", err)
			}
			return
		}
		members := map[string]json.RawMessage{} // encoding/json takes S for s
		if err := json.Unmarshal(src, &members); err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		var want decoded
		for name, target := range map[string]any{"n": &want.N, "b": &want.B, "list": &want.List} {
			if raw := members[name]; raw != nil {
				if err := json.Unmarshal(raw, target); err != nil {
					t.Errorf("%q: %s: %v", src, name, err)
				}
			}
		}
		if raw := members["o"]; raw != nil && string(raw) != "null" {
			want.O = raw
		}
		want.S, want.P = got.S, got.P // lone surrogates have a form of their own, see FuzzString
		for i := range want.List {
			want.List[i] = got.List[i]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", src, diff)
		}
	})
}
