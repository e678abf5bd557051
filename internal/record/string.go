package record

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// A Go string has no way to hold the lone surrogate that the escape \ud800 of
// JSON stands for. Decoded it becomes the three bytes that UTF-8 would have
// for it if it allowed them (WTF-8), which no valid input holds, and encoded
// it becomes an escape again: nothing is lost on the way.

func isSurrogate(b []byte) bool {
	return len(b) >= 3 && b[0] == 0xED && b[1] >= 0xA0 && b[1] <= 0xBF && b[2] >= 0x80 && b[2] <= 0xBF
}

// String decodes a JSON string that [AppendCompact] has passed.
func String(value []byte) (string, error) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", errors.New("expected a string")
	}
	return Text(value[1 : len(value)-1]), nil
}

// Text decodes what stands between the quotes of a JSON string.
func Text(raw []byte) string {
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return string(raw)
	}
	out := make([]byte, i, len(raw))
	copy(out, raw)
	for i < len(raw) {
		b := raw[i]
		if b != '\\' {
			out = append(out, b)
			i++
			continue
		}
		n := escapeLen(raw[i:])
		if n == 0 {
			return string(append(out, raw[i:]...))
		}
		if n == 2 {
			out = append(out, unescaped(raw[i+1]))
			i += 2
			continue
		}
		r := hex4(raw[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			if len(raw) >= i+6 && raw[i] == '\\' && raw[i+1] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(raw[i+2:])); pair != utf8.RuneError {
					out = utf8.AppendRune(out, pair)
					i += 6
					continue
				}
			}
			out = append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

func unescaped(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return b
}

// Equal reports whether what stands between the quotes of a JSON string is s.
func Equal(raw []byte, s string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == s
	}
	return Text(raw) == s
}

var errUTF8 = errors.New("invalid UTF-8")

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Quotes, backslashes, control
// characters and lone surrogates are escaped, nothing else is. What is not
// UTF-8 is an error.
func AppendString(dst []byte, s string) ([]byte, error) {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		b := s[i]
		if plain[b] {
			i++
			continue
		}
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			if i+3 > len(s) || !isSurrogate([]byte(s[i:i+3])) {
				return dst, errUTF8
			}
			u := 0xD000 | uint16(s[i+1]&0x3F)<<6 | uint16(s[i+2]&0x3F)
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
			i += 3
			from = i
			continue
		}
		dst = append(dst, s[from:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"'), nil
}
