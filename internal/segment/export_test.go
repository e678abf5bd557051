package segment

import (
	"encoding/binary"
	"hash/crc32"
)

// Seal gives data checksums that fit, so that a fuzzer gets past them.
func Seal(data []byte) []byte {
	if len(data) < headSize {
		return data
	}
	data = append([]byte(nil), data...)
	binary.LittleEndian.PutUint32(data[headSize-8:], crc32.Checksum(data[headSize:], castagnoli))
	return Claim(data, int64(len(data)))
}

// Claim makes the head of data say that it is size bytes long.
func Claim(data []byte, size int64) []byte {
	le := binary.LittleEndian
	le.PutUint64(data[headSize-16:], uint64(size-headSize))
	le.PutUint32(data[headSize-4:], crc32.Checksum(data[:headSize-4], castagnoli))
	return data
}
