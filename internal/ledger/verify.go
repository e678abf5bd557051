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

// Anchor has the fields of rampart.Anchor, which is made of it.
type Anchor struct {
	ID   string `json:"id"`
	Hash string `json:"hash"`
}

// Verdict is what a verification found, as rampart.Verdict is.
type Verdict string

const (
	VerdictOK         Verdict = "ok"
	VerdictTornTail   Verdict = "torn tail"
	VerdictTampered   Verdict = "tampered"
	VerdictMissing    Verdict = "missing"
	VerdictTruncated  Verdict = "truncated"
	VerdictPruned     Verdict = "pruned"
	VerdictUnreadable Verdict = "unreadable"
)

// Report is the outcome of a verification, as rampart.Report is.
type Report struct {
	Verdict  Verdict
	Pruned   Pruned
	Events   uint64
	FirstID  string
	LastID   string
	HeadHash string
	Fault    *failure.CorruptError
}

// VerifyFS verifies the log in a directory, as rampart.VerifyChain says.
func VerifyFS(ctx context.Context, fsys fs.FS, anchors []Anchor) (Report, error) {
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
		if err != nil || r.Verdict == VerdictOK {
			return r, err
		}
		// It may have been pruned meanwhile.
		if again, err := readPruning(v.open); err != nil || again == p {
			return r, nil
		}
	}
}

// Verify is [VerifyFS] for the part of the open log that is visible when it is
// called. The newest event of that part is an anchor. Appending goes on meanwhile.
func (l *Ledger) Verify(ctx context.Context, anchors []Anchor) (Report, error) {
	v, err := newVerification(anchors)
	if err != nil {
		return Report{}, err
	}
	sizes := map[string]int64{prunedName: MaxEvent + 2}
	v.open = func(name string) (io.ReadCloser, error) { return l.section(name, sizes[name]) }
	l.pruning.Lock() // so that the file PRUNED and the view are of one moment
	now, err := l.state.view()
	if err != nil {
		l.pruning.Unlock()
		return Report{}, err
	}
	defer now.release()
	p, pruneErr := readPruning(v.open)
	l.pruning.Unlock()
	segments := make([]uint64, 0, len(now.segments))
	for _, g := range now.segments {
		h, _ := l.state.headOf(g)
		segments, sizes[segment.Name(g.first)] = append(segments, g.first), h.Size
	}
	v.acknowledged = true
	// Keep the caller's anchor where it disagrees with the head.
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
	segments []uint64 // the segments that were not pruned

	acknowledged bool // the log holds only acknowledged lines: no tail is an unfinished write

	// Of the blocks that were joined so far.
	report   Report
	seen     map[string]string // id to hash, of anchors' events
	prevHash string
	prevID   string
	next     uint64 // number of the record that must follow
	line     int    // and its line in the segment
}

func newVerification(anchors []Anchor) (*verification, error) {
	v := &verification{anchors: make(map[string]string, len(anchors))}
	for _, a := range anchors {
		hash := strings.ToLower(a.Hash)
		if !record.ValidID(a.ID) {
			return nil, fmt.Errorf("%w: the anchor's id %q is not %s", failure.ErrInvalid, a.ID, record.IDForm)
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

// run verifies the segments that are left after p. pruneErr is the error of
// reading p.
func (v *verification) run(ctx context.Context, segments []uint64, p pruning, pruneErr error) (Report, error) {
	v.report = Report{Verdict: VerdictOK}
	if fault := new(failure.CorruptError); errors.As(pruneErr, &fault) {
		return v.found(VerdictTampered, fault), nil
	} else if pruneErr != nil {
		return v.unreadable(prunedName, pruneErr), nil
	}
	// Opening removes the segments that a crash left over.
	v.pruned, v.segments = p, slices.DeleteFunc(segments, func(first uint64) bool { return first <= p.Records })
	v.report.Pruned = p.Pruned
	v.seen = map[string]string{}
	v.prevHash, v.prevID, v.next = cmp.Or(p.LastHash, string(ZeroHash[:])), p.LastID, p.Records+1
	over, err := v.walk(ctx)
	if err != nil {
		return Report{}, err
	}
	if !over {
		v.checkAnchors()
	}
	return v.report, nil
}

// walk has all cores check blocks, and joins the blocks in their order. It reports
// whether it found a fault that anchors can't add to.
func (v *verification) walk(ctx context.Context) (over bool, err error) {
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
			buf := blockBuffers.Get().(*[]byte) // holds one block after the other
			defer blockBuffers.Put(buf)
			for b := split.next(ctx, buf); b != nil; b = split.next(ctx, buf) {
				if b.err == nil && ctx.Err() == nil {
					b.check(&f, v)
				}
				close(b.done)
			}
		})
	}
	for b := range order {
		<-b.done
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if over = v.join(b); over || v.report.Verdict != VerdictOK {
			return over, nil
		}
	}
	return false, ctx.Err()
}

// join adds a checked block to what was verified before it. It reports whether
// the verification is over. After a torn tail, which ends the log as well, it is
// not: an anchor can still prove that the log once went on.
func (v *verification) join(b *block) (over bool) {
	name := segment.Name(v.segments[b.segment])
	if b.err != nil {
		v.found(VerdictUnreadable, &failure.CorruptError{Segment: name, Offset: b.offset, Expected: "to read the file", Found: b.err.Error()})
		return true
	}
	if fault := v.seam(b, name); fault != nil {
		v.found(VerdictMissing, fault)
		return true
	}
	if b.count > 0 {
		r := &v.report
		r.FirstID = cmp.Or(r.FirstID, b.firstID)
		r.Events += b.count
		r.LastID, r.HeadHash, v.prevID, v.prevHash = b.lastID, b.lastHash, b.lastID, b.lastHash
		v.next += b.count
		v.line += int(b.count)
	}
	for _, a := range b.seen {
		v.seen[a.ID] = a.Hash
	}
	if b.fault == nil {
		return false
	}
	v.found(b.verdict, b.fault.At(name, v.line, b.fault.Offset))
	if b.verdict != VerdictTampered || b.segment < len(v.segments)-1 || v.acknowledged {
		return true
	}
	torn, err := v.torn(name, b.fault.Offset, v.prevID)
	if err != nil {
		b.fault.Expected, b.fault.Found = "to read the file", err.Error()
		v.report.Verdict = VerdictUnreadable
	} else if torn {
		v.report.Verdict = VerdictTornTail
	}
	return !torn
}

// seam says why a block can't follow on what was verified before it.
func (v *verification) seam(b *block, name string) *failure.CorruptError {
	if b.offset == 0 {
		v.line = 1
		if first := v.segments[b.segment]; first != v.next && b.segment == 0 {
			return v.pruned.fault(first, "", "")
		} else if first != v.next {
			return missingSegment(v.next, first)
		}
	}
	if b.count == 0 {
		return nil
	}
	if v.report.Events == 0 {
		if fault := v.pruned.fault(v.pruned.Records+1, b.firstID, b.firstPrev); fault != nil {
			return fault
		}
	}
	if fault := seamFault(b.firstID, b.firstPrev, v.prevID, v.prevHash); fault != nil {
		return fault.At(name, v.line, b.offset)
	}
	return nil
}

// checkAnchors looks for the event that put the pruning on record, and for the
// anchors, among the events that were seen.
func (v *verification) checkAnchors() {
	missing := func(id, expected string) *failure.CorruptError {
		return &failure.CorruptError{ID: id, Expected: expected, Found: "no such event in the log, which ends with " + v.report.LastID}
	}
	p := &v.pruned
	if e := p.event; v.seen[e.ID] != e.Hash {
		v.found(VerdictMissing, missing(e.ID, "that event on the log").At(prunedName, 1, 0))
		return
	}
	if p.Records > 0 {
		v.seen[p.LastID] = p.LastHash
	}
	for _, id := range slices.Sorted(maps.Keys(v.anchors)) {
		hash := v.anchors[id]
		switch have, ok := v.seen[id]; {
		case !ok && id < p.LastID:
			if v.report.Verdict == VerdictOK { // any other verdict is worse
				v.found(VerdictPruned, &failure.CorruptError{ID: id, Expected: "event " + id + " of the anchor", Found: "a log that was pruned up to " + p.LastID})
			}
		case !ok:
			v.found(VerdictTruncated, missing(id, "event "+id+" of the anchor"))
			return
		case !strings.HasPrefix(have, hash):
			v.found(VerdictTruncated, &failure.CorruptError{ID: id, Expected: "hash " + hash + " of the anchor", Found: have})
			return
		}
	}
}

// torn reports whether the last segment, which has a bad line at that offset,
// ends there in an unfinished write. It looks at all that follows, since a write
// may be longer than a block. It decides as opening does when no sidecar says that
// the log was closed.
func (v *verification) torn(name string, offset int64, prevID string) (bool, error) {
	f, err := v.open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if f, ok := f.(fs.File); ok {
		if info, err := f.Stat(); err == nil && info.Size() > maxSegment {
			return false, nil // a sparse file can claim more for free; it must not make us allocate it
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
	if whole && CheckLine(line, new(record.Fields)) == nil {
		return true, nil // the write has been finished meanwhile
	}
	return tailFault(tail, prevID, false) == nil, nil
}

func (v *verification) found(verdict Verdict, fault *failure.CorruptError) Report {
	v.report.Verdict, v.report.Fault = verdict, fault
	return v.report
}

func (v *verification) unreadable(name string, err error) Report {
	v.report = Report{}
	return v.found(VerdictUnreadable, &failure.CorruptError{Segment: name, Expected: "to read it", Found: err.Error()})
}
