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

// tail is the end of the log. It belongs to who has put a value into
// queue.tail: the committer, or a lone writer.
type tail struct {
	ids   idSource
	hash  [64]byte // of the newest record
	seq   uint64   // its number
	file  vfs.File // of the live segment
	size  int64    // its bytes that belong to the log
	dirty bool     // bytes of it are not synced, by policy

	buf    []byte
	spans  []span
	notice []Notice
}

// span is a line within the write that is being made.
type span struct {
	from, to int
	id       ulid.ULID
	hash     [64]byte
}

// run is the committer, which writes what waits in the queue.
func (c *Ledger) run() {
	defer close(c.stopped)
	var tick <-chan time.Time
	if c.opts.Sync == SyncInterval {
		t := time.NewTicker(c.opts.SyncEvery)
		defer t.Stop()
		tick = t.C
	}
	var batch []*Batch
	for open := true; open; {
		select {
		case <-c.queue.kick:
			c.queue.tail <- struct{}{}
			batch, open = c.queue.take(batch[:0])
			if len(batch) > 0 {
				var err error
				batch, err = c.write(batch)
				c.queue.answered(len(batch))
				for _, r := range batch {
					r.err = err
					close(r.done)
				}
				clear(batch)
			}
			<-c.queue.tail
		case <-tick:
			c.queue.tail <- struct{}{}
			c.syncDirty()
			<-c.queue.tail
		}
	}
	c.queue.tail <- struct{}{} // once a lone writer that came before has it no longer
}

// writeAlone is write for a request whose caller has the tail, which it gives up.
func (c *Ledger) writeAlone(r *Batch) {
	panicked := true
	defer func() {
		if panicked { // file and memory may disagree, and a server may go on after this
			c.state.fail(errors.New("a write panicked"))
		}
		c.queue.answered(1)
		<-c.queue.tail
	}()
	_, r.err = c.write([]*Batch{r})
	panicked = false
}

// write appends the batch's events, and those that come while it links them, in
// one write, makes them durable, shows them to readers and announces them. It
// returns all requests whose outcome err is.
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
func (c *Ledger) write(batch []*Batch) (_ []*Batch, err error) {
	if err := c.state.failure(); err != nil {
		return batch, err
	}
	if err := c.untouched(); err != nil {
		return batch, err
	}
	t := &c.tail
	if t.size >= c.opts.SegmentSize {
		if err := c.roll(); err != nil {
			return batch, err
		}
	}
	hash := t.hash
	t.buf, t.spans = t.buf[:0], t.spans[:0]
	t.ids.begin(time.Now())
	for linked := 0; linked < len(batch); batch = c.queue.gather(batch) {
		hash = c.link(batch[linked:], hash)
		linked = len(batch)
	}
	return batch, c.store(batch, hash)
}

// store is write once all is encoded.
func (c *Ledger) store(batch []*Batch, hash [64]byte) error {
	t := &c.tail
	if n, err := t.file.WriteAt(t.buf, t.size); err != nil {
		c.errors.Add("write")
		err = fmt.Errorf("rampart: append to %s, %d of %d bytes written: %w", segment.Name(c.state.live().first), n, len(t.buf), err)
		// What was not acknowledged must not stay where the next write begins.
		if cut := t.file.Truncate(t.size); cut != nil {
			return c.state.fail(fmt.Errorf("%w; and cutting it off again: %w", err, cut))
		}
		// Nor may a power cut bring it back, once its caller is told that it is
		// not in the log.
		t.dirty = true
		if c.opts.Sync == SyncAlways {
			if cut := c.syncTail(); cut != nil {
				return cut
			}
		}
		return err
	}
	t.dirty = true
	if c.opts.Sync == SyncAlways || slices.ContainsFunc(batch, func(r *Batch) bool { return r.Sync }) {
		if err := c.syncTail(); err != nil {
			return err
		}
	}

	if err := c.show(); err != nil {
		return c.state.fail(err)
	}
	t.size += int64(len(t.buf))
	t.hash = hash
	t.ids.last = t.spans[len(t.spans)-1].id
	c.announce(batch)
	return nil
}

// untouched returns why the live segment is no longer what it was: what is
// written to a file that was removed, or that an editor saved over, is gone with
// the process, and what follows a hole that somebody cut is not a log.
func (c *Ledger) untouched() error {
	err := c.tail.file.Untouched(c.tail.size)
	if err == nil {
		return nil
	}
	c.errors.Add("write")
	err = fmt.Errorf("rampart: append to %s: %w", segment.Name(c.state.live().first), err)
	if errors.Is(err, vfs.ErrTouched) {
		return c.state.fail(err)
	}
	return err
}

// link gives the events their ids and hashes, and encodes them.
func (c *Ledger) link(batch []*Batch, hash [64]byte) [64]byte {
	t := &c.tail
	prev := string(hash[:])
	for _, r := range batch {
		for i, body := range r.Bodies {
			e := &r.Places[i]
			id := t.ids.take(len(t.spans))
			e.ID, e.PrevHash = id.String(), prev
			from := len(t.buf)
			t.buf, hash = record.AppendLine(t.buf, e.ID, body, &hash)
			e.Hash = string(hash[:])
			prev = e.Hash
			t.spans = append(t.spans, span{from, len(t.buf), id, hash})
			t.buf = append(t.buf, '\n')
		}
	}
	return hash
}

// syncTail makes the live segment durable. After a failed fsync the kernel may
// have dropped the pages and marked them clean, so that a second try would
// succeed and mean nothing: the log takes no more events until it is opened
// again, which copies what is readable to a new file.
func (c *Ledger) syncTail() error {
	if err := c.tail.file.Sync(); err != nil {
		c.errors.Add("sync")
		return c.state.fail(fmt.Errorf("sync %s: %w", segment.Name(c.state.live().first), err))
	}
	c.tail.dirty = false
	return nil
}

func (c *Ledger) syncDirty() {
	if c.tail.dirty && c.state.failure() == nil {
		if err := c.syncTail(); err != nil {
			c.log.Error("audit log failed", "error", err)
		}
	}
}

// show lets readers see what was written.
func (c *Ledger) show() error {
	t := &c.tail
	live := c.state.live()
	var f record.Fields
	for _, s := range t.spans {
		line := t.buf[s.from:s.to]
		if err := record.Scan(line, &f); err != nil {
			return fmt.Errorf("own line does not scan: %w", err)
		}
		if err := live.index.Add(line, &f); err != nil {
			return err
		}
	}
	t.seq += uint64(len(t.spans))
	last := t.spans[len(t.spans)-1]
	c.state.advance(t.seq, last.id.String(), string(last.hash[:]), len(t.spans))
	return nil
}

// announce tells the queue's owner, then the bus.
func (c *Ledger) announce(batch []*Batch) {
	t := &c.tail
	t.notice = t.notice[:0]
	seq := t.seq - uint64(len(t.spans))
	at := 0
	for _, r := range batch {
		if r.Durable != nil {
			r.Durable(r.Places)
		}
		for i := range r.Places {
			e, s := &r.Places[i], t.spans[at]
			at++
			seq++
			if !r.Bulk {
				t.notice = append(t.notice, Notice{Kind: NoticeEvent, Seq: seq, ID: e.ID, Hash: e.Hash, Line: t.buf[s.from:s.to]})
			} else if i == len(r.Places)-1 {
				t.notice = append(t.notice, Notice{Kind: NoticeBatch, Seq: seq, ID: e.ID, Hash: e.Hash, RunID: r.RunID})
			}
		}
		if r.Approvals {
			t.notice = append(t.notice, Notice{Kind: NoticeApprovals, Seq: seq})
		}
	}
	if c.opts.Announce != nil {
		c.opts.Announce(t.notice)
	}
	clear(t.notice)
	if cap(t.buf) > 2*maxWrite {
		t.buf = nil
	}
}

// roll seals the live segment and begins the next.
func (c *Ledger) roll() error {
	t := &c.tail
	// A sealed segment is whole on disk whatever the policy: recovery looks for
	// a torn tail in the last one alone.
	if t.dirty {
		if err := c.syncTail(); err != nil {
			return err
		}
	}
	first := t.seq + 1
	f, err := createSegment(c.fs, first)
	if err != nil {
		c.errors.Add("create")
		return fmt.Errorf("rampart: begin segment %s: %w", segment.Name(first), err)
	}
	old, oldFile, index := c.state.live(), t.file, c.state.live().index
	t.file, t.size = f, 0
	c.state.begin(first)
	c.sealing.Go(func() {
		if err := oldFile.Close(); err != nil {
			c.log.Warn("closing a sealed segment", "segment", segment.Name(old.first), "error", err)
		}
		c.writeIndex(index)
		c.state.retire(old)
	})
	return nil
}

// shut is the end of Close, when nothing else runs.
func (c *Ledger) shut() error {
	c.state.close()
	err := c.state.failure()
	if err == nil {
		err = c.untouched()
		if c.tail.dirty {
			if e := c.syncTail(); err == nil {
				err = e
			}
		}
	}
	if e := c.tail.file.Close(); err == nil {
		err = e
	}
	// The sidecar of the live segment says that it was closed cleanly: the next
	// opening need not read it.
	if live := c.state.live(); err == nil && live.index.Head().Count > 0 {
		c.writeIndex(live.index)
	}
	if e := c.unlock(); err == nil {
		err = e
	}
	return err
}
