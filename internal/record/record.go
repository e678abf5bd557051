// Package record is the form of one audit event in the log: a line of JSON.
//
// A line has these members in this order, without white space outside strings;
// those marked ? are left out when empty:
//
//	id, timestamp, agent, session, run_id?, tool_call_id?, tool, request,
//	decision {action, matched_policies, evaluation_time_us, message?, suggestions?},
//	response? {exit_code?, duration_ms, flags?}, approval?, prev_hash, hash
//
// prev_hash is the hash of the line before, 64 zeros in the first. hash is the
// SHA-256, in lower-case hex, of the line with the member hash and the comma
// before it taken out. So each line vouches for all before it, and anybody
// checks one with sed and sha256sum.
//
// A line is written once and never encoded again: raw JSON from outside is
// checked strictly when it comes in and then kept byte for byte, and whoever
// verifies hashes the stored bytes. Everything here is a function of its
// arguments, and may be called from many goroutines at once.
package record

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
)

// Response is what came of a call.
type Response struct {
	ExitCode   *int64
	DurationMS int64
	Flags      []string
}

// Event is an event without its place in the log.
type Event struct {
	Timestamp  string // RFC 3339, UTC
	Agent      string
	Session    string
	RunID      string
	ToolCallID string
	Tool       string
	Request    []byte // a JSON object; nil means {}

	Action           string
	MatchedPolicies  []string
	EvaluationTimeUS int64
	Message          string
	Suggestions      []string

	Response *Response
	Approval []byte // a JSON object; nil means that there is none
}

// AppendBody appends to dst the part of e's line that does not depend on e's
// place in the log: from "timestamp" up to and including the comma before
// "prev_hash".
//
// Request and Approval are checked as by [AppendObject], and strings as by
// [AppendString]. Nothing else is checked. request is the part of body that
// holds the request as stored. The error names the member and wraps a
// [SyntaxError] with its offset into that member; body is then dst as it was.
func (e *Event) AppendBody(dst []byte) (body, request []byte, err error) {
	w := writer{buf: dst}
	w.text(`"timestamp":`, "timestamp", e.Timestamp)
	w.text(`,"agent":`, "agent", e.Agent)
	w.text(`,"session":`, "session", e.Session)
	if e.RunID != "" {
		w.text(`,"run_id":`, "run_id", e.RunID)
	}
	if e.ToolCallID != "" {
		w.text(`,"tool_call_id":`, "tool_call_id", e.ToolCallID)
	}
	w.text(`,"tool":`, "tool", e.Tool)
	const requestKey = `,"request":`
	from := len(w.buf) + len(requestKey)
	if e.Request == nil {
		w.buf = append(w.buf, requestKey+`{}`...)
	} else {
		w.object(requestKey, "request", e.Request)
	}
	to := len(w.buf)
	w.text(`,"decision":{"action":`, "decision.action", e.Action)
	w.texts(`,"matched_policies":`, "decision.matched_policies", e.MatchedPolicies)
	w.integer(`,"evaluation_time_us":`, e.EvaluationTimeUS)
	if e.Message != "" {
		w.text(`,"message":`, "decision.message", e.Message)
	}
	if len(e.Suggestions) > 0 {
		w.texts(`,"suggestions":`, "decision.suggestions", e.Suggestions)
	}
	w.buf = append(w.buf, '}')
	if r := e.Response; r != nil {
		w.buf = append(w.buf, `,"response":{`...)
		if r.ExitCode != nil {
			w.integer(`"exit_code":`, *r.ExitCode)
			w.buf = append(w.buf, ',')
		}
		w.integer(`"duration_ms":`, r.DurationMS)
		if len(r.Flags) > 0 {
			w.texts(`,"flags":`, "response.flags", r.Flags)
		}
		w.buf = append(w.buf, '}')
	}
	if e.Approval != nil {
		w.object(`,"approval":`, "approval", e.Approval)
	}
	if w.err != nil {
		return dst, nil, w.err
	}
	body = append(w.buf, ',')
	return body, body[from:to:to], nil
}

// writer appends members to buf. After an error buf has no meaning.
type writer struct {
	buf []byte
	err error
}

func (w *writer) text(key, member, s string) {
	var err error
	w.buf, err = AppendString(append(w.buf, key...), s)
	w.fail(member, err)
}

func (w *writer) texts(key, member string, list []string) {
	w.buf = append(append(w.buf, key...), '[')
	for i, s := range list {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		var err error
		w.buf, err = AppendString(w.buf, s)
		w.fail(member, err)
	}
	w.buf = append(w.buf, ']')
}

func (w *writer) integer(key string, n int64) {
	w.buf = strconv.AppendInt(append(w.buf, key...), n, 10)
}

func (w *writer) object(key, member string, src []byte) {
	var err error
	w.buf, err = AppendObject(append(w.buf, key...), src)
	w.fail(member, err)
}

func (w *writer) fail(member string, err error) {
	if err != nil && w.err == nil {
		w.err = &memberError{member, err}
	}
}

// memberError says in which member of an [Event] err is.
type memberError struct {
	member string
	err    error
}

func (e *memberError) Error() string { return e.member + ": " + e.err.Error() }
func (e *memberError) Unwrap() error { return e.err }

const (
	hashKey  = `,"hash":"`
	hashTail = len(hashKey) + 64 + len(`"}`) // bytes at a line's end that its hash does not cover
)

// AppendLine appends the line of the event id, whose body is from
// [Event.AppendBody] and which follows a line with the hash prev, to dst. It
// has no newline. hash is the line's own.
func AppendLine(dst []byte, id string, body []byte, prev *[64]byte) (line []byte, hash [64]byte) {
	start := len(dst)
	dst = append(dst, `{"id":"`...)
	dst = append(dst, id...)
	dst = append(dst, `",`...)
	dst = append(dst, body...)
	dst = append(dst, `"prev_hash":"`...)
	dst = append(dst, prev[:]...)
	dst = append(dst, `"}`...)
	sum := sha256.Sum256(dst[start:])
	encodeHex(&hash, &sum)
	dst = append(dst[:len(dst)-1], hashKey...)
	dst = append(dst, hash[:]...)
	return append(dst, `"}`...), hash
}

// Sum sets dst to the hash, in hex, that line should carry: that of the line
// without its member hash. If line does not end in that member, Sum reports
// false and leaves dst alone.
func Sum(line []byte, dst *[64]byte) bool {
	covered := len(line) - hashTail
	if covered < 0 || string(line[covered:covered+len(hashKey)]) != hashKey ||
		!isHex(line[covered+len(hashKey):len(line)-2]) || string(line[len(line)-2:]) != `"}` {
		return false
	}
	h := sha256.New()
	h.Write(line[:covered])
	h.Write(closing)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	encodeHex(dst, &sum)
	return true
}

var closing = []byte{'}'}

// encodeHex makes eight digits of four bytes at a time.
func encodeHex(dst *[64]byte, sum *[sha256.Size]byte) {
	for i := 0; i < len(sum); i += 4 {
		w := uint64(binary.LittleEndian.Uint32(sum[i:]))
		w = (w | w<<16) & 0x0000FFFF0000FFFF
		w = (w | w<<8) & 0x00FF00FF00FF00FF
		w = (w>>4 | w<<8) & (15 * ones) // a digit in each byte, the higher one first
		letters := (w + 6*ones) >> 4 & ones
		binary.LittleEndian.PutUint64(dst[2*i:], w+'0'*ones+letters*('a'-'9'-1))
	}
}
