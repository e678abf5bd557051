package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/tally"
	"github.com/rampartlog/rampart/internal/vfs"
)

const lockName = "LOCK"

// maxSegment is more than a chain lets a segment become: the write after which
// it is full may hold an append of the largest size. What a file claims beyond
// it, which costs its maker no disk, is not to be read into memory.
const maxSegment = segmentSize + maxAppend

// Open opens the log in dir, which is made (0700) when missing, and
// locks it until Close.
//
// It reads the ends of the full segments and the last one, never the whole
// history; [Ledger.Verify] does. After a stop that was not a Close, what
// the last segment holds is checked line by line and copied to a new file that
// is synced, since what a page cache shows need not be what the disk has. An
// unfinished write at the very end, cut short or with zeros in it, was never
// acknowledged: it is cut off, logged, and counted in [AuditStats.Torn].
//
// ErrLocked: somebody has the log open; the message names the process.
// [*CorruptError]: the log holds what no chain wrote; the files are untouched.
func Open(dir string, opts *Options) (*Ledger, error) {
	c, err := openChain(dir, opts)
	if err != nil && !strings.HasPrefix(err.Error(), "rampart: ") {
		err = fmt.Errorf("rampart: open audit log %s: %w", dir, err)
	}
	return c, err
}

func openChain(dir string, opts *Options) (_ *Ledger, err error) {
	c := &Ledger{stopped: make(chan struct{}), errors: tally.NewCounters("write", "sync", "create", "index", "prune")}
	if opts != nil {
		c.opts = *opts
	}
	switch c.opts.Sync {
	case "":
		c.opts.Sync = SyncAlways
	case SyncAlways, SyncInterval, SyncNever:
	default:
		return nil, fmt.Errorf("%w: sync policy %q; there are %q, %q and %q", failure.ErrInvalid, c.opts.Sync, SyncAlways, SyncInterval, SyncNever)
	}
	if c.opts.SyncEvery <= 0 {
		c.opts.SyncEvery = time.Second
	}
	if c.opts.SegmentSize == 0 {
		c.opts.SegmentSize = segmentSize
	}
	c.log = c.opts.Logger
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.queue.init()
	if c.fs = c.opts.FS; c.fs == nil {
		if c.fs, err = vfs.Dir(dir); err != nil {
			return nil, err
		}
	}
	lock, err := c.fs.Lock(lockName)
	if err != nil {
		var held *vfs.LockedError
		if errors.As(err, &held) {
			return nil, fmt.Errorf("%w: the audit log %s is %w; stop that process or choose another directory", failure.ErrLocked, dir, held)
		}
		return nil, err
	}
	c.unlock = lock.Close
	defer func() {
		if err != nil {
			if c.tail.file != nil {
				c.tail.file.Close()
			}
			lock.Close()
		}
	}()
	if err := c.recover(); err != nil {
		return nil, err
	}
	go c.run()
	return c, nil
}

// recover finds the segments, checks what opening checks and leaves the tail
// where the next event goes.
func (c *Ledger) recover() error {
	// A process that was killed may have made or renamed what it had not yet
	// made durable. It is there, so that it is built upon.
	if err := c.fs.SyncDir(); err != nil {
		return err
	}
	names, err := c.fs.List()
	if err != nil {
		return err
	}
	open := func(name string) (io.ReadCloser, error) { return c.section(name, maxSegment) }
	p, err := readPruning(open)
	if err != nil {
		return err
	}
	c.state.dropped, c.state.readers = p.Pruned, &readers{first: p.Records + 1}
	var firsts []uint64
	var newest string // of the segments and their sidecars
	for _, name := range names {
		if _, ok := segment.Owner(name); ok {
			newest = name
		}
		if first, ok := segment.ParseName(name); ok {
			if first > p.Records {
				firsts = append(firsts, first)
			}
		} else if written, ok := strings.CutSuffix(name, asideSuffix); ok {
			if _, ok := segment.Owner(written); ok || written == prunedName {
				if err := c.fs.Remove(name); err != nil {
					return err
				}
			}
		}
	}
	orphan := ""
	if first, ok := segment.Owner(newest); ok && newest != segment.Name(first) && first > p.Records {
		orphan = newest
	}
	if len(firsts) == 0 && p.Records == 0 {
		if c.tail.file, err = createSegment(c.fs, 1); err != nil {
			return err
		}
		c.tail.hash = zeroHash
		c.state.begin(1)
		return c.removeOrphan(orphan)
	}
	if err := p.checkFront(open, append(firsts, 0)[0]); err != nil {
		return err
	}
	prev := segment.Head{First: 1, Count: p.Records, LastID: p.LastID, Hash: cmp.Or(p.LastHash, string(zeroHash[:]))}
	for i, first := range firsts[:len(firsts)-1] {
		g, err := c.openSealed(first, firsts[i+1], prev)
		if err != nil {
			return err
		}
		if err := follows(prev, g.head); err != nil {
			return err
		}
		prev = g.head
		c.state.segments = append(c.state.segments, g)
	}
	if err := c.openLive(firsts[len(firsts)-1], prev); err != nil {
		return err
	}
	// Only when all fits: what a pruning removes, and a crash left over, goes.
	if slices.ContainsFunc(names, c.ofPruned) {
		c.finishPruning(open)
	}
	return c.removeOrphan(orphan)
}

// removeOrphan removes a sidecar without its segment, if there is one: the
// number may be another segment's before long.
func (c *Ledger) removeOrphan(name string) error {
	if name == "" {
		return nil
	}
	// Or it was copied without it.
	c.log.Warn("audit log: a sidecar without its segment, and is removed; was the log's end removed?", "sidecar", name)
	return c.fs.Remove(name)
}

// missingSegment is the fault of a log without segment want; got is the one in
// its place, 0 if there is none.
func missingSegment(want, got uint64) *failure.CorruptError {
	if 0 < got && got < want { // it is one too many
		return &failure.CorruptError{Segment: segment.Name(got), Expected: "the next segment to begin with record " + fmt.Sprint(want), Found: "this one"}
	}
	f := &failure.CorruptError{Segment: segment.Name(want), Expected: "the segment that begins with record " + fmt.Sprint(want), Found: "no such file"}
	if got > 0 {
		f.Found += "; the next one is " + segment.Name(got)
	}
	return f
}

// section opens a file of the log for reading up to size bytes.
func (c *Ledger) section(name string, size int64) (io.ReadCloser, error) {
	f, err := c.fs.Open(name)
	if err != nil {
		return nil, err
	}
	return section{io.NewSectionReader(f, 0, size), f}, nil
}

// section is a part of a file, which is closed with it.
type section struct {
	io.Reader
	io.Closer
}

// follows checks the seam between two segments.
func follows(prev, h segment.Head) error {
	if prev.First+prev.Count != h.First && prev.Count > 0 {
		return missingSegment(prev.First+prev.Count, h.First)
	}
	if h.PrevHash != prev.Hash || h.FirstID <= prev.LastID {
		return &failure.CorruptError{Segment: segment.Name(h.First), Line: 1, ID: h.FirstID,
			Expected: "an id after " + prev.LastID + " and prev_hash " + prev.Hash, Found: "prev_hash " + h.PrevHash}
	}
	return nil
}

// openSealed learns the head of a full segment from its sidecar, or from the
// segment's own ends.
func (c *Ledger) openSealed(first, next uint64, prev segment.Head) (*sealedOrLive, error) {
	name := segment.Name(first)
	f, err := c.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := sizeOf(f, name)
	if err != nil {
		return nil, err
	}
	g := &sealedOrLive{first: first}
	g.head, err = readSidecar(c.fs, first, segment.DecodeHead)
	if err == nil && first+g.head.Count == next && fits(f, first, size, g.head) {
		return g, nil
	}
	// Without its sidecar the lines are not counted here. The names say how many
	// there must be; loading the index, and verifying, hold them to it.
	g.partial = true
	g.head = segment.Head{First: first, Count: next - first, Size: size}
	head, err := firstLine(f, size)
	if err != nil {
		return nil, err
	}
	last, err := lastLine(f, size)
	if err != nil {
		return nil, err
	}
	var begin, end record.Fields
	if selfFault(head, &begin) != nil || selfFault(last, &end) != nil {
		// Which line that is only counting tells.
		if _, _, err := checkLines(f, first, size, size, prev); err != nil {
			return nil, err
		}
		return nil, &failure.CorruptError{Segment: name, Expected: fmt.Sprintf("%d records before the next segment", next-first), Found: "none"}
	}
	g.head.FirstID, g.head.PrevHash = string(begin.ID), string(begin.PrevHash)
	g.head.LastID, g.head.Hash = string(end.ID), string(end.Hash)
	return g, nil
}

// fits reports whether h, of a sidecar, is of that segment: its last line
// vouches for all before it.
func fits(f vfs.File, first uint64, size int64, h segment.Head) bool {
	if h.First != first || h.Size != size {
		return false
	}
	last, err := lastLine(f, size)
	var fields record.Fields
	return err == nil && selfFault(last, &fields) == nil && string(fields.Hash) == h.Hash && string(fields.ID) == h.LastID
}

// openLive opens the last segment for appending.
func (c *Ledger) openLive(first uint64, prev segment.Head) error {
	name := segment.Name(first)
	if prev.Count > 0 && prev.First+prev.Count != first {
		return missingSegment(prev.First+prev.Count, first)
	}
	f, err := c.fs.OpenWrite(name)
	if err != nil {
		return err
	}
	c.tail.file = f
	size, err := sizeOf(f, name)
	if err != nil {
		return err
	}
	index, err := readSidecar(c.fs, first, segment.Decode)
	// Close alone writes the sidecar of the live segment: if it fits, all was synced.
	if err != nil || !fits(f, first, size, index.Head()) {
		synced, stale := int64(0), false
		if err == nil {
			if synced, stale, err = c.remembered(f, first, size, index.Head()); err != nil {
				return err
			}
		}
		if index, err = c.repair(first, size, synced, prev); err != nil {
			return err
		}
		if stale { // what is written from here on is none of its business
			if err := errors.Join(c.fs.Remove(segment.IndexName(first)), c.fs.SyncDir()); err != nil {
				return err
			}
		}
	}
	h := index.Head()
	if h.Count == 0 {
		h.LastID, h.Hash = prev.LastID, prev.Hash
	} else if err := follows(prev, h); err != nil {
		return err
	}
	c.tail.size, c.tail.seq = h.Size, first+h.Count-1
	copy(c.tail.hash[:], h.Hash)
	if h.LastID != "" {
		if c.tail.ids.last, err = ulid.ParseStrict(h.LastID); err != nil {
			return err
		}
		c.state.head = Anchor{ID: h.LastID, Hash: h.Hash}
	}
	c.state.seq = c.tail.seq
	c.state.segments = append(c.state.segments, newLive(first, index))
	return nil
}

// remembered returns how much of the live segment was there when it was closed,
// as h of its sidecar says, or that the sidecar is of something else. A log that
// does not go on from there was changed behind its back, unless somebody copied
// it while it was written, or put a backup beside a newer sidecar: that is said,
// and the lines are believed.
func (c *Ledger) remembered(f vfs.File, first uint64, size int64, h segment.Head) (synced int64, stale bool, err error) {
	begin, err := firstLine(f, size)
	if err != nil {
		return 0, false, err
	}
	var fields record.Fields
	if h.First != first || selfFault(begin, &fields) == nil && string(fields.ID) != h.FirstID {
		return 0, true, nil
	}
	if h.Size <= size {
		last, err := lastLine(f, h.Size)
		if err != nil {
			return 0, false, err
		}
		if selfFault(last, &fields) != nil || string(fields.Hash) == h.Hash {
			return h.Size, false, nil
		}
	}
	c.log.Warn("audit log: the last segment no longer has what it ended with when it was closed; was its end changed or cut off? verify it with that event as an anchor",
		"segment", segment.Name(first), "bytes", size, "once", h.Size, "id", h.LastID, "hash", h.Hash)
	return 0, true, nil
}

// repair checks the live segment line by line, cuts a torn tail and replaces
// the file by a durable copy of its good lines. Its first synced bytes were
// there when the log was closed: what is bad among them is no torn tail.
func (c *Ledger) repair(first uint64, size, synced int64, prev segment.Head) (*segment.Index, error) {
	name := segment.Name(first)
	index, good, err := checkLines(c.tail.file, first, size, synced, prev)
	if err != nil {
		return nil, err
	}
	if c.state.torn = size - good; c.state.torn > 0 {
		c.log.Warn("audit log: cut off an unfinished write that was never acknowledged",
			"segment", name, "bytes", c.state.torn, "records", index.Head().Count)
	}
	live := c.tail.file
	c.tail.file = nil
	if err := replaceFile(c.fs, name, section{io.NewSectionReader(live, 0, good), live}, good); err != nil {
		return nil, err
	}
	c.tail.file, err = c.fs.OpenWrite(name)
	return index, err
}

// checkLines makes the index of the good lines of segment first, good bytes of
// f, after which there may be a torn tail. It goes over f piece by piece: to
// have 16 MiB of memory given takes longer than what is done with them.
func checkLines(f vfs.File, first uint64, size, synced int64, prev segment.Head) (index *segment.Index, good int64, err error) {
	index = segment.NewIndex(first)
	prevHash, prevID := []byte(prev.Hash), []byte(prev.LastID)
	var fields record.Fields
	var fault *failure.CorruptError // of a line that is good by itself
	err = segment.Each(f, 0, size, func(_ int64, line []byte) bool {
		if selfFault(line, &fields) != nil {
			return false
		}
		if fault = linkFault(&fields, prevHash, prevID); fault == nil {
			fault = addTo(index, line, &fields)
		}
		if fault != nil {
			return false
		}
		prevHash, prevID = append(prevHash[:0], fields.Hash...), append(prevID[:0], fields.ID...)
		good += int64(len(line)) + 1
		return true
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // an unterminated line
		return nil, 0, err
	}
	if fault == nil && good < size {
		tail := make([]byte, size-good)
		if _, err := f.ReadAt(tail, good); err != nil {
			return nil, 0, err
		}
		fault = tailFault(tail, string(prevID), good < synced)
	}
	if fault != nil {
		fault.Segment, fault.Line, fault.Offset = segment.Name(first), int(index.Head().Count)+1, good
		return nil, 0, fault
	}
	return index, good, nil
}

// tailFault says what is wrong with a tail that begins with a line which is bad
// by itself, or returns nil where it may be an unfinished write.
func tailFault(tail []byte, prevID string, synced bool) *failure.CorruptError {
	var fields record.Fields
	line, rest, whole := bytes.Cut(tail, []byte("\n"))
	fault := selfFault(line, &fields)
	if fault == nil {
		fault = &failure.CorruptError{ID: string(fields.ID), Expected: "a newline", Found: "the end of the file"}
	}
	// A disk leaves of an unfinished write what is cut short or has blocks
	// of zeros. A whole line of text that is wrong was somebody's.
	edited := whole && bytes.IndexByte(line, 0) < 0
	if synced || edited || !tornWrite(prevID, validAfter(rest)) {
		return fault
	}
	return nil
}

// selfFault says what of line, by itself, is not as a chain writes it.
func selfFault(line []byte, f *record.Fields) *failure.CorruptError {
	if len(line) > maxEvent {
		return &failure.CorruptError{Expected: fmt.Sprintf("%d bytes at most", maxEvent), Found: fmt.Sprint(len(line))}
	}
	if err := record.Scan(line, f); err != nil {
		return &failure.CorruptError{Expected: "an event in the stored form", Found: err.Error()}
	}
	var sum [64]byte
	if !record.Sum(line, &sum) || !bytes.Equal(sum[:], f.Hash) {
		return &failure.CorruptError{ID: string(f.ID), Expected: "hash " + string(sum[:]), Found: string(f.Hash)}
	}
	return nil
}

// linkFault says why a line that is good by itself cannot follow the one before.
func linkFault(f *record.Fields, prevHash, prevID []byte) *failure.CorruptError {
	if !bytes.Equal(f.PrevHash, prevHash) {
		return &failure.CorruptError{ID: string(f.ID), Expected: fmt.Sprintf("prev_hash %s", prevHash), Found: string(f.PrevHash)}
	}
	if bytes.Compare(f.ID, prevID) <= 0 {
		return &failure.CorruptError{ID: string(f.ID), Expected: fmt.Sprintf("an id after %s", prevID), Found: string(f.ID)}
	}
	return nil
}

// validAfter returns the ids of the lines in data that are good by themselves.
func validAfter(data []byte) (ids []string) {
	var f record.Fields
	for line := range bytes.Lines(data) {
		if line, ok := bytes.CutSuffix(line, []byte("\n")); ok && selfFault(line, &f) == nil {
			ids = append(ids, string(f.ID))
		}
	}
	return ids
}

// tornWrite reports whether a bad region with those good lines after it can be
// what is left of a write that began after record last.
func tornWrite(last string, after []string) bool {
	var before ulid.ULID
	if last != "" {
		before = ulid.MustParseStrict(last)
	}
	for _, id := range after {
		if !sameWrite(before, ulid.MustParseStrict(id)) {
			return false
		}
	}
	return true
}
