package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// A sidecar is a head of fixed size, so that opening a log reads one small
// piece per segment; the hashes of the values that the segment has, which tell
// most queries that it is none of theirs; and the rest, which is read when a
// query needs it:
//
//	magic 8 · first 8 · count 8 · size 8 · first id 26 · last id 26 ·
//	prev_hash 64 · hash 64 · min 8 · max 8 · approvals 8 ·
//	values length 4 · values CRC-32C 4 ·
//	body length 8 · body CRC-32C 4 · head CRC-32C 4
//
//	body: values · offsets · blocks · days · per field: values with their
//	bitmaps; each list but the first preceded by its length
//
// All numbers are little-endian.
const (
	magic    = "rmpidx\x00\x02"
	maxBody  = 64 << 20 // bytes; that of a full segment has half a million
	headSize = 8 + 3*8 + 2*26 + 2*64 + 3*8 + 4 + 4 + 8 + 4 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errSidecar = errors.New("segment: not a valid index")
)

// notIndexed stands in the place of a field's number of values.
const notIndexed = ^uint32(0)

// Encode returns the sidecar of x.
func (x *Index) Encode() ([]byte, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	le := binary.LittleEndian
	out := x.appendValues(make([]byte, headSize, headSize+len(x.offsets)*5))
	values := out[headSize:]
	out = le.AppendUint32(out, uint32(len(x.offsets)))
	for _, o := range x.offsets {
		out = le.AppendUint32(out, o)
	}
	out = le.AppendUint32(out, uint32(len(x.blocks)))
	for _, b := range x.blocks {
		out = le.AppendUint64(out, uint64(b.min))
		out = le.AppendUint64(out, uint64(b.max))
	}
	out = le.AppendUint32(out, uint32(len(x.days)))
	for _, d := range x.days {
		out = le.AppendUint32(out, uint32(d))
	}
	for _, m := range x.values {
		if m == nil {
			out = le.AppendUint32(out, notIndexed)
			continue
		}
		out = le.AppendUint32(out, uint32(len(m)))
		for _, key := range slices.Sorted(maps.Keys(m)) {
			b := m[key].Clone() // readers share the original
			b.RunOptimize()
			bits, err := b.ToBytes()
			if err != nil {
				return nil, err
			}
			out = le.AppendUint32(out, uint32(len(key)))
			out = append(out, key...)
			out = le.AppendUint32(out, uint32(len(bits)))
			out = append(out, bits...)
		}
	}
	h, body, values := out[:0], out[headSize:], out[headSize:headSize+len(values)]
	h = append(h, magic...)
	h = le.AppendUint64(h, x.head.First)
	h = le.AppendUint64(h, x.head.Count)
	h = le.AppendUint64(h, uint64(x.head.Size))
	h = append(h, fmt.Sprintf("%26s%26s%64s%64s", x.head.FirstID, x.lastID, x.head.PrevHash, x.hash)...)
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

// sidecarHead is what a sidecar begins with.
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

// Decode reads a sidecar of the given size. Whatever it holds, the result is
// an index that can be asked without harm, or an error.
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
	x.offsets = make([]uint32, d.length(4))
	for i := range x.offsets {
		x.offsets[i] = d.uint32()
		if int64(x.offsets[i]) >= h.Size || i > 0 && x.offsets[i] <= x.offsets[i-1] {
			return nil, errSidecar
		}
	}
	x.blocks = make([]timeRange, d.length(16))
	for i := range x.blocks {
		x.blocks[i] = timeRange{int64(d.uint64()), int64(d.uint64())}
	}
	x.days = make([]int32, d.length(4))
	for i := range x.days {
		x.days[i] = int32(d.uint32())
	}
	for f := range x.values {
		n := d.uint32()
		if n == notIndexed {
			continue
		}
		if n > maxValues {
			return nil, errSidecar
		}
		x.values[f] = make(map[string]*roaring.Bitmap, n)
		for range n {
			key := string(d.take(d.length(1)))
			b := roaring.New()
			if err := b.UnmarshalBinary(bytes.Clone(d.take(d.length(1)))); err != nil {
				return nil, err
			}
			if err := b.Validate(); err != nil {
				return nil, err
			}
			if b.IsEmpty() || uint64(b.Maximum()) >= h.Count {
				return nil, errSidecar
			}
			x.values[f][key] = b
		}
	}
	if d.short || len(d.buf) > 0 ||
		uint64(len(x.offsets)) != (h.Count+groupLines-1)/groupLines ||
		uint64(len(x.blocks)) != (h.Count+blockLines-1)/blockLines {
		return nil, errSidecar
	}
	return x, nil
}

// decoder takes values off a buffer; past its end it gives zeros and says so.
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

// length is the number of entries of the given size that follow.
func (d *decoder) length(size int) int {
	n := int(d.uint32())
	if n < 0 || n > len(d.buf)/size {
		d.short, d.buf = true, nil
		return 0
	}
	return n
}
