package ledger

import (
	"bytes"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// MaxEvent is the most bytes that a line may have, without its line feed.
const MaxEvent = 1 << 20

// LineOverhead is how many bytes a line has besides the part that its caller
// encodes.
const LineOverhead = len(`{"id":"",`) + 26 + len(`"prev_hash":"","hash":""}`) + 2*64

// ZeroHash is the prev_hash of the first line.
var ZeroHash = [64]byte(bytes.Repeat([]byte("0"), 64))

// CheckLine checks line by itself. It returns what is not as a log writes it, or
// nil, and f then has line's fields.
func CheckLine(line []byte, f *record.Fields) *failure.CorruptError {
	if len(line) > MaxEvent {
		return &failure.CorruptError{Expected: fmt.Sprintf("%d bytes at most", MaxEvent), Found: fmt.Sprint(len(line))}
	}
	if err := record.Scan(line, f); err != nil {
		return notStored("", err)
	}
	var sum [64]byte
	if !record.Sum(line, &sum) || !bytes.Equal(sum[:], f.Hash) {
		return &failure.CorruptError{ID: string(f.ID), Expected: "hash " + string(sum[:]), Found: string(f.Hash)}
	}
	return nil
}

// notStored is the fault of a line that is not in the stored form.
func notStored(id string, err error) *failure.CorruptError {
	return &failure.CorruptError{ID: id, Expected: "an event in the stored form", Found: err.Error()}
}

// seamFault says why a line with that id and prev_hash, good by itself, cannot
// follow the line with lastID and lastHash, or returns nil.
func seamFault[T string | []byte](id, prevHash, lastID, lastHash T) *failure.CorruptError {
	if string(prevHash) != string(lastHash) {
		return &failure.CorruptError{ID: string(id), Expected: "prev_hash " + string(lastHash), Found: string(prevHash)}
	}
	if string(id) <= string(lastID) {
		return &failure.CorruptError{ID: string(id), Expected: "an id after " + string(lastID), Found: string(id)}
	}
	return nil
}

// follows checks the seam between two segments.
func follows(prev, h segment.Head) error {
	if prev.First+prev.Count != h.First && prev.Count > 0 {
		return missingSegment(prev.First+prev.Count, h.First)
	}
	if fault := seamFault(h.FirstID, h.PrevHash, prev.LastID, prev.Hash); fault != nil {
		return fault.At(segment.Name(h.First), 1, 0)
	}
	return nil
}

// missingSegment is the fault of a log without segment want; got is the one in
// its place, 0 if there is none.
func missingSegment(want, got uint64) *failure.CorruptError {
	if 0 < got && got < want { // there is one too many
		return &failure.CorruptError{Segment: segment.Name(got), Expected: "the next segment to begin with record " + fmt.Sprint(want), Found: "this one"}
	}
	f := &failure.CorruptError{Segment: segment.Name(want), Expected: "the segment that begins with record " + fmt.Sprint(want), Found: "no such file"}
	if got > 0 {
		f.Found += "; the next one is " + segment.Name(got)
	}
	return f
}

// tailFault says what is wrong with a tail whose first line is bad by itself,
// or returns nil where the tail may be an unfinished write. synced tells that
// the tail begins in bytes that were durable: no unfinished write is there.
func tailFault(tail []byte, prevID string, synced bool) *failure.CorruptError {
	var fields record.Fields
	line, rest, whole := bytes.Cut(tail, []byte("\n"))
	fault := CheckLine(line, &fields)
	if fault == nil {
		fault = &failure.CorruptError{ID: string(fields.ID), Expected: "a newline", Found: "the end of the file"}
	}
	// A disk leaves an unfinished write cut short, or with blocks of zeros in
	// it. A wrong line that is whole text was written by somebody.
	edited := whole && bytes.IndexByte(line, 0) < 0
	if synced || edited || !tornWrite(prevID, validAfter(rest)) {
		return fault
	}
	return nil
}

// validAfter returns the ids of the lines in data that are good by themselves.
func validAfter(data []byte) (ids []string) {
	var f record.Fields
	for line := range bytes.Lines(data) {
		if line, ok := bytes.CutSuffix(line, []byte("\n")); ok && CheckLine(line, &f) == nil {
			ids = append(ids, string(f.ID))
		}
	}
	return ids
}

// tornWrite reports whether a bad region, with those good lines after it, can be
// the rest of one write that began after record last.
func tornWrite(last string, after []string) bool {
	var before ulid.ULID
	if last != "" {
		before = ulid.MustParseStrict(last)
	}
	for _, id := range after {
		if !sameWrite(before, ulid.MustParseStrict(id)) {
			return false
		}
	}
	return true
}
