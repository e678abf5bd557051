package ledger

import (
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

// maxSegment is more than a log lets a segment become: the write after which it
// is full may hold a batch of the largest size. A sparse file can claim more for
// free; it must not make us allocate it.
const maxSegment = segmentSize + MaxAppend

// Open opens the log in dir, as rampart.OpenAuditChain says.
func Open(dir string, o *Options) (*Ledger, error) {
	l, err := open(dir, o)
	if err != nil && !strings.HasPrefix(err.Error(), "rampart: ") {
		err = fmt.Errorf("rampart: open audit log %s: %w", dir, err)
	}
	return l, err
}

func open(dir string, o *Options) (_ *Ledger, err error) {
	l := &Ledger{stopped: make(chan struct{}), errors: tally.NewCounters(opWrite, opSync, opCreate, opIndex, opPrune)}
	if err := l.configure(o); err != nil {
		return nil, err
	}
	l.queue.init()
	if l.fs = l.opts.FS; l.fs == nil {
		if l.fs, err = vfs.Dir(dir); err != nil {
			return nil, err
		}
	}
	lock, err := l.fs.Lock(lockName)
	if err != nil {
		var held *vfs.LockedError
		if errors.As(err, &held) {
			return nil, fmt.Errorf("%w: the audit log %s is %w; stop that process or choose another directory", failure.ErrLocked, dir, held)
		}
		return nil, err
	}
	l.unlock = lock.Close
	if err := l.recover(); err != nil {
		if l.tail.file != nil {
			l.tail.file.Close()
		}
		lock.Close()
		return nil, err
	}
	go l.run()
	return l, nil
}

// configure takes the options, with their defaults.
func (l *Ledger) configure(o *Options) error {
	if o != nil {
		l.opts = *o
	}
	l.opts.Sync = cmp.Or(l.opts.Sync, SyncAlways)
	switch l.opts.Sync {
	case SyncAlways, SyncInterval, SyncNever:
	default:
		return fmt.Errorf("%w: sync policy %q; there are %q, %q and %q", failure.ErrInvalid, l.opts.Sync, SyncAlways, SyncInterval, SyncNever)
	}
	if l.opts.SyncEvery <= 0 {
		l.opts.SyncEvery = time.Second
	}
	l.opts.SegmentSize = cmp.Or(l.opts.SegmentSize, segmentSize)
	if l.log = l.opts.Logger; l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// recover finds the segments, checks what opening checks and leaves the tail
// where the next line goes.
func (l *Ledger) recover() error {
	// A process that was killed may have made or renamed files without making
	// their names durable. The names are there, so this process builds upon them.
	if err := l.fs.SyncDir(); err != nil {
		return err
	}
	names, err := l.fs.List()
	if err != nil {
		return err
	}
	from := func(name string) (io.ReadCloser, error) { return l.section(name, maxSegment) }
	p, err := readPruning(from)
	if err != nil {
		return err
	}
	l.state.dropped, l.state.readers = p.Pruned, &readers{first: p.Records + 1}
	firsts, orphan, err := l.inventory(names, p.Records)
	if err != nil {
		return err
	}
	if len(firsts) == 0 && p.Records == 0 {
		if l.tail.file, err = createSegment(l.fs, 1); err != nil {
			return err
		}
		l.tail.hash = ZeroHash
		l.state.begin(1)
		return l.removeOrphan(orphan)
	}
	if err := p.checkFront(from, append(firsts, 0)[0]); err != nil {
		return err
	}
	prev := segment.Head{First: 1, Count: p.Records, LastID: p.LastID, Hash: cmp.Or(p.LastHash, string(ZeroHash[:]))}
	for i, first := range firsts[:len(firsts)-1] {
		g, err := l.openSealed(first, firsts[i+1], prev)
		if err != nil {
			return err
		}
		if err := follows(prev, g.head); err != nil {
			return err
		}
		prev = g.head
		l.state.segments = append(l.state.segments, g)
	}
	if err := l.openLive(firsts[len(firsts)-1], prev); err != nil {
		return err
	}
	// Only once everything fits are the remains of an interrupted pruning removed.
	if slices.ContainsFunc(names, l.ofPruned) {
		l.finishPruning(from)
	}
	return l.removeOrphan(orphan)
}

// inventory returns the numbers of the segments after the first pruned records,
// sorted as names are, and the sidecar that has no segment, if the newest file
// is one. It removes what an interrupted replacement left aside.
func (l *Ledger) inventory(names []string, pruned uint64) (firsts []uint64, orphan string, err error) {
	var newest string // of the segments and their sidecars
	for _, name := range names {
		if _, ok := segment.Owner(name); ok {
			newest = name
		}
		if first, ok := segment.ParseName(name); ok {
			if first > pruned {
				firsts = append(firsts, first)
			}
		} else if written, ok := strings.CutSuffix(name, asideSuffix); ok {
			if _, ok := segment.Owner(written); ok || written == prunedName {
				if err := l.fs.Remove(name); err != nil {
					return nil, "", err
				}
			}
		}
	}
	if first, ok := segment.Owner(newest); ok && newest != segment.Name(first) && first > pruned {
		orphan = newest
	}
	return firsts, orphan, nil
}

// removeOrphan removes a sidecar without its segment, if there is one: the
// number may be another segment's before long.
func (l *Ledger) removeOrphan(name string) error {
	if name == "" {
		return nil
	}
	// Somebody removed the segment, or copied the sidecar without it.
	l.log.Warn("audit log: this sidecar has no segment and is removed; was the end of the log removed?", "sidecar", name)
	return l.fs.Remove(name)
}

// section opens a file of the log for reading up to size bytes.
func (l *Ledger) section(name string, size int64) (io.ReadCloser, error) {
	f, err := l.fs.Open(name)
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

// openSealed learns the head of a full segment from its sidecar, or from the
// segment's own ends.
func (l *Ledger) openSealed(first, next uint64, prev segment.Head) (*segmentRef, error) {
	name := segment.Name(first)
	f, err := l.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := sizeOf(f, name)
	if err != nil {
		return nil, err
	}
	g := &segmentRef{first: first}
	g.head, err = readSidecar(l.fs, first, segment.DecodeHead)
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
	if CheckLine(head, &begin) != nil || CheckLine(last, &end) != nil {
		// Only counting tells which line that is.
		if _, _, err := checkLines(f, first, size, size, prev); err != nil {
			return nil, err
		}
		return nil, &failure.CorruptError{Segment: name, Expected: fmt.Sprintf("%d records before the next segment", next-first), Found: "none"}
	}
	g.head.FirstID, g.head.PrevHash = string(begin.ID), string(begin.PrevHash)
	g.head.LastID, g.head.Hash = string(end.ID), string(end.Hash)
	return g, nil
}

// fits reports whether h, a sidecar's head, is that of the segment in f, whose
// last line vouches for all before it.
func fits(f vfs.File, first uint64, size int64, h segment.Head) bool {
	if h.First != first || h.Size != size {
		return false
	}
	last, err := lastLine(f, size)
	var fields record.Fields
	return err == nil && CheckLine(last, &fields) == nil && string(fields.Hash) == h.Hash && string(fields.ID) == h.LastID
}

// openLive opens the last segment for appending.
func (l *Ledger) openLive(first uint64, prev segment.Head) error {
	name := segment.Name(first)
	if prev.Count > 0 && prev.First+prev.Count != first {
		return missingSegment(prev.First+prev.Count, first)
	}
	f, err := l.fs.OpenWrite(name)
	if err != nil {
		return err
	}
	l.tail.file = f
	size, err := sizeOf(f, name)
	if err != nil {
		return err
	}
	index, err := readSidecar(l.fs, first, segment.Decode)
	// Close alone writes the sidecar of the live segment: if it fits, all was synced.
	if err != nil || !fits(f, first, size, index.Head()) {
		synced, stale := int64(0), false
		if err == nil {
			if synced, stale, err = l.remembered(f, first, size, index.Head()); err != nil {
				return err
			}
		}
		if index, err = l.repair(first, size, synced, prev); err != nil {
			return err
		}
		if stale { // the stale sidecar must not vouch for lines written from here on
			if err := errors.Join(l.fs.Remove(segment.IndexName(first)), l.fs.SyncDir()); err != nil {
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
	l.tail.size, l.tail.seq = h.Size, first+h.Count-1
	copy(l.tail.hash[:], h.Hash)
	if h.LastID != "" {
		if l.tail.ids.last, err = ulid.ParseStrict(h.LastID); err != nil {
			return err
		}
		l.state.head = Anchor{ID: h.LastID, Hash: h.Hash}
	}
	l.state.seq = l.tail.seq
	l.state.segments = append(l.state.segments, newLive(first, index))
	return nil
}

// remembered returns how many bytes of the live segment were there when it was
// closed, as its sidecar's head h says, or that the sidecar is of something else.
//
// A segment that does not go on from there was changed while it was closed, or
// somebody copied it while it was written, or put a backup beside a newer
// sidecar. Opening logs that, and believes the lines.
func (l *Ledger) remembered(f vfs.File, first uint64, size int64, h segment.Head) (synced int64, stale bool, err error) {
	begin, err := firstLine(f, size)
	if err != nil {
		return 0, false, err
	}
	var fields record.Fields
	if h.First != first || CheckLine(begin, &fields) == nil && string(fields.ID) != h.FirstID {
		return 0, true, nil
	}
	if h.Size <= size {
		last, err := lastLine(f, h.Size)
		if err != nil {
			return 0, false, err
		}
		if CheckLine(last, &fields) != nil || string(fields.Hash) == h.Hash {
			return h.Size, false, nil
		}
	}
	l.log.Warn("audit log: the last segment no longer contains its last event from the previous close: edited or truncated? verify the log with that event as an anchor",
		"segment", segment.Name(first), "bytes", size, "once", h.Size, "id", h.LastID, "hash", h.Hash)
	return 0, true, nil
}

// repair checks the live segment line by line, cuts a torn tail and replaces
// the file by a durable copy of its good lines. The first synced bytes were
// there when the log was closed: a bad line among them is no torn tail.
func (l *Ledger) repair(first uint64, size, synced int64, prev segment.Head) (*segment.Index, error) {
	name := segment.Name(first)
	index, good, err := checkLines(l.tail.file, first, size, synced, prev)
	if err != nil {
		return nil, err
	}
	if l.state.torn = size - good; l.state.torn > 0 {
		l.log.Warn("audit log: cut off an unfinished write that was never acknowledged",
			"segment", name, "bytes", l.state.torn, "records", index.Head().Count)
	}
	live := l.tail.file
	l.tail.file = nil
	if err := replaceFile(l.fs, name, section{io.NewSectionReader(live, 0, good), live}, good); err != nil {
		return nil, err
	}
	l.tail.file, err = l.fs.OpenWrite(name)
	return index, err
}

// checkLines makes the index of the good lines of segment first. They are the
// first good bytes of f; behind them there may be a torn tail. It reads f piece by
// piece, since allocating 16 MiB takes longer than checking them.
func checkLines(f vfs.File, first uint64, size, synced int64, prev segment.Head) (index *segment.Index, good int64, err error) {
	index = segment.NewIndex(first)
	prevHash, prevID := []byte(prev.Hash), []byte(prev.LastID)
	var fields record.Fields
	var fault *failure.CorruptError // of a line that is good by itself
	err = segment.Each(f, 0, size, func(_ int64, line []byte) bool {
		if CheckLine(line, &fields) != nil {
			return false
		}
		if fault = seamFault(fields.ID, fields.PrevHash, prevID, prevHash); fault == nil {
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
		return nil, 0, fault.At(segment.Name(first), int(index.Head().Count)+1, good)
	}
	return index, good, nil
}
