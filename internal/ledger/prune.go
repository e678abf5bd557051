package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// Unanswered returns the ids of the approvals that were asked for before that id and had no answer before it.
type Unanswered func(ctx context.Context, before string) ([]string, error)

// Pruned says what was dropped from the front of a log; the zero value is nothing.
type Pruned struct {
	Records  uint64 `json:"records"`   // all that ever were, hence the number of the last of them
	LastID   string `json:"last_id"`   // of that one
	LastHash string `json:"last_hash"` // the prev_hash of the first event that is still there
}

// pruning is Pruned and the event that put it on record.
type pruning struct {
	Pruned
	event Anchor
}

// prunedName is the file that holds a copy of that event's line. It says where
// the log begins; that the log has the line too says that nobody hid it.
const prunedName = "PRUNED"

const (
	pruneAgent  = "rampart"
	pruneTool   = "prune"
	pruneAction = "pruned"
)

// Prune drops events from the front of the log, and returns how many: whole
// segments, of 16 MiB, all of whose events were appended before that time, as
// their ids say. The segment that is being written stays, and so does each from
// the first one on that has the request of an approval which was not answered
// before that time.
//
// What stays can be proved as before. First an event of the agent "rampart"
// states the number, id and hash of the last event dropped; when it is durable,
// whatever [AuditOptions.Sync] says, a copy of it in the file PRUNED becomes
// the beginning of the log; then the segments are removed. A crash leaves the
// log as it was or pruned, and the next opening removes what is left over.
// Nothing is verified before it is dropped, see [Ledger.Verify] for that.
//
// Queries and verifications that began before go on over all that they began
// with: files that one still needs are removed by the next Prune, or opening.
// Who is fed from the log and has yet to be given what was dropped gets
// [ErrLagged].
//
// ctx limits what comes before the append of the event. With any error nothing
// was dropped: those of [Ledger.Query] and [Ledger.Append], or one of
// writing the file, after which the next opening may drop it all the same.
func (c *Ledger) Prune(ctx context.Context, before time.Time, unanswered Unanswered) (events uint64, err error) {
	c.pruning.Lock()
	defer c.pruning.Unlock()
	n, last, err := c.prunable(ctx, before, unanswered)
	if err != nil {
		return 0, err
	}
	if n > 0 {
		if err := c.putOnRecord(ctx, last, before); err != nil {
			return 0, err
		}
		events = last.Records - c.state.pruned().Records
		c.state.prune(n, last)
	}
	c.removePruned()
	return events, nil
}

// prunable returns how many segments may go, and the last record in them.
func (c *Ledger) prunable(ctx context.Context, before time.Time, unanswered Unanswered) (n int, last Pruned, err error) {
	v, err := c.state.view()
	if err != nil {
		return 0, last, err
	}
	defer v.release()
	var bound ulid.ULID // ids from that time on are not below it
	if err := bound.SetTime(min(uint64(max(before.UnixMilli(), 0)), ulid.MaxTime())); err != nil {
		return 0, last, err
	}
	head := func(i int) segment.Head {
		h, _ := c.state.headOf(v.segments[i])
		return h
	}
	// below is how many of the first n segments have no id from that one on.
	below := func(n int, id string) int {
		return sort.Search(n, func(i int) bool { return head(i).LastID >= id })
	}
	if n = below(len(v.segments)-1, bound.String()); n == 0 {
		return 0, last, nil
	}
	ids, err := unanswered(ctx, bound.String())
	if err != nil {
		return 0, last, err
	}
	for _, id := range ids {
		n = below(n, id)
	}
	for _, g := range v.segments[:n] {
		if g.sealed != nil {
			<-g.sealed // a sidecar that came later would stay
		}
	}
	if n > 0 {
		h := head(n - 1)
		last = Pruned{Records: h.First + h.Count - 1, LastID: h.LastID, LastHash: h.Hash}
	}
	return n, last, nil
}

// putOnRecord states what is dropped, first as an event and then in the file.
func (c *Ledger) putOnRecord(ctx context.Context, last Pruned, before time.Time) error {
	request, err := json.Marshal(struct {
		Pruned
		Before time.Time `json:"before"`
	}{last, before.UTC()})
	if err != nil {
		return fmt.Errorf("%w: prune: %w", failure.ErrInvalid, err)
	}
	e := record.Event{
		Timestamp: time.Now().Round(0).UTC().Format(time.RFC3339Nano),
		Agent:     pruneAgent, Tool: pruneTool, Request: request, Action: pruneAction,
	}
	body, _, err := e.AppendBody(nil)
	if err != nil {
		return fmt.Errorf("%w: prune: %w", failure.ErrInvalid, err)
	}
	batch := One(body)
	batch.Sync = true
	if err := c.Append(ctx, batch); err != nil {
		return err
	}
	line, err := c.Get(context.WithoutCancel(ctx), batch.Places[0].ID)
	if err == nil {
		err = replaceFile(c.fs, prunedName, io.NopCloser(bytes.NewReader(append(line, '\n'))), int64(len(line))+1)
	}
	if err != nil {
		c.errors.Add("prune")
		err = fmt.Errorf("rampart: write %s: %w", prunedName, err)
	}
	return err
}

// ofPruned reports whether that is a file of a pruned segment.
func (c *Ledger) ofPruned(name string) bool {
	first, ok := segment.Owner(name)
	return ok && first <= c.state.pruned().Records
}

// finishPruning is removePruned after a crash. The one who wrote PRUNED may
// have failed to make its name durable, and such a name is there and lost to
// every later sync: it is put there anew before what it is about goes.
func (c *Ledger) finishPruning(open opener) {
	line, err := open.head(prunedName)
	if err == nil {
		err = replaceFile(c.fs, prunedName, io.NopCloser(bytes.NewReader(line)), int64(len(line)))
	}
	if err != nil {
		c.warnLeftOver(err)
		return
	}
	c.removePruned()
}

func (c *Ledger) warnLeftOver(err error) {
	c.errors.Add("prune")
	c.log.Warn("files of pruned segments are not removed yet; the next pruning, or opening, tries again", "error", err)
}

// removePruned removes what is left of pruned segments, oldest first. Where
// that fails, as on Windows while somebody reads them, the next one tries again.
func (c *Ledger) removePruned() {
	names, err := c.fs.List()
	needed, removed := c.state.needed(), false
	for _, name := range names {
		if first, ok := segment.Owner(name); ok && first < needed {
			failed := c.fs.Remove(name)
			err = errors.Join(err, failed)
			removed = removed || failed == nil
		}
	}
	if removed {
		err = errors.Join(err, c.fs.SyncDir())
	}
	if err != nil {
		c.warnLeftOver(err)
	}
}

// opener opens a file of a log.
type opener func(name string) (io.ReadCloser, error)

// head reads a file up to the length of the longest line.
func (open opener) head(name string) ([]byte, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxEvent+2))
}

// readPruning reads what was dropped from the front of a log. The error is a
// [*CorruptError], or one of reading.
func readPruning(open opener) (p pruning, err error) {
	data, err := open.head(prunedName)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	line, whole := bytes.CutSuffix(data, []byte("\n"))
	var e record.Fields
	fault := selfFault(line, &e)
	if fault == nil && !whole {
		fault = &failure.CorruptError{Expected: "a newline", Found: "the end of the file"}
	}
	if fault == nil {
		var n int64
		err := record.Decode(e.Request, map[string]any{"records": &n, "last_id": &p.LastID, "last_hash": &p.LastHash})
		p.Records, p.event = uint64(n), Anchor{ID: string(e.ID), Hash: string(e.Hash)}
		if err != nil || string(e.Agent) != pruneAgent || string(e.Tool) != pruneTool || string(e.Action) != pruneAction ||
			n <= 0 || !record.ValidID(p.LastID) || p.LastID >= p.event.ID || len(p.LastHash) != len(zeroHash) {
			fault = &failure.CorruptError{ID: p.event.ID, Expected: "the event of a pruning", Found: fmt.Sprintf("%.200s", line)}
		}
	}
	if fault != nil {
		fault.Segment, fault.Line = prunedName, 1
		return pruning{}, fault
	}
	return p, nil
}

// fault says why a log can't begin with segment first, whose first event has
// that id and prev_hash. A first of 0 is none.
func (p *pruning) fault(first uint64, id, prevHash string) *failure.CorruptError {
	switch {
	case first != p.Records+1:
		f := missingSegment(p.Records+1, first)
		if p.Records == 0 {
			f.Found += ", and there is no " + prunedName + " to say that it was pruned"
		} else {
			f.Expected += ", the first after those that " + prunedName + " says were dropped"
		}
		return f
	case p.Records > 0 && (prevHash != p.LastHash || id <= p.LastID):
		return &failure.CorruptError{Segment: prunedName, Line: 1, ID: p.event.ID,
			Expected: fmt.Sprintf("the event before %s, with which %s begins, and its hash %s", id, segment.Name(first), prevHash),
			Found:    fmt.Sprintf("%s and %s", p.LastID, p.LastHash)}
	}
	return nil
}

// checkFront checks that the log can begin with segment first, 0 if there is none.
func (p *pruning) checkFront(open opener, first uint64) error {
	fault := p.fault(first, p.event.ID, p.LastHash)
	if fault == nil && p.Records > 0 {
		name := segment.Name(first)
		data, err := open.head(name)
		if err != nil {
			return err
		}
		// It was durable before what was pruned was on record: it can't be torn.
		line, _, _ := bytes.Cut(data, []byte("\n"))
		var e record.Fields
		if fault = selfFault(line, &e); fault != nil {
			fault.Segment, fault.Line = name, 1
		} else {
			fault = p.fault(first, string(e.ID), string(e.PrevHash))
		}
	}
	if fault != nil {
		return fault
	}
	return nil
}
