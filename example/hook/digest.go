package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
)

// maxRequest leaves room for the rest of an event: an event has 1 MiB at most.
const maxRequest = 1<<20 - 64<<10

// shrink cuts an object down to maxRequest by replacing its largest members with
// their digests. A file that is too large for the log can still be compared with
// its digest.
func shrink(object json.RawMessage) json.RawMessage {
	size := len(object)
	if size <= maxRequest {
		return object
	}
	members, ok := membersOf(object)
	if !ok {
		return digest(object)
	}
	largest := slices.Clone(members)
	slices.SortStableFunc(largest, func(x, y member) int { return (y.end - y.value) - (x.end - x.value) })
	digests := map[int]json.RawMessage{} // by the offset of the value
	for _, m := range largest {
		d := digest(m.raw(object))
		if size <= maxRequest || len(d) >= m.end-m.value {
			break
		}
		digests[m.value] = d
		size -= m.end - m.value - len(d)
	}
	if size > maxRequest {
		return digest(object)
	}
	var out json.RawMessage
	last := 0
	for _, m := range members {
		if d := digests[m.value]; d != nil {
			out = append(append(out, object[last:m.value]...), d...)
			last = m.end
		}
	}
	return append(out, object[last:]...)
}

// digest returns what the log has in place of a value: the length and SHA-256 of
// a string's text, or of any other value's JSON.
func digest(value json.RawMessage) json.RawMessage {
	content := []byte(value)
	var s string
	if json.Unmarshal(value, &s) == nil {
		content = []byte(s)
	}
	return fmt.Appendf(nil, `{"omitted_bytes":%d,"sha256":"%x"}`, len(content), sha256.Sum256(content))
}
