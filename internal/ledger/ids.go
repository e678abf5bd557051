package ledger

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/oklog/ulid/v2"
)

// idSource gives records their ids: ULIDs that rise in log order, also when
// the clock steps back. The 80 bits after the time say which write a record
// was part of:
//
//	write 16 · place in it 16 · place of the last record of the write before 16 · random 32
//
// A disk may keep the later sectors of an unfinished write and lose earlier
// ones. From these bits recovery sees that such lines belong to one write,
// begun right after the last good line, hence to one that was never
// acknowledged; anything else after a bad region is corruption.
//
// Owned by the holder of the log's tail.
type idSource struct {
	last ulid.ULID // zero while the log is empty
	next ulid.ULID // its random bits are set anew for each record
}

// begin starts a write at the given time.
func (s *idSource) begin(now time.Time) {
	ms := ulid.Timestamp(now)
	write := uint16(0)
	if s.last != (ulid.ULID{}) {
		write = idWrite(s.last) + 1
		ms = max(ms, s.last.Time())
		if ms == s.last.Time() && write == 0 {
			ms++ // the count began again, and ids must rise
		}
	}
	s.next = ulid.ULID{}
	s.next.SetTime(ms) // fails in the year 10889
	binary.BigEndian.PutUint16(s.next[6:], write)
	binary.BigEndian.PutUint16(s.next[10:], idPlace(s.last))
}

// take returns the id of the write's record at that place, from 0.
func (s *idSource) take(place int) ulid.ULID {
	binary.BigEndian.PutUint16(s.next[8:], uint16(place))
	rand.Read(s.next[12:])
	return s.next
}

func idWrite(id ulid.ULID) uint16 { return binary.BigEndian.Uint16(id[6:]) }
func idPlace(id ulid.ULID) uint16 { return binary.BigEndian.Uint16(id[8:]) }
func idBefore(id ulid.ULID) uint16 {
	return binary.BigEndian.Uint16(id[10:])
}

// sameWrite reports whether the record with id after was part of the write
// that last was part of, or of the one right after the write that last ended.
// last is zero when there is no record before.
func sameWrite(last, after ulid.ULID) bool {
	if last == (ulid.ULID{}) {
		return idWrite(after) == 0
	}
	if idWrite(after) == idWrite(last) {
		return after.Time() == last.Time()
	}
	return idWrite(after) == idWrite(last)+1 && idBefore(after) == idPlace(last)
}
