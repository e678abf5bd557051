package record

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deeply arrays and objects may be nested.
const MaxDepth = 64

// SyntaxError says what is wrong with JSON from outside, and where.
type SyntaxError struct {
	Offset int // in bytes, from 0
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Msg) }

// AppendCompact checks that src is exactly one JSON value (RFC 8259) and
// appends it to dst without insignificant white space. Nothing else is
// changed: numbers and escapes stay as they were sent, escapes of lone
// surrogates included.
//
// It is strict: UTF-8, no raw control characters, no member name twice in an
// object (compared decoded), at most [MaxDepth] levels. An error is a
// [*SyntaxError] with the offset in src; dst is then as it was.
func AppendCompact(dst, src []byte) ([]byte, error) {
	c := checker{src: src, dst: dst}
	c.space()
	if err := c.value(0); err != nil {
		return dst, err
	}
	if c.space(); c.at < len(src) {
		return dst, c.errorf("expected the end of the JSON, found %s", c.found())
	}
	return c.dst, nil
}

// AppendObject is [AppendCompact] for a value that must be an object.
func AppendObject(dst, src []byte) ([]byte, error) {
	if i := len(src) - len(bytes.TrimLeft(src, " \t\r\n")); i == len(src) || src[i] != '{' {
		c := checker{src: src, at: i}
		return dst, c.errorf("expected an object, found %s", c.found())
	}
	return AppendCompact(dst, src)
}

type checker struct {
	src []byte
	at  int
	dst []byte
}

func (c *checker) errorf(format string, args ...any) error {
	return &SyntaxError{c.at, fmt.Sprintf(format, args...)}
}

func (c *checker) found() string {
	if c.at >= len(c.src) {
		return "the end"
	}
	r, size := utf8.DecodeRune(c.src[c.at:])
	if r == utf8.RuneError && size == 1 {
		return "invalid UTF-8"
	}
	return fmt.Sprintf("%q", r)
}

func (c *checker) space() {
	for c.at < len(c.src) && isSpace[c.src[c.at]] {
		c.at++
	}
}

var isSpace = [256]bool{' ': true, '\t': true, '\r': true, '\n': true}

func (c *checker) value(depth int) error {
	if c.at >= len(c.src) {
		return c.errorf("expected a value, found the end")
	}
	switch b := c.src[c.at]; {
	case b == '{':
		return c.object(depth + 1)
	case b == '[':
		return c.array(depth + 1)
	case b == '"':
		_, err := c.str()
		return err
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if rest := c.src[c.at:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			c.keep(len(word))
			return nil
		}
	}
	return c.errorf("expected a value, found %s", c.found())
}

func (c *checker) keep(n int) {
	c.dst = append(c.dst, c.src[c.at:c.at+n]...)
	c.at += n
}

func (c *checker) enter(depth int) error {
	if depth > MaxDepth {
		return c.errorf("nested more than %d levels deep", MaxDepth)
	}
	c.keep(1)
	c.space()
	return nil
}

// next moves past what stands between two elements: a comma, or close.
func (c *checker) next(close byte) (more bool, err error) {
	c.space()
	if c.at < len(c.src) {
		switch c.src[c.at] {
		case ',':
			c.keep(1)
			c.space()
			return true, nil
		case close:
			c.keep(1)
			return false, nil
		}
	}
	return false, c.errorf("expected ',' or %q, found %s", close, c.found())
}

func (c *checker) array(depth int) error {
	if err := c.enter(depth); err != nil {
		return err
	}
	if c.at < len(c.src) && c.src[c.at] == ']' {
		c.keep(1)
		return nil
	}
	for {
		if err := c.value(depth); err != nil {
			return err
		}
		if more, err := c.next(']'); !more {
			return err
		}
	}
}

func (c *checker) object(depth int) error {
	if err := c.enter(depth); err != nil {
		return err
	}
	if c.at < len(c.src) && c.src[c.at] == '}' {
		c.keep(1)
		return nil
	}
	var names names
	for {
		if c.at >= len(c.src) || c.src[c.at] != '"' {
			return c.errorf("expected a member name, found %s", c.found())
		}
		at := c.at
		name, err := c.str()
		if err != nil {
			return err
		}
		if !names.add(name) {
			c.at = at
			return c.errorf("member name %.100s stands twice in one object", c.src[at:at+len(name)+2])
		}
		c.space()
		if c.at >= len(c.src) || c.src[c.at] != ':' {
			return c.errorf("expected ':', found %s", c.found())
		}
		c.keep(1)
		c.space()
		if err := c.value(depth); err != nil {
			return err
		}
		if more, err := c.next('}'); !more {
			return err
		}
	}
}

// names are the member names of one object. A few are compared one by one; a
// hostile object with very many does not cost the square of their number.
type names struct {
	few  [16][]byte
	n    int
	many map[string]struct{}
}

func (s *names) add(raw []byte) bool {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = []byte(Text(raw))
	}
	if s.many == nil {
		for _, have := range s.few[:s.n] {
			if bytes.Equal(have, raw) {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = raw
			s.n++
			return true
		}
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, have := range s.few {
			s.many[string(have)] = struct{}{}
		}
	}
	if _, ok := s.many[string(raw)]; ok {
		return false
	}
	s.many[string(raw)] = struct{}{}
	return true
}

// plain are the bytes that stand for themselves in a string, ASCII alone.
var plain = func() (t [256]bool) {
	for b := 0x20; b < utf8.RuneSelf; b++ {
		t[b] = b != '"' && b != '\\'
	}
	return t
}()

// str checks a string and returns it without its quotes.
func (c *checker) str() ([]byte, error) {
	src, i := c.src, c.at+1
	fail := func(i int, format string, args ...any) ([]byte, error) {
		c.at = i
		return nil, c.errorf(format, args...)
	}
	for {
		for i < len(src) && plain[src[i]] {
			i++
		}
		if i >= len(src) {
			return fail(i, "expected the end of a string, found the end")
		}
		switch b := src[i]; {
		case b == '"':
			raw := src[c.at+1 : i]
			c.keep(i + 1 - c.at)
			return raw, nil
		case b == '\\':
			n := escapeLen(src[i:])
			if n == 0 {
				return fail(i, "not an escape that JSON has")
			}
			i += n
		case b < 0x20:
			return fail(i, "control character %#02x in a string; escape it", b)
		default:
			r, size := utf8.DecodeRune(src[i:])
			if r == utf8.RuneError && size == 1 {
				return fail(i, "invalid UTF-8")
			}
			i += size
		}
	}
}

// escapeLen is the length of the escape at the beginning of b, or 0.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex4(b[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) rune {
	var r rune
	for _, d := range b[:4] {
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d >= 'a' && d <= 'f':
			d -= 'a' - 10
		case d >= 'A' && d <= 'F':
			d -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

func (c *checker) number() error {
	i, start := c.at, c.at
	digits := func() bool {
		from := i
		for i < len(c.src) && c.src[i] >= '0' && c.src[i] <= '9' {
			i++
		}
		return i > from
	}
	is := func(set string) bool { return i < len(c.src) && strings.IndexByte(set, c.src[i]) >= 0 }
	if is("-") {
		i++
	}
	whole := i
	ok := digits()
	if ok && i > whole+1 && c.src[whole] == '0' {
		return c.errorf("a number with a leading zero")
	}
	if ok && is(".") {
		i++
		ok = digits()
	}
	if ok && is("eE") {
		if i++; is("+-") {
			i++
		}
		ok = digits()
	}
	if !ok {
		c.at = i
		return c.errorf("expected a digit, found %s", c.found())
	}
	c.keep(i - start)
	return nil
}

// Members calls fn for each member of the object src, which [AppendObject] has
// passed, until it returns an error. name is decoded, value is raw, offset is
// that of value in src.
func Members(src []byte, fn func(name string, value []byte, offset int) error) error {
	c := checker{src: src}
	c.space()
	c.at++ // '{'
	for c.space(); c.at < len(src) && src[c.at] != '}'; c.space() {
		if src[c.at] == ',' {
			c.at++
			continue
		}
		end := stringEnd(src, c.at)
		name := Text(src[c.at+1 : end-1])
		c.at = end
		c.space()
		c.at++ // ':'
		c.space()
		from := c.at
		if c.at = valueEnd(src, from); c.at < 0 {
			return &SyntaxError{from, "not a value"}
		}
		if err := fn(name, src[from:c.at], from); err != nil {
			return err
		}
	}
	return nil
}

// stringEnd returns the offset past the string that begins at i, or -1.
func stringEnd(b []byte, i int) int {
	for i++; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		back := i
		for b[back-1] == '\\' {
			back--
		}
		if (i-back)%2 == 0 {
			return i + 1
		}
	}
}

// valueEnd returns the offset past the value that begins at i, or -1. It looks
// at strings and brackets alone.
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = stringEnd(b, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	if depth > 0 {
		return -1
	}
	return i
}
