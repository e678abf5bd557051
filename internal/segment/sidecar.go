package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
)

// A sidecar is the file that holds a segment's index. It has three parts: a head
// of fixed size, so that opening a log reads one small piece per segment; the
// hashes of the segment's values, which let most queries skip the segment; and
// the rest of the index, which is read when a query needs it:
//
//	magic 8 · first 8 · count 8 · size 8 · first id 26 · last id 26 ·
//	prev_hash 64 · hash 64 · min 8 · max 8 · approvals 8 ·
//	values length 4 · values CRC-32C 4 ·
//	body length 8 · body CRC-32C 4 · head CRC-32C 4
//
//	body: values · offsets, each as the distance from the one before ·
//	blocks, each as the distance of its first second from the first second of
//	the block before, and the number of seconds from its first to its last ·
//	days · per field: its values, each with its number of lines, and the
//	column's bytes
//
// A list of variable length is preceded by its length. Offsets and blocks are
// varints, all other numbers little-endian.
const (
	magic    = "rmpidx\x00\x02"
	maxBody  = 64 << 20 // bytes; the body of a full segment has some 200,000
	headSize = 8 + 3*8 + 2*26 + 2*64 + 3*8 + 4 + 4 + 8 + 4 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errSidecar = errors.New("segment: not a valid index")
)

// notIndexed, in place of a field's number of values, says that it has no column.
const notIndexed = ^uint32(0)

// Encode returns the sidecar of x.
func (x *Index) Encode() ([]byte, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	le := binary.LittleEndian
	out := x.appendValues(make([]byte, headSize, headSize+len(x.offsets)*5))
	values := out[headSize:]
	out = le.AppendUint32(out, uint32(len(x.offsets)))
	last := uint32(0)
	for _, o := range x.offsets {
		out = binary.AppendUvarint(out, uint64(o-last))
		last = o
	}
	out = le.AppendUint32(out, uint32(len(x.blocks)))
	sec := int64(0)
	for _, b := range x.blocks {
		out = binary.AppendVarint(out, b.min-sec)
		out = binary.AppendUvarint(out, uint64(b.max-b.min))
		sec = b.min
	}
	out = le.AppendUint32(out, uint32(len(x.days)))
	for _, d := range x.days {
		out = le.AppendUint32(out, uint32(d))
	}
	for _, c := range x.columns {
		if c == nil {
			out = le.AppendUint32(out, notIndexed)
			continue
		}
		out = le.AppendUint32(out, uint32(len(c.counts)))
		keys := make([]string, len(c.counts))
		for key, n := range c.numbers {
			keys[n] = key
		}
		for n, key := range keys {
			out = le.AppendUint32(out, c.counts[n])
			out = le.AppendUint32(out, uint32(len(key)))
			out = append(out, key...)
		}
		out = append(append(out, c.low...), c.high...)
	}
	h, body, values := out[:0], out[headSize:], out[headSize:headSize+len(values)]
	h = append(h, magic...)
	h = le.AppendUint64(h, x.head.First)
	h = le.AppendUint64(h, x.head.Count)
	h = le.AppendUint64(h, uint64(x.head.Size))
	for _, text := range []struct {
		s    string
		size int
	}{{x.head.FirstID, 26}, {string(x.lastID), 26}, {x.head.PrevHash, 64}, {string(x.hash), 64}} {
		h = append(append(h, text.s...), make([]byte, text.size-len(text.s))...) // an empty index has none
	}
	h = le.AppendUint64(h, uint64(x.head.Min))
	h = le.AppendUint64(h, uint64(x.head.Max))
	h = le.AppendUint64(h, x.head.Approvals)
	h = le.AppendUint32(h, uint32(len(values)))
	h = le.AppendUint32(h, crc32.Checksum(values, castagnoli))
	h = le.AppendUint64(h, uint64(len(body)))
	h = le.AppendUint32(h, crc32.Checksum(body, castagnoli))
	le.AppendUint32(h, crc32.Checksum(h, castagnoli))
	return out, nil
}

// DecodeHead reads the head of a sidecar of the given size.
func DecodeHead(r io.ReaderAt, size int64) (Head, error) {
	h, err := decodeHead(r, size)
	return h.Head, err
}

// sidecarHead is the head of a sidecar, taken apart.
type sidecarHead struct {
	Head
	valuesLen, bodyLen int64
	valuesSum, bodySum uint32
}

func decodeHead(r io.ReaderAt, size int64) (h sidecarHead, err error) {
	buf := make([]byte, headSize)
	if size < headSize {
		return h, errSidecar
	}
	if _, err := r.ReadAt(buf, 0); err != nil {
		return h, err
	}
	d := decoder{buf: buf}
	if string(d.take(8)) != magic || crc32.Checksum(buf[:headSize-4], castagnoli) != binary.LittleEndian.Uint32(buf[headSize-4:]) {
		return h, errSidecar
	}
	h.First, h.Count, h.Size = d.uint64(), d.uint64(), int64(d.uint64())
	h.FirstID, h.LastID = string(d.take(26)), string(d.take(26))
	h.PrevHash, h.Hash = string(d.take(64)), string(d.take(64))
	h.Min, h.Max, h.Approvals = int64(d.uint64()), int64(d.uint64()), d.uint64()
	h.valuesLen, h.valuesSum = int64(d.uint32()), d.uint32()
	h.bodyLen, h.bodySum = int64(d.uint64()), d.uint32()
	if h.bodyLen != size-headSize || h.bodyLen > maxBody || h.valuesLen > h.bodyLen ||
		h.Count == 0 || h.Size <= 0 || h.Size > 1<<32-1+1<<26 {
		return h, errSidecar
	}
	return h, nil
}

// Decode reads a sidecar of the given size. For any bytes it returns either an
// error or an index whose methods are safe to call.
func Decode(r io.ReaderAt, size int64) (*Index, error) {
	h, err := decodeHead(r, size)
	if err != nil {
		return nil, err
	}
	body := make([]byte, h.bodyLen)
	if _, err := r.ReadAt(body, headSize); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != h.bodySum {
		return nil, errSidecar
	}
	d := decoder{buf: body[h.valuesLen:]}
	x := &Index{head: h.Head, lastID: []byte(h.LastID), hash: []byte(h.Hash)}
	x.offsets = make([]uint32, d.length(1))
	offset := uint64(0)
	for i := range x.offsets {
		step := d.uvarint()
		offset += step
		if step > 1<<32-1 || offset > 1<<32-1 || offset >= uint64(h.Size) || i > 0 && step == 0 {
			return nil, errSidecar
		}
		x.offsets[i] = uint32(offset)
	}
	x.blocks = make([]timeRange, d.length(2))
	sec := int64(0)
	for i := range x.blocks {
		sec += d.varint()
		x.blocks[i] = timeRange{sec, sec + int64(d.uvarint())}
	}
	x.days = make([]int32, d.length(4))
	for i := range x.days {
		x.days[i] = int32(d.uint32())
	}
	if uint64(len(x.offsets)) != (h.Count-1)/groupLines+1 || uint64(len(x.blocks)) != (h.Count-1)/blockLines+1 {
		return nil, errSidecar
	}
	for f := range x.columns {
		if x.columns[f], err = d.column(int(h.Count)); err != nil {
			return nil, err
		}
	}
	if d.short || len(d.buf) > 0 {
		return nil, errSidecar
	}
	return x, nil
}

// column decodes the column of a segment with that many lines. Its bytes per
// line are not checked: a wrong one can make a query read a line in vain or miss
// it, and nothing worse.
func (d *decoder) column(lines int) (*column, error) {
	if len(d.buf) >= 4 && binary.LittleEndian.Uint32(d.buf) == notIndexed {
		d.uint32()
		return nil, nil
	}
	n := d.length(8)
	if n == 0 || n > maxValues {
		return nil, errSidecar
	}
	c := &column{numbers: make(map[string]uint16, n), counts: make([]uint32, n)}
	for i := range n {
		c.counts[i] = d.uint32()
		c.numbers[string(d.take(d.length(1)))] = uint16(i)
	}
	if len(c.numbers) != n {
		return nil, errSidecar
	}
	// Both lie in one buffer: Clip makes an append copy a column instead of
	// writing over the bytes behind it.
	if n > 1 {
		c.low = slices.Clip(d.take(lines))
	}
	if n > 256 {
		c.high = slices.Clip(d.take(lines))
	}
	return c, nil
}

// decoder takes values off the front of a buffer. Past the end it gives zeros
// and sets short.
type decoder struct {
	buf   []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.buf) {
		d.short, d.buf = true, nil
		return make([]byte, min(n, 8))
	}
	b := d.buf[:n]
	d.buf = d.buf[n:]
	return b
}

func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.buf)
	d.take(max(n, 1)) // n < 1: no whole varint is left
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.buf)
	d.take(max(n, 1))
	return v
}

// length takes a list's length, checked against the bytes that are left: each
// entry has at least size of them.
func (d *decoder) length(size int) int {
	n := int(d.uint32())
	if n < 0 || n > len(d.buf)/size {
		d.short, d.buf = true, nil
		return 0
	}
	return n
}
