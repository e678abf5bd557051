package segment

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

// Values says which values the lines of a segment may have, in 4 bytes for
// each: enough to pass over the segment without its index. It does not change.
type Values struct {
	unknown [fields]bool // fields that may have any value
	hashes  []uint32     // sorted
}

// May reports whether a line may have one of the wanted values in each wanted field.
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

// hashOf tells values of different fields apart. Values that share a hash cost
// a look into the index and nothing else.
func hashOf(f Field, value string) uint32 {
	return crc32.Update(uint32(f), castagnoli, []byte(value[:min(len(value), maxKey)]))
}

// appendValues appends, for each field, whether it may have any value, then all hashes.
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

// DecodeValues reads from a sidecar of the given size, which must be that of
// the segment with that head, what values there are.
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
