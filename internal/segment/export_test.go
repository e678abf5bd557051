package segment

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// Seal returns data with valid checksums, so that a fuzzer gets past them.
func Seal(data []byte) []byte {
	if len(data) < headSize {
		return data
	}
	data = append([]byte(nil), data...)
	if n := binary.LittleEndian.Uint32(data[headSize-24:]); int(n) <= len(data)-headSize {
		binary.LittleEndian.PutUint32(data[headSize-20:], crc32.Checksum(data[headSize:headSize+int(n)], castagnoli))
	}
	binary.LittleEndian.PutUint32(data[headSize-8:], crc32.Checksum(data[headSize:], castagnoli))
	return Claim(data, int64(len(data)))
}

// Claim makes the head of data say that the sidecar is size bytes long.
func Claim(data []byte, size int64) []byte {
	le := binary.LittleEndian
	le.PutUint64(data[headSize-16:], uint64(size-headSize))
	le.PutUint32(data[headSize-4:], crc32.Checksum(data[:headSize-4], castagnoli))
	return data
}

// GetCardinality is the number of lines.
func (s *Selection) GetCardinality() uint64 { return uint64(len(s.all())) }

// Equals reports whether s and o select the same lines.
func (s *Selection) Equals(o *Selection) bool { return slices.Equal(s.all(), o.all()) }

func (s *Selection) all() []int {
	if s.none {
		return nil
	}
	return s.Append(nil, 0, len(s.terms[0].low))
}
