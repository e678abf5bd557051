package record

import (
	"bytes"
	"strconv"
	"strings"
)

// Fields are the values of a stored line, as views into it. Strings are without
// their quotes but still escaped, for [Text] and [Equal]; all others are raw
// JSON. A member that is left out is nil.
type Fields struct {
	ID, Timestamp, Agent, Session, RunID, ToolCallID, Tool []byte
	Request                                                []byte // object
	Action                                                 []byte
	MatchedPolicies                                        []byte // array of strings
	EvaluationTimeUS                                       []byte // integer
	Message                                                []byte
	Suggestions                                            []byte // array of strings
	Response, Approval                                     []byte // objects
	PrevHash, Hash                                         []byte
}

// Scan splits line, which has no newline, into f.
//
// It takes only the form that [AppendLine] gives: each member of the event, its
// decision and its response in its place; none missing, doubled or unknown, and
// no optional one empty; no white space between them; an id that is a ULID;
// values of the right kind; nothing after the closing brace. Request and
// approval must be objects whose brackets and quotes are balanced; Scan looks no
// further into them. It does not check the hash: that is for [Sum].
//
// The error is a [*SyntaxError] that says what was expected; f then has no
// meaning. Without an error Scan allocates nothing.
func Scan(line []byte, f *Fields) error {
	s := lineScanner{line: line}
	ok := s.lit(`{"id":"`) && s.ulid(&f.ID) &&
		s.key(`","timestamp":"`) && s.text(&f.Timestamp) &&
		s.key(`","agent":"`) && s.text(&f.Agent) &&
		s.key(`","session":"`) && s.text(&f.Session) &&
		s.optionalText(`","run_id":"`, &f.RunID) &&
		s.optionalText(`","tool_call_id":"`, &f.ToolCallID) &&
		s.key(`","tool":"`) && s.text(&f.Tool) &&
		s.key(`","request":`) && s.object(&f.Request) &&
		s.key(`,"decision":{`) && s.key(`"action":"`) && s.text(&f.Action) &&
		s.key(`","matched_policies":`) && s.texts(&f.MatchedPolicies) &&
		s.key(`,"evaluation_time_us":`) && s.natural(&f.EvaluationTimeUS) &&
		s.message(&f.Message) &&
		s.optionalTexts(`,"suggestions":`, &f.Suggestions) &&
		s.lit(`}`) &&
		s.optionalResponse(&f.Response) &&
		s.approval(&f.Approval) &&
		s.key(`,"prev_hash":"`) && s.hash(&f.PrevHash) &&
		s.key(`","hash":"`) && s.hash(&f.Hash) &&
		s.lit(`"}`) && s.end()
	if !ok {
		return s.fault()
	}
	return nil
}

// lineScanner goes through a line. Each method moves pos past what the method is
// named after; or it reports false, and fault tells why.
type lineScanner struct {
	line []byte
	pos  int
	want string // the last argument of lit or key; they are inlined, and leave it to fault to make their error
	err  *SyntaxError
}

func (s *lineScanner) fail(offset int, msg string) bool {
	s.err = &SyntaxError{offset, msg}
	return false
}

// has is meant for one byte or two: inlined, it is one comparison.
func (s *lineScanner) has(lit string) bool {
	return len(s.line)-s.pos >= len(lit) && string(s.line[s.pos:s.pos+len(lit)]) == lit
}

func (s *lineScanner) lit(lit string) bool {
	s.want = lit
	if !s.has(lit) {
		return false
	}
	s.pos += len(lit)
	return true
}

// hasKey is has for 8 to 24 bytes, which it compares as two or three words.
func (s *lineScanner) hasKey(lit string) bool {
	n := len(lit)
	if len(s.line)-s.pos < n {
		return false
	}
	b := s.line[s.pos : s.pos+n]
	return word(b, 0) == word(lit, 0) && (n <= 16 || word(b, 8) == word(lit, 8)) && word(b, n-8) == word(lit, n-8)
}

func (s *lineScanner) key(lit string) bool {
	s.want = lit
	if !s.hasKey(lit) {
		return false
	}
	s.pos += len(lit)
	return true
}

func (s *lineScanner) fault() *SyntaxError {
	if s.err != nil {
		return s.err
	}
	i := 0 // the index in want of the first byte that differs
	for i < len(s.want) && s.pos+i < len(s.line) && s.line[s.pos+i] == s.want[i] {
		i++
	}
	what := strconv.Quote(s.want)
	if name := strings.Trim(s.want, `{}",:`); name != "" {
		what = "member " + strconv.Quote(name)
	}
	return expected(s.line, s.pos+i, what)
}

func (s *lineScanner) end() bool {
	if s.pos != len(s.line) {
		s.err = expected(s.line, s.pos, "the end")
		return false
	}
	return true
}

// text passes the inside of a string, up to its closing quote.
func (s *lineScanner) text(f *[]byte) bool {
	end, _, fault := scanString(s.line, s.pos-1)
	if fault != "" {
		return s.fail(end, fault)
	}
	*f = s.line[s.pos : end-1]
	s.pos = end - 1
	return true
}

func (s *lineScanner) optionalText(lit string, f *[]byte) bool {
	if *f = nil; !s.hasKey(lit) {
		return true
	}
	s.pos += len(lit)
	if !s.text(f) {
		return false
	}
	if len(*f) == 0 {
		return s.fail(s.pos, "expected no member "+strconv.Quote(strings.Trim(lit, `",:`))+" where it is empty")
	}
	return true
}

// message is the one optional text that does not follow another.
func (s *lineScanner) message(f *[]byte) bool {
	return s.optionalText(`,"message":"`, f) && (*f == nil || s.lit(`"`))
}

// texts passes an array of strings.
func (s *lineScanner) texts(f *[]byte) bool {
	start := s.pos
	if !s.has("[") {
		s.err = expected(s.line, s.pos, "an array of strings")
		return false
	}
	s.pos++
	if s.has("]") {
		s.pos++
		*f = s.line[start:s.pos]
		return true
	}
	for {
		if !s.has(`"`) {
			s.err = expected(s.line, s.pos, "a string")
			return false
		}
		end, _, fault := scanString(s.line, s.pos)
		if fault != "" {
			return s.fail(end, fault)
		}
		s.pos = end + 1
		if end < len(s.line) {
			switch s.line[end] {
			case ',':
				continue
			case ']':
				*f = s.line[start:s.pos]
				return true
			}
		}
		s.err = expected(s.line, end, "',' or ']'")
		return false
	}
}

func (s *lineScanner) optionalTexts(lit string, f *[]byte) bool {
	if *f = nil; !s.hasKey(lit) {
		return true
	}
	s.pos += len(lit)
	if !s.texts(f) {
		return false
	}
	if len(*f) == len("[]") {
		return s.fail(s.pos, "expected no member "+strconv.Quote(strings.Trim(lit, `",:`))+" where it is empty")
	}
	return true
}

// integer passes a whole number that fits 64 bits, in the one form that it has.
func (s *lineScanner) integer(f *[]byte) bool {
	i := s.pos
	if i < len(s.line) && s.line[i] == '-' {
		i++
	}
	first := i
	for i < len(s.line) && isDigit(s.line[i]) {
		i++
	}
	if i == first || s.line[first] == '0' && (i > first+1 || first > s.pos) {
		s.err = expected(s.line, s.pos, "an integer")
		return false
	}
	*f = s.line[s.pos:i]
	if i-first >= len("9223372036854775807") {
		if _, err := strconv.ParseInt(string(*f), 10, 64); err != nil {
			return s.fail(s.pos, "expected an integer of 64 bits")
		}
	}
	s.pos = i
	return true
}

// natural passes an integer that is not negative.
func (s *lineScanner) natural(f *[]byte) bool {
	if s.has("-") {
		return s.fail(s.pos, "expected an integer that is not negative")
	}
	return s.integer(f)
}

// object passes an object, and looks only at its brackets and quotes.
func (s *lineScanner) object(f *[]byte) bool {
	if !s.has("{") {
		s.err = expected(s.line, s.pos, "an object")
		return false
	}
	var open uint64 // a bit for each open bracket, the innermost lowest; 1 is a brace
	depth := 0
	for i := s.pos; i < len(s.line); i++ {
		switch c := s.line[i]; c {
		case '"':
			n := quoted(s.line[i+1:])
			if n < 0 {
				return s.fail(i, "string without its closing quote")
			}
			i += n + 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return s.fail(i, tooDeep)
			}
			open <<= 1
			if c == '{' {
				open |= 1
			}
		case '}', ']':
			if (open&1 == 1) != (c == '}') {
				return s.fail(i, "bracket that closes another")
			}
			open >>= 1
			if depth--; depth == 0 {
				*f = s.line[s.pos : i+1]
				s.pos = i + 1
				return true
			}
		}
	}
	return s.fail(s.pos, "object without its closing brace")
}

// quoted returns the index of the quote that closes a string, or -1. b begins inside that string.
func quoted(b []byte) int {
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		start := i
		i += n
		slashes := i
		for slashes > start && b[slashes-1] == '\\' {
			slashes--
		}
		if (i-slashes)&1 == 0 {
			return i
		}
	}
}

func (s *lineScanner) approval(f *[]byte) bool {
	const lit = `,"approval":`
	if *f = nil; !s.hasKey(lit) {
		return true
	}
	s.pos += len(lit)
	return s.object(f)
}

func (s *lineScanner) optionalResponse(f *[]byte) bool {
	const lit = `,"response":`
	if *f = nil; !s.hasKey(lit) {
		return true
	}
	s.pos += len(lit)
	start := s.pos
	var r responseFields
	if !s.response(&r) {
		return false
	}
	*f = s.line[start:s.pos]
	return true
}

// responseFields are to a response what Fields are to a line.
type responseFields struct{ exitCode, durationMS, flags []byte }

func (s *lineScanner) response(r *responseFields) bool {
	const exitCode = `"exit_code":`
	if !s.lit(`{`) {
		return false
	}
	if s.hasKey(exitCode) {
		s.pos += len(exitCode)
		if !s.integer(&r.exitCode) || !s.lit(`,`) {
			return false
		}
	}
	return s.key(`"duration_ms":`) && s.natural(&r.durationMS) &&
		s.optionalTexts(`,"flags":`, &r.flags) && s.lit(`}`)
}

func (s *lineScanner) ulid(f *[]byte) bool {
	if end := s.pos + 26; end <= len(s.line) && ValidID(s.line[s.pos:end]) {
		*f = s.line[s.pos:end]
		s.pos = end
		return true
	}
	return s.fail(s.pos, "expected a ULID")
}

func (s *lineScanner) hash(f *[]byte) bool {
	if len(s.line)-s.pos >= 64 && isHex(s.line[s.pos:s.pos+64]) {
		*f = s.line[s.pos : s.pos+64]
		s.pos += 64
		return true
	}
	return s.fail(s.pos, "expected 64 lower-case hex digits")
}
