// Package framelog is a byte log of frames in memory: one writer appends, many
// readers follow, each at its own pace.
//
// Frames lie in chunks of 64 KiB. No frame spans two chunks, so a reader takes
// all unread frames of a chunk as one slice, without a copy. The log keeps as
// many chunks as its window allows and leaves older ones to the garbage
// collector. Bytes are never overwritten, so a slice stays valid for as long as
// a reader holds it. A chunk has no pointer to the next one: a stalled reader
// keeps one chunk alive, not all that follow.
//
// Some frames advance the log's position, a number that only grows. Frames
// without a position may lie between them.
package framelog

import (
	"errors"
	"sort"
	"sync"
)

// ChunkSize is the size of a chunk, and the longest frame, in bytes.
const ChunkSize = 64 << 10

// Kinds is how many kinds of frames a log counts.
const Kinds = 4

// Kind is the kind of a frame, below [Kinds]. The log's user gives it a meaning.
type Kind uint8

// Counts are numbers of frames by kind.
type Counts [Kinds]uint64

var (
	// ErrLagged: the frames at the reader's place have left the window.
	ErrLagged = errors.New("framelog: the window has passed this place")
	// ErrClosed: the log is closed, and the reader has read all that was left.
	ErrClosed = errors.New("framelog: closed")
)

// Mark is the place of a frame that advances the position.
type Mark struct {
	Seq    uint64 // the position after the frame
	Off    int32  // offset of the frame's first byte in its chunk; in Run.Bytes it is Off-Run.Base
	Kind   Kind
	before [Kinds]uint16 // frames that precede this one in its chunk
}

// Run is what a reader gets in one go: whole frames, at most [ChunkSize] bytes.
type Run struct {
	Bytes  []byte // read-only; never changes
	Marks  []Mark // one for each frame that advances the position, in order
	Base   int32  // offset of Bytes in its chunk; see Mark.Off
	After  uint64 // the position before the run
	Seq    uint64 // the position after the run; the newest one if the run is empty
	Counts Counts // the run's frames by kind
	More   bool   // the log has another chunk after this run
}

type chunk struct {
	num    uint64        // chunks are numbered from 0
	before uint64        // position at its start
	seq    uint64        // position at its end
	base   Counts        // frames of the log that precede the chunk
	inside [Kinds]uint16 // frames in the chunk
	marks  []Mark
	buf    []byte // only appended to: bytes below its length never change
}

// count counts the frames of the log up to the chunk's k-th mark, or up to the
// chunk's end if it has no such mark.
func (c *chunk) count(k int) Counts {
	inside := c.inside
	if k < len(c.marks) {
		inside = c.marks[k].before
	}
	n := c.base
	for i, v := range inside {
		n[i] += uint64(v)
	}
	return n
}

// Log is the log. All its methods may be called concurrently.
type Log struct {
	kick chan struct{} // tells the waker to wake the readers
	done chan struct{} // closed when the waker has ended

	mu     sync.Mutex
	ring   []*chunk // chunk n is at n % len(ring) until a later chunk replaces it
	newest *chunk
	wait   chan struct{} // closed after the next Wake; nil when nobody waits
	closed bool
}

// New returns an empty log at position 0. It keeps the last window bytes of
// frames, rounded down to whole chunks, but at least two. It must be closed.
func New(window int) *Log {
	l := &Log{
		kick: make(chan struct{}, 1),
		done: make(chan struct{}),
		ring: make([]*chunk, max(2, window/ChunkSize)),
	}
	l.grow(&chunk{})
	go l.waker()
	return l
}

func (l *Log) grow(c *chunk) {
	c.buf = make([]byte, 0, ChunkSize)
	c.marks = make([]Mark, 0, ChunkSize/512)
	l.ring[c.num%uint64(len(l.ring))] = c
	l.newest = c
}

// Start sets the position, and returns true, if no frame has advanced it yet.
// Otherwise it returns false.
func (l *Log) Start(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest.seq != 0 {
		return false
	}
	for _, c := range l.ring {
		if c != nil {
			c.before, c.seq = seq, seq
		}
	}
	return true
}

// Append adds a copy of frame, which must be at most [ChunkSize] long. If seq is
// greater than the position, it becomes the position. Append never waits for a
// reader, and does not wake any: that is [Log.Wake].
func (l *Log) Append(frame []byte, kind Kind, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.newest
	if len(c.buf)+len(frame) > ChunkSize {
		l.grow(&chunk{num: c.num + 1, before: c.seq, seq: c.seq, base: c.count(len(c.marks))})
		c = l.newest
	}
	if seq > c.seq {
		c.marks = append(c.marks, Mark{Seq: seq, Off: int32(len(c.buf)), Kind: kind, before: c.inside})
		c.seq = seq
	}
	c.buf = append(c.buf, frame...)
	c.inside[kind]++
}

// Wake wakes the readers that wait. Its cost does not depend on their number:
// closing a channel that many goroutines wait on takes long, so the waker
// goroutine does that.
func (l *Log) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == nil || l.closed {
		return
	}
	select {
	case l.kick <- struct{}{}:
	default: // a kick is pending, and will wake these readers too
	}
}

// waker is the log's goroutine, from New to Close.
func (l *Log) waker() {
	defer close(l.done)
	for range l.kick {
		l.mu.Lock()
		w := l.wait
		l.wait = nil
		l.mu.Unlock()
		if w != nil {
			close(w)
		}
	}
}

// waiting returns the channel to wait on, or ErrClosed. The caller holds l.mu.
func (l *Log) waiting() (<-chan struct{}, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.wait == nil {
		l.wait = make(chan struct{})
	}
	return l.wait, nil
}

// Close wakes all readers and ends the log's goroutine. Readers still get the
// frames that they have not read, then [ErrClosed]. Nothing may be appended
// afterwards.
func (l *Log) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.kick)
		if l.wait != nil {
			close(l.wait)
			l.wait = nil
		}
	}
	l.mu.Unlock()
	<-l.done
}

// Seq returns the newest position.
func (l *Log) Seq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest.seq
}

// Oldest returns the lowest position at which a reader can be attached.
func (l *Log) Oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest().before
}

func (l *Log) oldest() *chunk {
	if c := l.ring[(l.newest.num+1)%uint64(len(l.ring))]; c != nil {
		return c
	}
	return l.ring[0]
}

// Reader is a place in a log. It is for one goroutine.
type Reader struct {
	log    *Log
	chunk  *chunk
	off    int
	mark   int    // index in chunk.marks of the first mark at or after off
	counts Counts // frames of the log that precede off
}

// NewReader returns a reader at the end of the log.
func (l *Log) NewReader() *Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Reader{log: l}
	r.toEnd()
	return r
}

func (r *Reader) toEnd() {
	c := r.log.newest
	r.chunk, r.off, r.mark, r.counts = c, len(c.buf), len(c.marks), c.count(len(c.marks))
}

// Attach moves the reader behind position seq: to the end of the log if seq is
// the newest position, else to the first frame with a greater one. It skips the
// frames without a position in between. It fails with [ErrLagged] if that frame
// has left the window. If the log has not reached seq yet, the reader stays where
// it is, and wait is closed when the caller should call Attach again; otherwise
// wait is nil.
func (r *Reader) Attach(seq uint64) (wait <-chan struct{}, err error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.newest.seq {
		return l.waiting()
	}
	if seq == l.newest.seq {
		r.toEnd()
		return nil, nil
	}
	first := l.oldest()
	if seq < first.before {
		return nil, ErrLagged
	}
	n := sort.Search(int(l.newest.num-first.num), func(i int) bool { return l.at(first.num+uint64(i)).seq > seq })
	c := l.at(first.num + uint64(n))
	k := sort.Search(len(c.marks), func(i int) bool { return c.marks[i].Seq > seq })
	r.chunk, r.off, r.mark, r.counts = c, int(c.marks[k].Off), k, c.count(k)
	return nil, nil
}

func (l *Log) at(num uint64) *chunk { return l.ring[num%uint64(len(l.ring))] }

// Next returns the frames from the reader's place to the end of its chunk and
// moves the reader behind them. If there are none, it returns an empty run and a
// channel that is closed once there may be some. It fails with [ErrLagged] or
// [ErrClosed].
func (r *Reader) Next() (run Run, wait <-chan struct{}, err error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.off == len(r.chunk.buf) && r.chunk != l.newest {
		c := l.at(r.chunk.num + 1)
		if c.num != r.chunk.num+1 {
			return Run{}, nil, ErrLagged
		}
		r.chunk, r.off, r.mark = c, 0, 0
	}
	c := r.chunk
	end := len(c.buf)
	if r.off == end {
		wait, err = l.waiting()
		return Run{After: c.seq, Seq: c.seq}, wait, err
	}
	counts := c.count(len(c.marks))
	run = Run{
		Bytes: c.buf[r.off:end:end],
		Marks: c.marks[r.mark:len(c.marks):len(c.marks)],
		Base:  int32(r.off),
		After: c.before,
		Seq:   c.seq,
		More:  c != l.newest,
	}
	if r.mark > 0 {
		run.After = c.marks[r.mark-1].Seq
	}
	for i := range counts {
		run.Counts[i] = counts[i] - r.counts[i]
	}
	r.off, r.mark, r.counts = end, len(c.marks), counts
	return run, nil, nil
}
