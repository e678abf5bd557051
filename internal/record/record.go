// Package record is the stored form of an event: one line of JSON whose
// members stand in a fixed order, without white space around them, and whose
// last member is the SHA-256 of the rest.
//
//	{"id":"…","timestamp":"…","agent":"…","session":"…","run_id":"…","tool_call_id":"…",
//	 "tool":"…","request":{…},"decision":{"action":"…","matched_policies":[…],
//	 "evaluation_time_us":0,"message":"…","suggestions":[…]},
//	 "response":{"exit_code":0,"duration_ms":0,"flags":[…]},"approval":{…},
//	 "prev_hash":"…","hash":"…"}
//
// run_id, tool_call_id, message, suggestions, response, exit_code, flags and
// approval are left out when empty. hash is lower-case hexadecimal, over the
// bytes of the line with `,"hash":"…"` taken out.
//
// The package is pure: bytes in, bytes out.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Event is an event without its place in the log.
type Event struct {
	Timestamp                               string // RFC 3339, UTC
	Agent, Session, RunID, ToolCallID, Tool string
	Request                                 []byte // JSON object; {} when nil
	Action                                  string
	MatchedPolicies                         []string
	EvaluationTimeUS                        int64
	Message                                 string
	Suggestions                             []string
	Response                                *Response
	Approval                                []byte // JSON object, or nil
}

// Response is what came of a call.
type Response struct {
	ExitCode   *int64
	DurationMS int64
	Flags      []string
}

// AppendBody appends the part of the line that does not depend on its place,
// from "timestamp" to the comma before "prev_hash". An error names the member.
func (e *Event) AppendBody(dst []byte) ([]byte, error) {
	w := writer{dst: dst}
	w.string(`"timestamp":`, "timestamp", e.Timestamp)
	w.string(`,"agent":`, "agent", e.Agent)
	w.string(`,"session":`, "session", e.Session)
	if e.RunID != "" {
		w.string(`,"run_id":`, "run_id", e.RunID)
	}
	if e.ToolCallID != "" {
		w.string(`,"tool_call_id":`, "tool_call_id", e.ToolCallID)
	}
	w.string(`,"tool":`, "tool", e.Tool)
	request := e.Request
	if request == nil {
		request = []byte("{}")
	}
	w.object(`,"request":`, "request", request)
	w.string(`,"decision":{"action":`, "decision.action", e.Action)
	w.strings(`,"matched_policies":`, "decision.matched_policies", e.MatchedPolicies)
	w.int(`,"evaluation_time_us":`, e.EvaluationTimeUS)
	if e.Message != "" {
		w.string(`,"message":`, "decision.message", e.Message)
	}
	if len(e.Suggestions) > 0 {
		w.strings(`,"suggestions":`, "decision.suggestions", e.Suggestions)
	}
	w.raw("}")
	if r := e.Response; r != nil {
		w.raw(`,"response":{`)
		if r.ExitCode != nil {
			w.int(`"exit_code":`, *r.ExitCode)
			w.raw(",")
		}
		w.int(`"duration_ms":`, r.DurationMS)
		if len(r.Flags) > 0 {
			w.strings(`,"flags":`, "response.flags", r.Flags)
		}
		w.raw("}")
	}
	if e.Approval != nil {
		w.object(`,"approval":`, "approval", e.Approval)
	}
	w.raw(",")
	if w.err != nil {
		return dst, w.err
	}
	return w.dst, nil
}

type writer struct {
	dst []byte
	err error
}

func (w *writer) raw(s string) { w.dst = append(w.dst, s...) }

func (w *writer) note(name string, err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (w *writer) string(key, name, s string) {
	var err error
	w.dst, err = AppendString(append(w.dst, key...), s)
	w.note(name, err)
}

func (w *writer) object(key, name string, src []byte) {
	var err error
	w.dst, err = AppendObject(append(w.dst, key...), src)
	w.note(name, err)
}

func (w *writer) strings(key, name string, list []string) {
	w.raw(key)
	w.raw("[")
	for i, s := range list {
		if i > 0 {
			w.raw(",")
		}
		w.string("", name, s)
	}
	w.raw("]")
}

func (w *writer) int(key string, n int64) {
	w.raw(key)
	w.dst = strconv.AppendInt(w.dst, n, 10)
}

const (
	idLen   = 26
	hashLen = 64
	// hashMember is the length of `,"hash":"…"`, without the closing brace.
	hashMember = len(`,"hash":""`) + hashLen
)

// AppendLine appends the line of an event with that id and body, which follows
// the record with hash prev, without a newline, and returns its hash.
func AppendLine(dst []byte, id string, body []byte, prev *[hashLen]byte) (line []byte, hash [hashLen]byte) {
	from := len(dst)
	dst = append(append(append(dst, `{"id":"`...), id...), `",`...)
	dst = append(append(append(dst, body...), `"prev_hash":"`...), prev[:]...)
	dst = append(dst, `"}`...)
	sum := sha256.Sum256(dst[from:])
	hex.Encode(hash[:], sum[:])
	dst = append(append(dst[:len(dst)-1], `,"hash":"`...), hash[:]...)
	return append(dst, `"}`...), hash
}

// Sum works out the hash that line should carry. It reports whether line ends
// in a hash member at all.
func Sum(line []byte, hash *[hashLen]byte) bool {
	cut := len(line) - hashMember - 1
	if cut < 0 || string(line[cut:cut+len(`,"hash":"`)]) != `,"hash":"` || string(line[len(line)-2:]) != `"}` {
		return false
	}
	// The digest is of line[:cut] and a brace. A copy on the stack is cheaper
	// than two writes to a hash.Hash that escapes.
	var buf [2048]byte
	var sum [sha256.Size]byte
	if cut < len(buf) {
		n := copy(buf[:], line[:cut])
		buf[n] = '}'
		sum = sha256.Sum256(buf[:n+1])
	} else {
		sum = sha256.Sum256(append(bytes.Clone(line[:cut]), '}'))
	}
	hex.Encode(hash[:], sum[:])
	return true
}

// Fields are the members of a stored line. Strings stand as in the line, with
// escapes and without quotes; what is left out is nil.
type Fields struct {
	ID, Timestamp, Agent, Session, RunID, ToolCallID, Tool []byte
	Request                                                []byte
	Action                                                 []byte
	MatchedPolicies, EvaluationTimeUS                      []byte
	Message, Suggestions                                   []byte
	Response, Approval                                     []byte
	ExitCode, DurationMS, Flags                            []byte // of Response
	PrevHash, Hash                                         []byte
}

// Scan splits a stored line into f, whose slices point into it. It holds the
// line to the form of the package comment: members missing, doubled, unknown or
// out of order, and white space between them, are errors that say where and
// what was expected. What request and approval hold is not looked into beyond
// finding their ends.
func Scan(line []byte, f *Fields) error {
	*f = Fields{}
	s := scanner{b: line}
	s.lit(`{"id":`)
	f.ID = s.str()
	s.lit(`,"timestamp":`)
	f.Timestamp = s.str()
	s.lit(`,"agent":`)
	f.Agent = s.str()
	s.lit(`,"session":`)
	f.Session = s.str()
	if s.opt(`,"run_id":`) {
		f.RunID = s.str()
	}
	if s.opt(`,"tool_call_id":`) {
		f.ToolCallID = s.str()
	}
	s.lit(`,"tool":`)
	f.Tool = s.str()
	s.lit(`,"request":`)
	f.Request = s.nested('{')
	s.lit(`,"decision":{"action":`)
	f.Action = s.str()
	s.lit(`,"matched_policies":`)
	f.MatchedPolicies = s.list()
	s.lit(`,"evaluation_time_us":`)
	f.EvaluationTimeUS = s.integer()
	if s.opt(`,"message":`) {
		f.Message = s.str()
	}
	if s.opt(`,"suggestions":`) {
		f.Suggestions = s.list()
	}
	s.lit(`}`)
	if s.opt(`,"response":`) {
		from := s.at
		s.lit(`{`)
		if s.opt(`"exit_code":`) {
			f.ExitCode = s.integer()
			s.lit(`,`)
		}
		s.lit(`"duration_ms":`)
		f.DurationMS = s.integer()
		if s.opt(`,"flags":`) {
			f.Flags = s.list()
		}
		s.lit(`}`)
		if s.want == "" {
			f.Response = line[from:s.at]
		}
	}
	if s.opt(`,"approval":`) {
		f.Approval = s.nested('{')
	}
	s.lit(`,"prev_hash":`)
	f.PrevHash = s.hash()
	s.lit(`,"hash":`)
	f.Hash = s.hash()
	s.lit(`}`)
	if s.want == "" && s.at < len(line) {
		s.fail("the end of the line")
	}
	if s.want == "" && !isID(f.ID) {
		s.at = len(`{"id":"`)
		s.fail("a ULID")
	}
	if s.want != "" {
		c := checker{src: line, at: s.at}
		return c.errorf("expected %s, found %s", s.want, c.found())
	}
	return nil
}

// scanner takes a line apart. After the first fault it stands still.
type scanner struct {
	b    []byte
	at   int
	want string
}

func (s *scanner) fail(want string) {
	if s.want == "" {
		s.want = want
	}
}

func (s *scanner) opt(lit string) bool {
	if s.want != "" || len(s.b)-s.at < len(lit) || string(s.b[s.at:s.at+len(lit)]) != lit {
		return false
	}
	s.at += len(lit)
	return true
}

func (s *scanner) lit(lit string) {
	if !s.opt(lit) {
		s.fail(lit)
	}
}

func (s *scanner) open(b byte, want string) bool {
	if s.want != "" {
		return false
	}
	if s.at >= len(s.b) || s.b[s.at] != b {
		s.fail(want)
		return false
	}
	return true
}

func (s *scanner) take(end int, want string) []byte {
	if end < 0 {
		s.fail(want)
		return nil
	}
	v := s.b[s.at:end]
	s.at = end
	return v
}

func (s *scanner) str() []byte {
	if !s.open('"', "a string") {
		return nil
	}
	v := s.take(stringEnd(s.b, s.at), "the end of this string")
	if v == nil {
		return nil
	}
	return v[1 : len(v)-1]
}

func (s *scanner) nested(b byte) []byte {
	if !s.open(b, "an object") {
		return nil
	}
	return s.take(valueEnd(s.b, s.at), "the end of this object")
}

// list takes an array of strings.
func (s *scanner) list() []byte {
	if !s.open('[', "an array of strings") {
		return nil
	}
	from := s.at
	s.at++
	if !s.opt("]") {
		for {
			s.str()
			if s.want != "" || !s.opt(",") {
				break
			}
		}
		s.lit("]")
	}
	return s.b[from:s.at]
}

func (s *scanner) integer() []byte {
	if s.want != "" {
		return nil
	}
	i := s.at
	if i < len(s.b) && s.b[i] == '-' {
		i++
	}
	digits := i
	for i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9' {
		i++
	}
	if i == digits || i > digits+1 && s.b[digits] == '0' {
		i = -1
	}
	return s.take(i, "an integer")
}

func (s *scanner) hash() []byte {
	const want = "a hash of 64 lower-case hexadecimal digits"
	if !s.open('"', want) {
		return nil
	}
	if len(s.b)-s.at < hashLen+2 || s.b[s.at+1+hashLen] != '"' {
		s.fail(want)
		return nil
	}
	v := s.b[s.at+1 : s.at+1+hashLen]
	for _, d := range v {
		if (d < '0' || d > '9') && (d < 'a' || d > 'f') {
			s.fail(want)
			return nil
		}
	}
	s.at += hashLen + 2
	return v
}

// isID reports whether id is a ULID in its canonical form: Crockford's base 32,
// upper case, 128 bits.
func isID(id []byte) bool {
	if len(id) != idLen || id[0] > '7' {
		return false
	}
	for _, b := range id {
		if (b < '0' || b > '9') && (b < 'A' || b > 'Z' || b == 'I' || b == 'L' || b == 'O' || b == 'U') {
			return false
		}
	}
	return true
}

// Parse decodes a stored line. Nothing in the result points into it.
func Parse(line []byte) (e Event, id, prevHash, hash string, err error) {
	var f Fields
	if err := Scan(line, &f); err != nil {
		return Event{}, "", "", "", err
	}
	e = Event{
		Timestamp: Text(f.Timestamp), Agent: Text(f.Agent), Session: Text(f.Session),
		RunID: Text(f.RunID), ToolCallID: Text(f.ToolCallID), Tool: Text(f.Tool),
		Request: bytes.Clone(f.Request), Action: Text(f.Action), MatchedPolicies: texts(f.MatchedPolicies),
		Message: Text(f.Message), Approval: bytes.Clone(f.Approval),
	}
	if f.Suggestions != nil {
		e.Suggestions = texts(f.Suggestions)
	}
	if e.EvaluationTimeUS, err = strconv.ParseInt(string(f.EvaluationTimeUS), 10, 64); err != nil {
		return Event{}, "", "", "", err
	}
	if f.Response != nil {
		e.Response = &Response{}
		if f.ExitCode != nil {
			code, err := strconv.ParseInt(string(f.ExitCode), 10, 64)
			if err != nil {
				return Event{}, "", "", "", err
			}
			e.Response.ExitCode = &code
		}
		if e.Response.DurationMS, err = strconv.ParseInt(string(f.DurationMS), 10, 64); err != nil {
			return Event{}, "", "", "", err
		}
		if f.Flags != nil {
			e.Response.Flags = texts(f.Flags)
		}
	}
	return e, string(f.ID), string(f.PrevHash), string(f.Hash), nil
}

// texts decodes an array of strings without white space.
func texts(list []byte) []string {
	out := []string{}
	for i := 1; i < len(list)-1; i++ { // past '[', then past each ','
		end := stringEnd(list, i)
		out = append(out, Text(list[i+1:end-1]))
		i = end
	}
	return out
}
