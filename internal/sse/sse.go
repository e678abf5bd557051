// Package sse is the stream's format: the frames that go over the wire, and the
// positions that clients send back.
//
// A frame is one data line of compact JSON, an id line if the frame has a place
// in the log, and a blank line:
//
//	data: {"type":"audit","event":{…}}
//	id: 01KD….0b77c2e91d3fa604
//
// The id comes last, so that a client that takes a cut-off frame for a whole one
// resumes before that frame, not after it (WHATWG HTML 9.2.6 leaves the order free).
package sse

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/rampartlog/rampart/internal/record"
)

// MaxFrame is the longest frame in bytes: common clients stop at 64 KiB.
const MaxFrame = 60 << 10

// MaxID is the longest id in bytes.
const MaxID = 256

// Frames that are always the same.
const (
	Approvals = "data: {\"type\":\"approvals\"}\n\n"
	// Keepalive ends in a blank line: some clients would buffer a comment line
	// without one until their buffer is full.
	Keepalive = ": keepalive\n\n"
)

const (
	typePrefix  = `data: {"type":"`
	auditPrefix = typePrefix + `audit","event":`
	batchPrefix = typePrefix + `audit_batch","run_id":`
	idPrefix    = "id: "
)

var (
	// ErrTooLong: the frame would be longer than [MaxFrame].
	ErrTooLong = errors.New("sse: frame too long")
	// ErrLineBreak: the event is not one line.
	ErrLineBreak = errors.New("sse: line break in an event")
)

// ValidID reports whether id can be the id of a frame and come back unchanged
// in a Last-Event-ID header: 1 to [MaxID] bytes of UTF-8, no control character,
// no space at either end.
func ValidID(id string) bool {
	return id != "" && len(id) <= MaxID && utf8.ValidString(id) && strings.Trim(id, " ") == id &&
		strings.IndexFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// AppendConnected appends a connected frame. An empty id gives no id line.
func AppendConnected(dst, id []byte) []byte {
	return appendEnd(append(dst, typePrefix+`connected"`...), id)
}

// AppendAudit appends the audit frame of a stored line. On [ErrTooLong] and
// [ErrLineBreak] it returns dst unchanged.
func AppendAudit(dst, line, id []byte) ([]byte, error) {
	if len(auditPrefix)+len(line)+len("}\n"+idPrefix+"\n\n")+len(id) > MaxFrame {
		return dst, ErrTooLong
	}
	if bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		return dst, ErrLineBreak
	}
	return appendEnd(append(append(dst, auditPrefix...), line...), id), nil
}

// AppendBatch appends an audit_batch frame. A run id that is not UTF-8, or too
// long for a frame, becomes "": a client then asks for the new events of all runs.
func AppendBatch(dst []byte, runID string, id []byte) []byte {
	n := len(dst)
	dst = append(dst, batchPrefix...)
	out, err := record.AppendString(dst, runID)
	if err != nil || len(out)-n > MaxFrame-2*MaxID {
		out = append(dst, `""`...)
	}
	return appendEnd(out, id)
}

// appendEnd closes the JSON object and the frame. It leaves out an id that would
// break the line, so that a client resumes before this frame.
func appendEnd(dst, id []byte) []byte {
	dst = append(dst, "}\n"...)
	if len(id) > 0 && bytes.IndexByte(id, '\n') < 0 && bytes.IndexByte(id, '\r') < 0 && bytes.IndexByte(id, 0) < 0 {
		dst = append(append(append(dst, idPrefix...), id...), '\n')
	}
	return append(dst, '\n')
}

// Cut splits the first frame, with its blank line, from b. ok is false if b
// holds no whole frame.
func Cut(b []byte) (frame, rest []byte, ok bool) {
	i := bytes.Index(b, []byte("\n\n"))
	if i < 0 {
		return nil, b, false
	}
	return b[:i+2], b[i+2:], true
}

// Frame is a frame taken apart. Its slices share the memory of the frame's bytes.
type Frame struct {
	Type  string
	ID    []byte
	Event []byte // audit: the stored line
	RunID []byte // audit_batch: the JSON string, without its quotes
}

// Parse takes apart a frame that this package wrote. For anything else, comments
// included, ok is false.
func Parse(frame []byte) (f Frame, ok bool) {
	data, rest, _ := bytes.Cut(frame, []byte("\n"))
	if id, ok := bytes.CutPrefix(rest, []byte(idPrefix)); ok {
		f.ID, rest, _ = bytes.Cut(id, []byte("\n"))
		if len(f.ID) == 0 {
			return Frame{}, false
		}
	}
	data, closed := bytes.CutSuffix(data, []byte("}"))
	if !closed || string(rest) != "\n" {
		return Frame{}, false
	}
	if line, ok := bytes.CutPrefix(data, []byte(auditPrefix)); ok {
		f.Type, f.Event = "audit", line
		return f, true
	}
	if run, ok := bytes.CutPrefix(data, []byte(batchPrefix)); ok {
		if len(run) < 2 || run[0] != '"' || run[len(run)-1] != '"' {
			return Frame{}, false
		}
		f.Type, f.RunID = "audit_batch", run[1:len(run)-1]
		return f, true
	}
	switch string(data) {
	case typePrefix + `approvals"`:
		f.Type = "approvals"
	case typePrefix + `connected"`:
		f.Type = "connected"
	default:
		return Frame{}, false
	}
	return f, true
}
