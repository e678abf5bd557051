package record

import (
	"bytes"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// AppendString appends s as a JSON string. It escapes what JSON demands, the
// quote, the backslash and controls, and nothing else; lone surrogates in
// their 3-byte form (WTF-8) become \ud800 to \udfff. Any other invalid UTF-8 is
// a [*SyntaxError] with its offset into s, and dst is as it was.
func AppendString(dst []byte, s string) ([]byte, error) {
	out := append(dst, '"')
	from := 0 // s[from:i] is yet to be copied
	for i := 0; ; {
		for i+8 <= len(s) {
			m := special(word(s, i))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i == len(s) {
			out = append(out, s[from:]...)
			return append(out, '"'), nil
		}
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			// A high surrogate before a low one is no WTF-8: the pair has a 4-byte form.
			if !isSurrogate(s[i:]) || s[i+1] < 0xB0 && isSurrogate(s[i+3:]) && s[i+4] >= 0xB0 {
				return dst, &SyntaxError{i, "invalid UTF-8"}
			}
			out = append(out, s[from:i]...)
			out = append(out, '\\', 'u', 'd', hexDigits[8|s[i+1]>>2&7], hexDigits[s[i+1]&3<<2|s[i+2]>>4&3], hexDigits[s[i+2]&15])
			i += 3
			from = i
		case c < ' ' || c == '"' || c == '\\':
			out = append(out, s[from:i]...)
			if e := escapes[c]; e != 0 {
				out = append(out, '\\', e)
			} else {
				out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
		default:
			i++
		}
	}
}

const hexDigits = "0123456789abcdef"

// escapes has the letter of each two-character escape at the byte it stands for.
var escapes = ['\\' + 1]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// isSurrogate reports whether s begins with a surrogate in its 3-byte form.
func isSurrogate(s string) bool {
	return len(s) >= 3 && s[0] == 0xED && s[1]&0xE0 == 0xA0 && s[2]&0xC0 == 0x80
}

// String decodes value, a JSON string with its quotes. Lone surrogate escapes
// become their 3-byte form (WTF-8), which [AppendString] turns back. The error
// is a [*SyntaxError].
func String(value []byte) (string, error) {
	if len(value) == 0 || value[0] != '"' {
		return "", expected(value, 0, "a string")
	}
	end, _, fault := scanString(value, 0)
	if fault != "" {
		return "", &SyntaxError{end, fault}
	}
	if end != len(value) {
		return "", expected(value, end, "the end")
	}
	return Text(value[1 : end-1]), nil
}

// Words decodes value, which must be valid JSON: a string, or an array of
// strings as one with spaces between them, as a person reads a command.
func Words(value []byte) (string, error) {
	if value[0] != '[' {
		return String(value)
	}
	var list []string
	if err := (member{value: value}).texts(&list); err != nil {
		return "", err
	}
	return strings.Join(list, " "), nil
}

// Text is what raw, the inside of a JSON string as [Scan] passed it, stands
// for. An escape that is cut off at the end of raw stays as it is.
func Text(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	return string(unescape(raw))
}

// Equal reports whether raw, the inside of a JSON string as [Scan] passed it,
// stands for s. It allocates only if raw has an escape.
func Equal(raw []byte, s string) bool {
	if string(raw) == s {
		return bytes.IndexByte(raw, '\\') < 0
	}
	return len(raw) > len(s) && bytes.IndexByte(raw, '\\') >= 0 && string(unescape(raw)) == s
}

// unescape decodes the inside of a JSON string that scanString has passed.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 == len(raw) {
			return append(out, raw...)
		}
		out = append(out, raw[:i]...)
		raw = raw[i:]
		switch c := raw[1]; c {
		case 'u':
			r, ok := unicodeEscape(raw)
			if !ok {
				return append(out, raw...)
			}
			raw = raw[6:]
			if low, ok := unicodeEscape(raw); ok && r>>10 == 0xD800>>10 && low>>10 == 0xDC00>>10 {
				r = 0x10000 + (r&0x3FF)<<10 | low&0x3FF
				raw = raw[6:]
			}
			if r>>11 == 0xD800>>11 {
				out = append(out, 0xED, 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
			} else {
				out = utf8.AppendRune(out, r)
			}
			continue
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default:
			out = append(out, c)
		}
		raw = raw[2:]
	}
}

// unicodeEscape reads the \uXXXX that b begins with.
func unicodeEscape(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// scanString checks the JSON string whose opening quote is src[i]. It returns
// the index after the closing quote, and whether the string has an escape. When
// fault is set, end is the index of the fault.
func scanString(src []byte, i int) (end int, escaped bool, fault string) {
	for i++; ; {
		for i+8 <= len(src) {
			m := special(word(src, i))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i == len(src) {
			return i, escaped, "string without its closing quote"
		}
		switch c := src[i]; {
		case c == '"':
			return i + 1, escaped, ""
		case c == '\\':
			escaped = true
			if i+1 < len(src) && src[i+1] != 'u' && isEscape[src[i+1]] {
				i += 2
			} else if _, ok := unicodeEscape(src[i:]); ok {
				i += 6
			} else {
				return i, escaped, "no escape that JSON has"
			}
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(src[i:])
			if r == utf8.RuneError && n == 1 {
				return i, escaped, "invalid UTF-8"
			}
			i += n
		case c < ' ':
			return i, escaped, "control character in a string"
		default:
			i++
		}
	}
}

var isEscape = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}
