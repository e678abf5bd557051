//go:build linux

package fanout

import (
	"bytes"
	"strconv"
)

// Every event's JSON has a marker of fixed width, which readers find without parsing
// the rest: "m":"@LL:NNNNNNNNNN:TTTTTTTTTTTTTTTTTTT". It has the publisher's lane,
// the event's number within the lane, from 1, and the time of publishing in
// nanoseconds. No other byte of an event is an '@'.
const (
	markerHead = `"m":"@`
	markerLen  = len(markerHead) + 2 + 1 + 10 + 1 + 19 + 1

	// warmLane marks events that only show that a subscriber is subscribed.
	warmLane = 99
)

// appendMarker appends a marker.
func appendMarker(b []byte, lane, number int, ns int64) []byte {
	b = append(b, markerHead...)
	b = appendDigits(b, int64(lane), 2)
	b = append(b, ':')
	b = appendDigits(b, int64(number), 10)
	b = append(b, ':')
	b = appendDigits(b, ns, 19)
	return append(b, '"')
}

func appendDigits(b []byte, v int64, width int) []byte {
	for n := len(strconv.FormatInt(v, 10)); n < width; n++ {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, v, 10)
}

func digits(b []byte) (v int64) {
	for _, c := range b {
		v = v*10 + int64(c-'0')
	}
	return v
}

// appendPayload appends a JSON object with a marker. The object has size bytes, or
// more if the marker needs them.
func appendPayload(b []byte, size, lane, number int, ns int64) []byte {
	const fill = `git log --oneline --decorate internal docs example `
	end := len(b) + size - len(`"}`)
	b = append(b, `{`...)
	b = appendMarker(b, lane, number, ns)
	if len(b)+len(`,"c":"`) > end {
		return append(b, '}')
	}
	b = append(b, `,"c":"`...)
	for len(b) < end {
		b = append(b, fill[:min(len(fill), end-len(b))]...)
	}
	return append(b, `"}`...)
}

// scanner finds the markers in a stream of bytes that comes in pieces.
type scanner struct {
	tail [markerLen - 1]byte // bytes that may begin a marker
	n    int
}

// scan calls found with the lane, the number and the time of each marker that
// ends in p.
func (s *scanner) scan(p []byte, found func(lane, number int, ns int64)) {
	if s.n > 0 {
		var joined [2 * (markerLen - 1)]byte
		n := copy(joined[:], s.tail[:s.n])
		n += copy(joined[n:], p[:min(len(p), markerLen-1)])
		i, ok := find(joined[:n])
		switch {
		case ok && i < s.n:
			take(joined[i:], found)
			p = p[i+markerLen-s.n:]
		case n < s.n+markerLen-1: // p is too short to complete a marker
			s.n = copy(s.tail[:], joined[max(0, n-(markerLen-1)):n])
			return
		}
		s.n = 0
	}
	for {
		i, ok := find(p)
		if !ok {
			break
		}
		take(p[i:], found)
		p = p[i+markerLen:]
	}
	s.n = copy(s.tail[:], p[max(0, len(p)-(markerLen-1)):])
}

// find returns where the first whole marker begins. It is cheap because it searches
// for the byte '@'.
func find(p []byte) (int, bool) {
	const at = len(markerHead) - 1
	for from := at; from < len(p); {
		i := bytes.IndexByte(p[from:], '@')
		if i < 0 {
			return 0, false
		}
		i += from - at
		if i+markerLen > len(p) {
			return 0, false
		}
		if string(p[i:i+len(markerHead)]) == markerHead {
			return i, true
		}
		from = i + at + 1
	}
	return 0, false
}

func take(m []byte, found func(lane, number int, ns int64)) {
	m = m[len(markerHead):]
	found(int(digits(m[:2])), int(digits(m[3:13])), digits(m[14:33]))
}
