package ledger

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// verifyBlock is small enough that a block is still in its core's cache when
// its lines are checked.
const verifyBlock = 1 << 20

// blockBuffers spares the memory for blocks, which would be most of the cost of
// verifying a small log.
var blockBuffers = sync.Pool{New: func() any {
	buf := make([]byte, 0, verifyBlock)
	return &buf
}}

// block is some whole lines of one segment, and what checking them found.
type block struct {
	segment int    // index in verification.segments
	offset  int64  // of the block's first line in the segment
	data    []byte // nil once the block is checked
	last    bool   // the segment's last block
	err     error  // of reading the block
	done    chan struct{}

	count             uint64
	firstPrev, lastID string
	firstID, lastHash string
	fault             *failure.CorruptError // in the line after count
	verdict           Verdict
	seen              []Anchor // the block's events that an anchor names, with their hashes
}

// splitter reads the log in blocks that end at the end of a line. The goroutine
// that checks a block reads it, one goroutine at a time, so that the block is in
// the cache of its core.
type splitter struct {
	v     *verification
	order chan<- *block // gets the blocks in their order, and is closed after the last

	mu      sync.Mutex
	over    bool
	segment int
	file    io.ReadCloser // nil between segments
	offset  int64         // of the segment's next block, which begins with rest
	rest    []byte        // read from the file, and part of no block yet
}

// next returns a block to check, in buf, or nil after the last one.
func (s *splitter) next(ctx context.Context, buf *[]byte) *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	var b *block
	if s.segment < len(s.v.segments) && ctx.Err() == nil {
		b = s.read(buf)
		select {
		case s.order <- b:
		case <-ctx.Done():
			b = nil
		}
	}
	if b == nil || b.err != nil {
		s.over = true
		close(s.order)
	}
	if s.file != nil && (s.over || b.last) {
		s.file.Close()
		s.file = nil
	}
	return b
}

func (s *splitter) read(buf *[]byte) *block {
	b := &block{segment: s.segment, offset: s.offset, done: make(chan struct{})}
	if s.file == nil {
		if s.file, b.err = s.v.open(segment.Name(s.v.segments[s.segment])); b.err != nil {
			return b
		}
	}
	data := append(*buf, s.rest...)
	defer func() { *buf = data[:0] }()
	cut := 0
	for cut == 0 && !b.last {
		have := len(data)
		if have == cap(data) {
			data = slices.Grow(data, have)
		}
		n, err := io.ReadFull(s.file, data[have:cap(data)])
		data = data[:have+n]
		if b.last = err == io.EOF || err == io.ErrUnexpectedEOF; err != nil && !b.last {
			b.err = err
			return b
		}
		cut = bytes.LastIndexByte(data[have:], '\n') + 1
		if cut > 0 {
			cut += have
		}
		// A line longer than any event has no end worth looking for.
		b.last = b.last || cut == 0 && len(data) > 2*MaxEvent
	}
	if b.last {
		cut, s.segment, s.offset = len(data), s.segment+1, 0
	} else {
		s.offset += int64(cut)
	}
	b.data, s.rest = data[:cut:cut], append(s.rest[:0], data[cut:]...)
	return b
}

// check goes over the block's lines up to the first fault.
func (b *block) check(f *record.Fields, v *verification) {
	data, at := b.data, 0
	var lastHash, lastID []byte
	defer func() { b.lastHash, b.lastID, b.data = string(lastHash), string(lastID), nil }()
	for at < len(data) {
		n := bytes.IndexByte(data[at:], '\n')
		if n < 0 {
			b.fail(at, VerdictTampered, &failure.CorruptError{Expected: "an event in the stored form and a newline", Found: "the end of the file"})
			return
		}
		line := data[at : at+n]
		if fault := CheckLine(line, f); fault != nil {
			b.fail(at, VerdictTampered, fault)
			return
		}
		if b.count == 0 {
			b.firstPrev, b.firstID = string(f.PrevHash), string(f.ID)
		} else if fault := seamFault(f.ID, f.PrevHash, lastID, lastHash); fault != nil {
			b.fail(at, VerdictMissing, fault)
			return
		}
		lastHash, lastID = f.Hash, f.ID // parts of data, which does not change
		b.count++
		if _, ok := v.anchors[string(lastID)]; ok || string(lastID) == v.pruned.event.ID {
			b.seen = append(b.seen, Anchor{string(lastID), string(lastHash)})
		}
		at += n + 1
	}
}

func (b *block) fail(at int, verdict Verdict, fault *failure.CorruptError) {
	fault.Offset = b.offset + int64(at)
	b.fault, b.verdict = fault, verdict
}
