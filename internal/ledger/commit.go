package ledger

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs"
)

// tail is the end of the log. It is owned by the goroutine that holds the token
// in queue.tail: the committer, or a lone writer.
type tail struct {
	ids   idSource
	hash  [64]byte // of the newest record
	seq   uint64   // its number
	file  vfs.File // of the live segment
	size  int64    // its bytes that belong to the log
	dirty bool     // bytes of it are not synced, by policy

	observe func(lines [][]byte) // told of lines with an approval member; nil for nobody
	writes  uint64               // linked so far

	buf    []byte
	spans  []span
	notice []Notice
}

// span is a line within the write that is being made.
type span struct {
	from, to int
	id       ulid.ULID
	hash     [64]byte
	approval bool // has an approval member; known once it is indexed
}

// run is the committer, which writes what waits in the queue.
func (l *Ledger) run() {
	defer close(l.stopped)
	var tick <-chan time.Time
	if l.opts.Sync == SyncInterval {
		t := time.NewTicker(l.opts.SyncEvery)
		defer t.Stop()
		tick = t.C
	}
	var batches []*Batch
	for open := true; open; {
		select {
		case <-l.queue.kick:
			l.queue.tail <- struct{}{}
			batches, open = l.queue.take(batches[:0])
			if len(batches) > 0 {
				batches = l.write(batches)
				l.queue.answered(len(batches))
				for _, b := range batches {
					close(b.done)
				}
				clear(batches)
			}
			<-l.queue.tail
		case <-tick:
			l.queue.tail <- struct{}{}
			l.syncDirty()
			<-l.queue.tail
		}
	}
	l.queue.tail <- struct{}{} // wait for a lone writer that still holds the tail
}

// writeAlone is write for one batch, whose caller holds the tail. It releases the
// tail.
func (l *Ledger) writeAlone(b *Batch) {
	panicked := true
	defer func() {
		if panicked { // file and memory may disagree, and a server may go on after this
			l.state.fail(errors.New("a write panicked"))
		}
		l.queue.answered(1)
		<-l.queue.tail
	}()
	l.write([]*Batch{b})
	panicked = false
}

// write appends the batches, and those that come while it links them, in one
// write. It returns all of them, each with its outcome in err.
//
//	fstat(live), lstat(live's name); pwrite(live, lines, size); fdatasync(live)
//
// or, when the write fails:
//
//	ftruncate(live, size); fdatasync(live)
//
// and before it, when the live segment is full:
//
//	open(next, O_CREAT|O_EXCL); fsync(next); fsync(dir)
func (l *Ledger) write(batches []*Batch) []*Batch {
	err := l.ready()
	if err == nil {
		hash := l.tail.hash
		l.begin()
		for linked := 0; linked < len(batches); batches = l.queue.gather(batches) {
			hash = l.link(batches[linked:], hash)
			linked = len(batches)
		}
		err = l.adopt(batches, hash)
	}
	if err != nil {
		for _, b := range batches {
			if b.err == nil {
				b.err = err
			}
		}
	}
	return batches
}

// ready returns why nothing can be appended to the live segment. If that is full,
// ready begins another.
func (l *Ledger) ready() error {
	if err := l.state.failure(); err != nil {
		return err
	}
	if err := l.untouched(); err != nil {
		return err
	}
	if l.tail.size >= l.opts.SegmentSize {
		return l.roll()
	}
	return nil
}

// begin begins a write.
func (l *Ledger) begin() {
	t := &l.tail
	t.buf, t.spans = t.buf[:0], t.spans[:0]
	t.writes++
	t.ids.begin(time.Now())
}

// link makes the lines of the batches, the first one after the record with that
// hash, and returns the hash of the last line. It leaves out a batch whose Check
// gives an error at its place.
func (l *Ledger) link(batches []*Batch, hash [64]byte) [64]byte {
	t := &l.tail
	prev := string(hash[:])
	for _, b := range batches {
		if b.Check != nil {
			if b.err = b.Check(t.writes); b.err != nil {
				continue
			}
		}
		for i := range b.Records {
			r := &b.Records[i]
			id := t.ids.take(len(t.spans))
			r.ID, r.PrevHash = id.String(), prev
			from := len(t.buf)
			t.buf, hash = record.AppendLine(t.buf, r.ID, r.Body, &hash)
			r.Hash = string(hash[:])
			prev = r.Hash
			t.spans = append(t.spans, span{from: from, to: len(t.buf), id: id, hash: hash})
			t.buf = append(t.buf, '\n')
		}
	}
	return hash
}

// adopt makes the lines that were linked durable, and tells everybody of them.
// hash is the last one's. Batches that have an error are not among the lines.
func (l *Ledger) adopt(batches []*Batch, hash [64]byte) error {
	t := &l.tail
	if len(t.spans) == 0 {
		return nil
	}
	if err := l.persist(slices.ContainsFunc(batches, func(b *Batch) bool { return b.Sync && b.err == nil })); err != nil {
		return err
	}
	if err := l.show(); err != nil {
		return l.state.fail(err)
	}
	t.size += int64(len(t.buf))
	t.hash = hash
	t.ids.last = t.spans[len(t.spans)-1].id
	l.announce(batches)
	return nil
}

// persist writes the lines, and makes them durable as the policy says; with sync,
// whatever the policy says.
func (l *Ledger) persist(sync bool) error {
	t := &l.tail
	if n, err := t.file.WriteAt(t.buf, t.size); err != nil {
		l.errors.Add(opWrite)
		err = fmt.Errorf("rampart: append to %s, %d of %d bytes written: %w", segment.Name(l.state.live().first), n, len(t.buf), err)
		// What was not acknowledged must not stay where the next write begins.
		if cut := t.file.Truncate(t.size); cut != nil {
			return l.state.fail(fmt.Errorf("%w; and cutting it off again: %w", err, cut))
		}
		// Nor may a power cut bring it back, once its caller is told that it is
		// not in the log.
		t.dirty = true
		if l.opts.Sync == SyncAlways {
			if cut := l.syncTail(); cut != nil {
				return cut
			}
		}
		return err
	}
	t.dirty = true
	if l.opts.Sync == SyncAlways || sync {
		return l.syncTail()
	}
	return nil
}

// untouched returns why the live segment is no longer what it was. Lines that
// are written to a file which was removed, or which an editor saved over, are
// gone with the process, and lines behind a hole that somebody cut are no log.
func (l *Ledger) untouched() error {
	err := l.tail.file.Untouched(l.tail.size)
	if err == nil {
		return nil
	}
	l.errors.Add(opWrite)
	err = fmt.Errorf("rampart: append to %s: %w", segment.Name(l.state.live().first), err)
	if errors.Is(err, vfs.ErrTouched) {
		return l.state.fail(err)
	}
	return err
}

// syncTail makes the live segment durable. After a failed fsync the kernel may
// have dropped the pages and marked them clean, so that a second try would
// succeed and mean nothing: the log takes no more lines until it is opened
// again, which copies what is readable to a new file.
func (l *Ledger) syncTail() error {
	if err := l.tail.file.Sync(); err != nil {
		l.errors.Add(opSync)
		return l.state.fail(fmt.Errorf("sync %s: %w", segment.Name(l.state.live().first), err))
	}
	l.tail.dirty = false
	return nil
}

func (l *Ledger) syncDirty() {
	if l.tail.dirty && l.state.failure() == nil {
		if err := l.syncTail(); err != nil {
			l.log.Error("audit log failed", "error", err)
		}
	}
}

// show tells the observer of what was written, indexes it, and lets readers see it.
func (l *Ledger) show() error {
	t := &l.tail
	live := l.state.live()
	var f record.Fields
	told := t.observe == nil
	for i := range t.spans {
		s := &t.spans[i]
		line := t.buf[s.from:s.to]
		if err := record.Scan(line, &f); err != nil {
			return fmt.Errorf("own line does not scan: %w", err)
		}
		// The observer comes before the index: whoever finds the line by its id must
		// find the approval as well.
		if s.approval = f.Approval != nil; s.approval && !told {
			t.observe(l.approvals(i))
			told = true
		}
		if err := live.index.Add(line, &f); err != nil {
			return err
		}
	}
	t.seq += uint64(len(t.spans))
	last := t.spans[len(t.spans)-1]
	l.state.advance(t.seq, last.id.String(), string(last.hash[:]), len(t.spans))
	return nil
}

// approvals returns the lines with an approval member from line i on. Line i has one.
func (l *Ledger) approvals(i int) (lines [][]byte) {
	var f record.Fields
	for _, s := range l.tail.spans[i:] {
		line := l.tail.buf[s.from:s.to]
		if record.Scan(line, &f) == nil && f.Approval != nil {
			lines = append(lines, line)
		}
	}
	return lines
}

// announce tells [Options.Announce] of the batches that were written.
func (l *Ledger) announce(batches []*Batch) {
	t := &l.tail
	t.notice = t.notice[:0]
	seq := t.seq - uint64(len(t.spans))
	at := 0
	for _, b := range batches {
		if b.err != nil {
			continue
		}
		approvals := false
		for i := range b.Records {
			r, s := &b.Records[i], &t.spans[at]
			at++
			seq++
			approvals = approvals || s.approval
			if !b.Bulk {
				t.notice = append(t.notice, Notice{Kind: NoticeEvent, Seq: seq, ID: r.ID, Hash: r.Hash, Line: t.buf[s.from:s.to]})
			} else if i == len(b.Records)-1 {
				t.notice = append(t.notice, Notice{Kind: NoticeBatch, Seq: seq, ID: r.ID, Hash: r.Hash, RunID: b.RunID})
			}
		}
		if approvals {
			t.notice = append(t.notice, Notice{Kind: NoticeApprovals, Seq: seq})
		}
	}
	if l.opts.Announce != nil {
		l.opts.Announce(t.notice)
	}
	clear(t.notice)
	if cap(t.buf) > 2*maxWrite {
		t.buf = nil
	}
}

// roll seals the live segment and begins the next.
func (l *Ledger) roll() error {
	t := &l.tail
	// A sealed segment is whole on disk whatever the policy: recovery looks for
	// a torn tail in the last one alone.
	if t.dirty {
		if err := l.syncTail(); err != nil {
			return err
		}
	}
	first := t.seq + 1
	f, err := createSegment(l.fs, first)
	if err != nil {
		l.errors.Add(opCreate)
		return fmt.Errorf("rampart: begin segment %s: %w", segment.Name(first), err)
	}
	old, oldFile, index := l.state.live(), t.file, l.state.live().index
	t.file, t.size = f, 0
	l.state.begin(first)
	l.sealing.Go(func() {
		if err := oldFile.Close(); err != nil {
			l.log.Warn("closing a sealed segment", "segment", segment.Name(old.first), "error", err)
		}
		l.writeIndex(index)
		l.state.retire(old)
	})
	return nil
}

// shut is the end of Close, when nothing else runs.
func (l *Ledger) shut() error {
	l.state.close()
	err := l.state.failure()
	if err == nil {
		err = l.untouched()
		if l.tail.dirty {
			if e := l.syncTail(); err == nil {
				err = e
			}
		}
	}
	if e := l.tail.file.Close(); err == nil {
		err = e
	}
	// The sidecar of the live segment says that it was closed cleanly: the next
	// opening need not read it.
	if live := l.state.live(); err == nil && live.index.Head().Count > 0 {
		l.writeIndex(live.index)
	}
	if e := l.unlock(); err == nil {
		err = e
	}
	return err
}
