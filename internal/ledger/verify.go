package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// Anchor is an event's id and hash, noted down somewhere that who can write
// the log can't: a stream position, a ticket, another machine's log.
type Anchor struct {
	ID   string `json:"id"`
	Hash string `json:"hash"` // or its first digits, 16 of them as in a stream position; empty proves presence alone
}

// Verdict is what a verification found.
type Verdict string

const (
	VerdictOK         Verdict = "ok"
	VerdictTornTail   Verdict = "torn tail"  // ends as an unfinished write does, which is never acknowledged; an anchor shows the contrary
	VerdictTampered   Verdict = "tampered"   // a line is not what was written
	VerdictMissing    Verdict = "missing"    // lines or segments are missing, doubled or out of order
	VerdictTruncated  Verdict = "truncated"  // an anchor is not on the log, which was cut or rewritten
	VerdictPruned     Verdict = "pruned"     // all is well, but an anchor is older than what the log holds: it can't be checked
	VerdictUnreadable Verdict = "unreadable" // reading gave an error
)

// Report is the outcome of a verification. A bare chain proves that nothing in
// it was changed, removed or moved; that its end is still there, and that it
// was not written anew as a whole, only anchors prove.
type Report struct {
	Verdict  Verdict
	Pruned   Pruned // what was dropped from the front, as the log itself says
	Events   uint64 // good ones after that, up to the fault
	FirstID  string
	LastID   string
	HeadHash string
	Fault    *failure.CorruptError // the first fault; nil when Verdict is VerdictOK
}

// OK reports whether the log is whole.
func (r Report) OK() bool { return r.Verdict == VerdictOK }

// VerifyChain reads the log in fsys, a directory of a live log, of a backup or
// of an archive, and checks every line's hash, every link, the sequence of the
// segments and every anchor. It takes no lock and writes nothing. All cores
// hash; memory does not grow with the log.
//
// A log that was pruned is whole when it begins with the event after the last
// one dropped, and holds the event that says so: see [Ledger.Prune].
//
// A fault in the data is a verdict. The error is ctx's, or ErrInvalid for a
// malformed anchor. On a log that is being written the end of a write may look
// like a torn tail.
func VerifyChain(ctx context.Context, fsys fs.FS, anchors ...Anchor) (Report, error) {
	v, err := newVerification(anchors)
	if err != nil {
		return Report{}, err
	}
	v.open = func(name string) (io.ReadCloser, error) {
		// Before it is opened: opening a FIFO would wait for its other end.
		info, err := fs.Stat(fsys, name)
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		if err != nil {
			return nil, err
		}
		return fsys.Open(name)
	}
	for {
		p, pruneErr := readPruning(v.open)
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			return v.unreadable(".", err), nil
		}
		var segments []uint64
		for _, e := range entries {
			if first, ok := segment.ParseName(e.Name()); ok {
				segments = append(segments, first)
			}
		}
		slices.Sort(segments)
		r, err := v.run(ctx, segments, p, pruneErr)
		if err != nil || r.OK() {
			return r, err
		}
		// It may have been pruned meanwhile.
		if again, err := readPruning(v.open); err != nil || again == p {
			return r, nil
		}
	}
}

// Verify is [VerifyChain] for the part of the open log that is visible when it
// is called, whose newest event is an anchor. Appending goes on meanwhile.
func (c *Ledger) Verify(ctx context.Context, anchors ...Anchor) (Report, error) {
	v, err := newVerification(anchors)
	if err != nil {
		return Report{}, err
	}
	sizes := map[string]int64{prunedName: maxEvent + 2}
	v.open = func(name string) (io.ReadCloser, error) { return c.section(name, sizes[name]) }
	c.pruning.Lock() // what the file says, and what is there, are of one moment
	now, err := c.state.view()
	if err != nil {
		c.pruning.Unlock()
		return Report{}, err
	}
	defer now.release()
	p, pruneErr := readPruning(v.open)
	c.pruning.Unlock()
	var segments []uint64
	for _, g := range now.segments {
		h, _ := c.state.headOf(g)
		segments, sizes[segment.Name(g.first)] = append(segments, g.first), h.Size
	}
	v.acknowledged = true
	// An anchor of the caller's stays where it says otherwise.
	if hash := v.anchors[now.head.ID]; now.head.ID != "" && strings.HasPrefix(now.head.Hash, hash) {
		v.anchors[now.head.ID] = now.head.Hash
	}
	return v.run(ctx, segments, p, pruneErr)
}

// verification is one walk over a log. Blocks of lines are checked on all
// cores, each line by itself and against the one before it in its block; the
// seams between blocks are checked in order.
type verification struct {
	open     opener
	anchors  map[string]string // id to hash
	pruned   pruning
	segments []uint64 // those that were not

	acknowledged bool // all of it: no tail is an unfinished write
}

func newVerification(anchors []Anchor) (*verification, error) {
	v := &verification{anchors: make(map[string]string, len(anchors))}
	for _, a := range anchors {
		hash := strings.ToLower(a.Hash)
		if !record.ValidID(a.ID) {
			return nil, fmt.Errorf("%w: anchor: %q is not %s", failure.ErrInvalid, a.ID, record.IDForm)
		}
		if strings.Trim(hash, "0123456789abcdef") != "" || len(hash) > 64 || len(hash) > 0 && len(hash) < 16 {
			return nil, fmt.Errorf("%w: the anchor's hash must be 16 to 64 hexadecimal digits, or empty", failure.ErrInvalid)
		}
		if have, ok := v.anchors[a.ID]; ok && have != hash && !strings.HasPrefix(have, hash) {
			if !strings.HasPrefix(hash, have) {
				return nil, fmt.Errorf("%w: two anchors give event %s different hashes", failure.ErrInvalid, a.ID)
			}
		} else if ok {
			hash = have
		}
		v.anchors[a.ID] = hash
	}
	return v, nil
}

// verifyBlock is small enough that a block is still in its core's cache when
// its lines are checked.
const verifyBlock = 1 << 20

// Most of what verifying a small log takes would be the memory for blocks.
var blockBuffers = sync.Pool{New: func() any {
	buf := make([]byte, 0, verifyBlock)
	return &buf
}}

// block is some whole lines of one segment, and what was found in them.
type block struct {
	segment int
	offset  int64  // of the first one; the segment begins with the block at 0
	data    []byte // nil once it is checked
	last    bool   // of the segment
	err     error
	done    chan struct{}

	count             uint64
	firstPrev, lastID string
	firstID, lastHash string
	fault             *failure.CorruptError // in the line after count
	verdict           Verdict
	seen              []Anchor // anchors' events, with the hashes they have
}

// run walks over the segments that p, read with pruneErr, leaves.
func (v *verification) run(ctx context.Context, segments []uint64, p pruning, pruneErr error) (Report, error) {
	if fault := new(failure.CorruptError); errors.As(pruneErr, &fault) {
		return v.found(Report{}, VerdictTampered, fault), nil
	} else if pruneErr != nil {
		return v.unreadable(prunedName, pruneErr), nil
	}
	// Opening removes those that a crash left over.
	v.pruned, v.segments = p, slices.DeleteFunc(segments, func(first uint64) bool { return first <= p.Records })

	ctx, cancel := context.WithCancel(ctx)
	workers := runtime.GOMAXPROCS(0)
	order := make(chan *block, 2*workers)
	split := splitter{v: v, order: order}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range workers {
		wg.Go(func() {
			var f record.Fields
			buf := blockBuffers.Get().(*[]byte) // of one block after the other
			defer blockBuffers.Put(buf)
			for b := split.next(ctx, buf); b != nil; b = split.next(ctx, buf) {
				if b.err == nil && ctx.Err() == nil {
					b.check(&f, v)
				}
				close(b.done)
			}
		})
	}

	r := Report{Verdict: VerdictOK, Pruned: p.Pruned}
	seen := map[string]string{}
	prevHash, prevID, next := cmp.Or(p.LastHash, string(zeroHash[:])), p.LastID, p.Records+1
	line := 1 // the block's first
	for b := range order {
		<-b.done
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		name := segment.Name(v.segments[b.segment])
		if b.err != nil {
			return v.found(r, VerdictUnreadable, &failure.CorruptError{Segment: name, Offset: b.offset, Expected: "to read the file", Found: b.err.Error()}), nil
		}
		if b.offset == 0 {
			line = 1
			if first := v.segments[b.segment]; first != next {
				fault := missingSegment(next, first)
				if b.segment == 0 {
					fault = p.fault(first, "", "")
				}
				return v.found(r, VerdictMissing, fault), nil
			}
		}
		if b.count > 0 {
			if r.Events == 0 {
				if fault := p.fault(p.Records+1, b.firstID, b.firstPrev); fault != nil {
					return v.found(r, VerdictMissing, fault), nil
				}
			}
			var fault *failure.CorruptError
			if b.firstPrev != prevHash {
				fault = &failure.CorruptError{ID: b.firstID, Expected: "prev_hash " + prevHash, Found: b.firstPrev}
			} else if b.firstID <= prevID {
				fault = &failure.CorruptError{ID: b.firstID, Expected: "an id after " + prevID, Found: b.firstID}
			}
			if fault != nil {
				fault.Segment, fault.Line, fault.Offset = name, line, b.offset
				return v.found(r, VerdictMissing, fault), nil
			}
			if r.FirstID == "" {
				r.FirstID = b.firstID
			}
			r.Events += b.count
			r.LastID, r.HeadHash, prevID, prevHash = b.lastID, b.lastHash, b.lastID, b.lastHash
			next += b.count
			line += int(b.count)
		}
		for _, a := range b.seen {
			seen[a.ID] = a.Hash
		}
		if b.fault != nil {
			b.fault.Segment, b.fault.Line = name, line
			r = v.found(r, b.verdict, b.fault)
			if r.Verdict != VerdictTampered || b.segment < len(v.segments)-1 || v.acknowledged {
				return r, nil
			}
			if torn, err := v.torn(name, b.fault.Offset, prevID); err != nil {
				b.fault.Expected, b.fault.Found = "to read the file", err.Error()
				return v.found(r, VerdictUnreadable, b.fault), nil
			} else if !torn {
				return r, nil
			}
			r.Verdict = VerdictTornTail
			break // the log ends here; an anchor beyond proves that it once went on
		}
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	if e := p.event; seen[e.ID] != e.Hash {
		return v.found(r, VerdictMissing, &failure.CorruptError{Segment: prunedName, Line: 1, ID: e.ID, Expected: "that event on the log", Found: "no such event in the log, which ends with " + r.LastID}), nil
	}
	if p.Records > 0 {
		seen[p.LastID] = p.LastHash
	}
	for _, id := range slices.Sorted(maps.Keys(v.anchors)) {
		hash := v.anchors[id]
		switch have, ok := seen[id]; {
		case !ok && id < p.LastID:
			if r.OK() { // anything else is worse
				r = v.found(r, VerdictPruned, &failure.CorruptError{ID: id, Expected: "event " + id + " of the anchor", Found: "a log that was pruned up to " + p.LastID})
			}
		case !ok:
			return v.found(r, VerdictTruncated, &failure.CorruptError{ID: id, Expected: "event " + id + " of the anchor", Found: "no such event in the log, which ends with " + r.LastID}), nil
		case !strings.HasPrefix(have, hash):
			return v.found(r, VerdictTruncated, &failure.CorruptError{ID: id, Expected: "hash " + hash + " of the anchor", Found: have}), nil
		}
	}
	return r, nil
}

// torn reports whether the last segment, which has a bad line at that offset,
// ends there in an unfinished write. It decides as opening does where no sidecar
// says that the log was closed, on all that follows: a write may be longer than
// a block.
func (v *verification) torn(name string, offset int64, prevID string) (bool, error) {
	f, err := v.open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if f, ok := f.(fs.File); ok {
		if info, err := f.Stat(); err == nil && info.Size() > maxSegment {
			return false, nil // which costs its maker no disk, and us much memory
		}
	}
	if _, err := io.CopyN(io.Discard, f, offset); err != nil {
		return false, err
	}
	tail, err := io.ReadAll(io.LimitReader(f, maxSegment+1-offset))
	if err != nil || offset+int64(len(tail)) > maxSegment {
		return false, err
	}
	line, _, whole := bytes.Cut(tail, []byte("\n"))
	if whole && selfFault(line, new(record.Fields)) == nil {
		return true, nil // it was being written, and now is
	}
	return tailFault(tail, prevID, false) == nil, nil
}

func (v *verification) found(r Report, verdict Verdict, fault *failure.CorruptError) Report {
	r.Verdict, r.Fault = verdict, fault
	return r
}

func (v *verification) unreadable(name string, err error) Report {
	return v.found(Report{}, VerdictUnreadable, &failure.CorruptError{Segment: name, Expected: "to read it", Found: err.Error()})
}

// splitter reads the log in blocks that end at the end of a line. Whoever is to
// check a block reads it, one at a time, and so has it in the cache.
type splitter struct {
	v     *verification
	order chan<- *block // gets them in their order, and is closed after the last

	mu      sync.Mutex
	over    bool
	segment int
	file    io.ReadCloser // nil between segments
	offset  int64         // of what comes next in it, which begins with rest
	rest    []byte
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
		b.last = b.last || cut == 0 && len(data) > 2*maxEvent
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
		if fault := selfFault(line, f); fault != nil {
			b.fail(at, VerdictTampered, fault)
			return
		}
		if b.count == 0 {
			b.firstPrev, b.firstID = string(f.PrevHash), string(f.ID)
		} else if fault := linkFault(f, lastHash, lastID); fault != nil {
			b.fail(at, VerdictMissing, fault)
			return
		}
		lastHash, lastID = f.Hash, f.ID // into data, which stays as it is
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
