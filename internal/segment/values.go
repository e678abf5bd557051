package segment

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

// Values says which values the lines of a segment may have, in 4 bytes a value:
// enough to skip the segment without reading its index. It never changes.
type Values struct {
	unknown [fields]bool // fields that may have any value
	hashes  []uint32     // sorted
}

// May reports whether some line may meet all of wants.
func (v *Values) May(wants []Want) bool {
	for _, w := range wants {
		if !v.unknown[w.Field] && !slices.ContainsFunc(w.Values, func(s string) bool {
			_, found := slices.BinarySearch(v.hashes, hashOf(w.Field, s))
			return found
		}) {
			return false
		}
	}
	return true
}

// Size is the memory that v takes, in bytes.
func (v *Values) Size() int { return 4*cap(v.hashes) + int(fields) }

// hashOf hashes a value with its field, so that equal values of different fields
// differ. Two values that share a hash only cost a needless read of the index.
func hashOf(f Field, value string) uint32 {
	return crc32.Update(uint32(f), castagnoli, []byte(value[:min(len(value), maxKey)]))
}

// appendValues appends, for each field, a byte that is 1 if the field is not
// indexed and may have any value, then the hashes of all values, sorted.
func (x *Index) appendValues(dst []byte) []byte {
	var hashes []uint32
	for f, c := range x.columns {
		if c == nil {
			dst = append(dst, 1)
			continue
		}
		dst = append(dst, 0)
		for key := range c.numbers {
			hashes = append(hashes, hashOf(Field(f), key))
		}
	}
	slices.Sort(hashes)
	for _, h := range slices.Compact(hashes) {
		dst = binary.LittleEndian.AppendUint32(dst, h)
	}
	return dst
}

// DecodeValues reads the values part of a sidecar of the given size; of is the
// head of the segment as it is. It fails if the sidecar's head belongs to another
// state of the segment.
func DecodeValues(r io.ReaderAt, size int64, of Head) (*Values, error) {
	h, err := decodeHead(r, size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, h.valuesLen)
	if _, err := r.ReadAt(b, headSize); err != nil {
		return nil, err
	}
	if h.Head != of || len(b) < int(fields) || crc32.Checksum(b, castagnoli) != h.valuesSum {
		return nil, errSidecar
	}
	v := &Values{hashes: make([]uint32, 0, (len(b)-int(fields))/4)}
	for f := range v.unknown {
		v.unknown[f] = b[f] != 0
	}
	for b = b[fields:]; len(b) >= 4; b = b[4:] {
		v.hashes = append(v.hashes, binary.LittleEndian.Uint32(b))
	}
	return v, nil
}
