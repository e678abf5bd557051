// Package framelog is a byte log of frames in memory: one writer appends, many
// readers follow, each at its own pace.
//
// Frames lie in chunks of 64 KiB, none in two of them, so that what a reader
// has not read yet is one slice of a chunk and is taken as it is. The log keeps
// as many chunks as its window allows and drops the oldest for the collector;
// nothing is ever written over, so a slice stays good for as long as a reader
// holds it. A chunk does not know the one after it: a reader that stalls keeps
// one chunk alive, not all that follow.
//
// Some frames advance the log's position, a number that only grows; others,
// which carry no position of their own, lie between them.
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

// Kind is the kind of a frame, below [Kinds]. What it means is its user's affair.
type Kind uint8

// Counts are numbers of frames by kind.
type Counts [Kinds]uint64

var (
	// ErrLagged: the window has passed the reader's place.
	ErrLagged = errors.New("framelog: the window has passed this place")
	// ErrClosed: the log was closed, and the reader has read what memory held for it.
	ErrClosed = errors.New("framelog: closed")
)

// Mark is the place of a frame that advances the position.
type Mark struct {
	Seq    uint64 // the position after the frame
	Off    int32  // of the frame's first byte, counted from Run.Base
	Kind   Kind
	before [Kinds]uint16 // frames of the chunk before this one
}

// Run is what a reader gets in one go: whole frames, at most [ChunkSize] bytes.
type Run struct {
	Bytes  []byte // never changes; not to be written to
	Marks  []Mark // of those of its frames that advance the position, in order
	Base   int32  // what Mark.Off counts for the first of Bytes
	After  uint64 // the position before it
	Seq    uint64 // the position after it; of an empty run, the newest
	Counts Counts // its frames by kind
	More   bool   // it ends where its chunk does and not where the log does
}

type chunk struct {
	num    uint64 // chunks are numbered from 0
	before uint64 // position at its start
	seq    uint64 // position at its end
	base   Counts // frames of the log before it
	inside [Kinds]uint16
	marks  []Mark
	buf    []byte // what is below its length never changes
}

// count gives the frames of the log before the k-th mark, or up to the chunk's end.
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
	kick chan struct{} // tells the waker that there is something to wake for
	done chan struct{} // closed when the waker has ended

	mu     sync.Mutex
	ring   []*chunk // chunk n is at n % len(ring) until a later one takes its place
	newest *chunk
	wait   chan struct{} // closed after the next Wake; nil when nobody waits
	closed bool
}

// New returns an empty log at position 0 that keeps the last window bytes of
// frames, two chunks at least. It must be closed.
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

// Start sets the position of a log in which no frame has advanced it yet, and
// reports whether that is so.
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

// Append adds a copy of frame, which is at most [ChunkSize] long. It advances
// the position if seq is greater than it. It never waits for a reader; readers
// that wait are woken by [Log.Wake].
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

// Wake lets those readers look again that wait. It costs the same for one and
// for ten thousand: closing a channel that many wait on takes long, so the
// log's own goroutine does that.
func (l *Log) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == nil || l.closed {
		return
	}
	select {
	case l.kick <- struct{}{}:
	default: // the waker has yet to look, and will find what came since
	}
}

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

// waiting gives the channel to wait on, or ErrClosed. The caller holds l.mu.
func (l *Log) waiting() (<-chan struct{}, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.wait == nil {
		l.wait = make(chan struct{})
	}
	return l.wait, nil
}

// Close wakes all readers and ends the log's goroutine. They get what memory
// holds for them, then [ErrClosed]. Nothing may be appended afterwards.
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
	mark   int    // of those of the chunk, the first at or after off
	counts Counts // frames of the log before off
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

// Attach moves the reader behind position seq: to the end of the log when seq
// is the newest, else to the first frame with a greater position. Frames
// without a position in between are passed over. It fails with [ErrLagged] when
// the window has passed that frame. When seq is yet to come, the reader stays
// where it is and wait, which is nil otherwise, is closed once it is worth
// asking again.
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
// moves behind them. When there are none it returns an empty run, and a channel
// that is closed once there are. It fails with [ErrLagged] or [ErrClosed].
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
