package sse

import (
	"strings"

	"github.com/rampartlog/rampart/internal/record"
)

// hashDigits is how many digits of an event's hash a position carries.
const hashDigits = 16

// Start is the position before the log's first event.
const Start = "0"

// AppendPosition appends the position of the event with this id and hash;
// [Start] when id is empty.
func AppendPosition[T string | []byte](dst []byte, id, hash T) []byte {
	if len(id) == 0 {
		return append(dst, Start...)
	}
	return append(append(append(dst, id...), '.'), hash[:min(len(hash), hashDigits)]...)
}

// ParsePosition takes a position apart: a ULID, alone or with a dot and 16
// lower-case hex digits, or [Start], whose id and hash are empty.
func ParsePosition(s string) (id, hash string, ok bool) {
	if s == Start {
		return "", "", true
	}
	id, hash, dot := strings.Cut(s, ".")
	if !record.ValidID(id) || dot && (len(hash) != hashDigits || strings.Trim(hash, "0123456789abcdef") != "") {
		return "", "", false
	}
	return id, hash, true
}
