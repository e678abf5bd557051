package record_test

import (
	"testing"

	"github.com/rampartlog/rampart/internal/record"
)

func TestString(t *testing.T) {
	for _, test := range []struct{ s, want string }{ // want is what AppendString makes of s
		{"", `""`},
		{"plain", `"plain"`},
		{"eight by" + "tes, and <more> &co", `"eight bytes, and <more> &co"`},
		{"\"\\/\b\f\n\r\t\x00\x1f\x7f", `"\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f\""},
		{"é\u2028\u2029\ufffd\ufeff\U0001f600", "\"é\u2028\u2029\ufffd\ufeff\U0001f600\""},
		{"\xed\xa0\x80", `"\ud800"`},
		{"a\xed\xaf\xbfb", `"a\udbffb"`},
		{"\xed\xb0\x80\xed\xa0\x80", `"\udc00\ud800"`},
		{"1234567\xed\xbf\xbf", `"1234567\udfff"`},
		{"\xed\x9f\xbf\xee\x80\x80", "\"\ud7ff\ue000\""},
	} {
		got, err := record.AppendString([]byte("before "), test.s)
		if want := "before " + test.want; err != nil || string(got) != want {
			t.Errorf("AppendString(%q) = %s, %v, want %s", test.s, got, err, want)
		}
		if back, err := record.String([]byte(test.want)); err != nil || back != test.s {
			t.Errorf("String(%s) = %q, %v, want %q", test.want, back, err, test.s)
		}
	}
}

func TestStringEscapes(t *testing.T) {
	for value, want := range map[string]string{
		`"\/\u0041\u00E9\u20ac"`: "/Aé€",
		`"\ud83d\uDE00!"`:        "\U0001f600!",
		`"\ud83d\ud83d\ude00"`:   "\xed\xa0\xbd\U0001f600",
		`"\ud83dx\ude00"`:        "\xed\xa0\xbdx\xed\xb8\x80",
		`"\ud83d\n"`:             "\xed\xa0\xbd\n",
		`"\\u0041"`:              `\u0041`,
	} {
		if got, err := record.String([]byte(value)); err != nil || got != want {
			t.Errorf("String(%s) = %q, %v, want %q", value, got, err, want)
		}
		if raw := []byte(value[1 : len(value)-1]); !record.Equal(raw, want) || record.Equal(raw, string(raw)) {
			t.Errorf("Equal does not see that %s stands for %q", raw, want)
		}
	}
}

func TestAppendStringRefuses(t *testing.T) {
	for s, want := range map[string]string{
		"\xff":                     "byte 0: invalid UTF-8",
		"12345678\x80":             "byte 8: invalid UTF-8",
		"é\xc3":                    "byte 2: invalid UTF-8",
		"a\xed\xa0":                "byte 1: invalid UTF-8",
		"\xed\xa0\xbd\xed\xb8\x80": "byte 0: invalid UTF-8",
		"\xf4\x90\x80\x80":         "byte 0: invalid UTF-8",
	} {
		if got, err := record.AppendString(nil, s); err == nil || err.Error() != want || got != nil {
			t.Errorf("AppendString(%q) = %s, %v, want %s", s, got, err, want)
		}
	}
}

func TestStringRefuses(t *testing.T) {
	for value, want := range map[string]string{
		``:       "byte 0: expected a string, found the end",
		`1`:      "byte 0: expected a string, found '1'",
		`"a`:     "byte 2: string without its closing quote",
		`"a" `:   "byte 3: expected the end, found ' '",
		`"\x"`:   "byte 1: no escape that JSON has",
		"\"\t\"": "byte 1: control character in a string",
	} {
		if got, err := record.String([]byte(value)); err == nil || err.Error() != want || got != "" {
			t.Errorf("String(%s) = %q, %v, want %s", value, got, err, want)
		}
	}
}

func TestEqual(t *testing.T) {
	for _, test := range []struct {
		raw, s string
		want   bool
	}{
		{"", "", true},
		{"exec", "exec", true},
		{"exec", "exe", false},
		{"exec", "Exec", false},
		{`a\nb`, "a\nb", true},
		{`a\nb`, `a\nb`, false},
		{`\\`, `\`, true},
		{`\\`, `\\`, false},
	} {
		if got := record.Equal([]byte(test.raw), test.s); got != test.want {
			t.Errorf("Equal(%s, %q) = %v", test.raw, test.s, got)
		}
	}
}

func TestTextOfNoEscape(t *testing.T) {
	for raw, want := range map[string]string{`a\n\u12`: "a\n\\u12", `a\n\`: "a\n\\"} {
		if got := record.Text([]byte(raw)); got != want {
			t.Errorf("Text(%s) = %q, want %q", raw, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for src, want := range map[string]string{
		`""`: "", `"a\"b"`: `a"b`, `[]`: "", `["rm"]`: "rm", `[ "rm" , "-r\u0066", ""]`: "rm -rf ",
	} {
		if got, err := record.Words([]byte(src)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", src, got, err, want)
		}
	}
	for _, src := range []string{`1`, `null`, `{}`, `["a",1]`, `[["a"]]`, `[null]`} {
		if got, err := record.Words([]byte(src)); err == nil {
			t.Errorf("%s: %q", src, got)
		}
	}
}
