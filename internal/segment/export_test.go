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
	le := binary.LittleEndian
	le.PutUint64(data[headSize-16:], uint64(len(data)-headSize))
	le.PutUint32(data[headSize-8:], crc32.Checksum(data[headSize:], castagnoli))
	le.PutUint32(data[headSize-4:], crc32.Checksum(data[:headSize-4], castagnoli))
	return data
}
