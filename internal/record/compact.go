package record

import (
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested in a value from outside.
const MaxDepth = 64

// SyntaxError says what is wrong with JSON from outside, and where.
type SyntaxError struct {
	Offset int // into the input, in bytes from 0
	Msg    string
}

func (e *SyntaxError) Error() string { return "byte " + strconv.Itoa(e.Offset) + ": " + e.Msg }

// expected is the error for src[i], where there should be what.
func expected(src []byte, i int, what string) *SyntaxError {
	return &SyntaxError{i, "expected " + what + ", found " + found(src, i)}
}

func found(src []byte, i int) string {
	if i >= len(src) {
		return "the end"
	}
	r, n := utf8.DecodeRune(src[i:])
	if r == utf8.RuneError && n == 1 {
		return "byte 0x" + strconv.FormatUint(uint64(src[i]), 16)
	}
	return strconv.QuoteRune(r)
}

// AppendCompact checks that src is exactly one JSON value and appends it to dst
// without insignificant white space. Nothing else changes: numbers and escapes,
// including those of lone surrogates, stay as they were sent.
//
// Beyond RFC 8259 it demands valid UTF-8, no member name twice in one object
// (names are compared decoded: "a" is "\u0061") and a depth of at most
// [MaxDepth]. The error is a [*SyntaxError], and dst is then as it was.
// src and dst must not overlap.
//
// It allocates only when dst is too small, when objects nested in one another
// have more than 32 members between them, and for names with escapes. Whatever
// src holds, the time that it takes is in proportion to src's length.
func AppendCompact(dst, src []byte) ([]byte, error) {
	s := scanner{src: src, dst: dst, compact: true}
	i := s.value(s.space(0), 0)
	if !s.end(i) {
		return dst, s.err
	}
	return append(s.dst, src[s.from:]...), nil
}

// AppendObject is [AppendCompact] for a value that must be an object.
func AppendObject(dst, src []byte) ([]byte, error) {
	s := scanner{src: src, dst: dst, compact: true}
	i := s.object(s.space(0), 0, nil)
	if !s.end(i) {
		return dst, s.err
	}
	return append(s.dst, src[s.from:]...), nil
}

// Members calls fn for each member of the object src, in order, with its name
// decoded, its value raw and the value's offset in src. It stops at the first
// error that fn returns, and returns that. White space is allowed, also within
// value. Members checks src on the way, as [AppendObject] does: fn may have been
// called before a fault is found.
func Members(src []byte, fn func(name string, value []byte, offset int) error) error {
	return members(src, 0, func(name, value []byte, offset int) error {
		return fn(string(name), value, offset)
	})
}

// members is Members for an object that counts as nested depth levels deep.
func members(src []byte, depth int, fn func(name, value []byte, offset int) error) error {
	s := scanner{src: src}
	if !s.end(s.object(s.space(0), depth, fn)) {
		return s.err
	}
	return nil
}

// scanner checks JSON. Its methods take the index they begin at and return the
// one after what they passed, or -1 when err is set.
type scanner struct {
	src []byte
	err error

	compact bool   // whether dst is wanted
	dst     []byte // src[:from] without white space
	from    int

	// The member names of all objects that are open, as long as there is room
	// and no name has an escape: comparing a few costs less than any table.
	names [32]struct{ start, end int }
	n     int
}

func (s *scanner) fail(i int, msg string) int {
	s.err = &SyntaxError{i, msg}
	return -1
}

func (s *scanner) expected(i int, what string) int {
	s.err = expected(s.src, i, what)
	return -1
}

// end reports whether nothing but white space follows src[i].
func (s *scanner) end(i int) bool {
	if i < 0 {
		return false
	}
	if i = s.space(i); i < len(s.src) {
		s.expected(i, "the end")
		return false
	}
	return true
}

func (s *scanner) space(i int) int {
	if i < len(s.src) && s.src[i] > ' ' {
		return i
	}
	return s.skipSpace(i)
}

func (s *scanner) skipSpace(i int) int {
	start := i
	for i < len(s.src) && (s.src[i] == ' ' || s.src[i] == '\n' || s.src[i] == '\t' || s.src[i] == '\r') {
		i++
	}
	if i > start && s.compact {
		s.dst = append(s.dst, s.src[s.from:start]...)
		s.from = i
	}
	return i
}

func (s *scanner) value(i, depth int) int {
	if i >= len(s.src) {
		return s.expected(i, "a value")
	}
	switch c := s.src[i]; {
	case c == '"':
		end, _, fault := scanString(s.src, i)
		if fault != "" {
			return s.fail(end, fault)
		}
		return end
	case c == '{':
		return s.object(i, depth, nil)
	case c == '[':
		return s.array(i, depth)
	case c == '-' || isDigit(c):
		return s.number(i)
	case c == 't':
		return s.literal(i, "true")
	case c == 'f':
		return s.literal(i, "false")
	case c == 'n':
		return s.literal(i, "null")
	}
	return s.expected(i, "a value")
}

func (s *scanner) literal(i int, lit string) int {
	if end := i + len(lit); end <= len(s.src) && string(s.src[i:end]) == lit {
		return end
	}
	return s.expected(i, lit)
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func (s *scanner) number(i int) int {
	if s.src[i] == '-' {
		i++
	}
	first := i
	if i = s.digits(i); i < 0 {
		return -1
	}
	if s.src[first] == '0' && i > first+1 {
		return s.fail(first, "number with a leading zero")
	}
	if i < len(s.src) && s.src[i] == '.' {
		if i = s.digits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(s.src) && s.src[i]|0x20 == 'e' {
		i++
		if i < len(s.src) && (s.src[i] == '+' || s.src[i] == '-') {
			i++
		}
		return s.digits(i)
	}
	return i
}

func (s *scanner) digits(i int) int {
	start := i
	for i < len(s.src) && isDigit(s.src[i]) {
		i++
	}
	if i == start {
		return s.expected(i, "a digit")
	}
	return i
}

func (s *scanner) array(i, depth int) int {
	if depth == MaxDepth {
		return s.fail(i, tooDeep)
	}
	if i = s.space(i + 1); i < len(s.src) && s.src[i] == ']' {
		return i + 1
	}
	for {
		if i = s.value(i, depth+1); i < 0 {
			return -1
		}
		i = s.space(i)
		switch {
		case i < len(s.src) && s.src[i] == ',':
			i = s.space(i + 1)
		case i < len(s.src) && s.src[i] == ']':
			return i + 1
		default:
			return s.expected(i, "',' or ']'")
		}
	}
}

var tooDeep = "nested deeper than " + strconv.Itoa(MaxDepth)

// object calls fn, when it is set, with the name, value and value's offset of each member.
func (s *scanner) object(i, depth int, fn func(name, value []byte, offset int) error) int {
	if i >= len(s.src) || s.src[i] != '{' {
		return s.expected(i, "an object")
	}
	if depth == MaxDepth {
		return s.fail(i, tooDeep)
	}
	if i = s.space(i + 1); i < len(s.src) && s.src[i] == '}' {
		return i + 1
	}
	base := s.n
	var seen map[string]struct{} // takes the place of names[base:] once that is full or a name has an escape
	for {
		if i >= len(s.src) || s.src[i] != '"' {
			return s.expected(i, "a member name")
		}
		start := i + 1
		end, escaped, fault := scanString(s.src, i)
		if fault != "" {
			return s.fail(end, fault)
		}
		name := s.src[start : end-1]
		if escaped {
			name = unescape(name)
		}
		if seen == nil && (escaped || s.n == len(s.names)) {
			seen = make(map[string]struct{})
			for _, n := range s.names[base:s.n] {
				seen[string(s.src[n.start:n.end])] = struct{}{}
			}
		}
		if seen != nil {
			size := len(seen)
			if seen[string(name)] = struct{}{}; len(seen) == size {
				return s.duplicate(i, name)
			}
		} else {
			for _, n := range s.names[base:s.n] {
				if string(s.src[n.start:n.end]) == string(name) {
					return s.duplicate(i, name)
				}
			}
			s.names[s.n].start, s.names[s.n].end = start, end-1
			s.n++
		}

		if i = s.space(end); i >= len(s.src) || s.src[i] != ':' {
			return s.expected(i, "':'")
		}
		offset := s.space(i + 1)
		if i = s.value(offset, depth+1); i < 0 {
			return -1
		}
		if fn != nil {
			if s.err = fn(name, s.src[offset:i], offset); s.err != nil {
				return -1
			}
		}

		i = s.space(i)
		switch {
		case i < len(s.src) && s.src[i] == ',':
			i = s.space(i + 1)
		case i < len(s.src) && s.src[i] == '}':
			s.n = base
			return i + 1
		default:
			return s.expected(i, "',' or '}'")
		}
	}
}

func (s *scanner) duplicate(i int, name []byte) int {
	return s.fail(i, "duplicate member name "+quote(name))
}

// quote is b for an error message, cut when it is long.
func quote(b []byte) string {
	if len(b) > 64 {
		return strconv.Quote(string(b[:64])) + "…"
	}
	return strconv.Quote(string(b))
}
