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

// Pruned has the fields of rampart.Pruned, which is made of it.
type Pruned struct {
	Records  uint64 `json:"records"`
	LastID   string `json:"last_id"`
	LastHash string `json:"last_hash"`
}

// pruning is Pruned and the event that put it on record.
type pruning struct {
	Pruned
	event Anchor
}

// prunedName is the file that holds a copy of that event's line. The file says
// where the log begins. The line in the log says that nobody made the file up.
const prunedName = "PRUNED"

const (
	pruneAgent  = "rampart"
	pruneTool   = "prune"
	pruneAction = "pruned"
)

// Unanswered returns the ids of the approvals that were requested before an id and
// not answered before it.
type Unanswered func(ctx context.Context, before string) (ids []string, err error)

// Prune drops whole segments from the front, and returns how many records they
// held: those whose records were all appended before that time, up to the first
// one that has an approval which unanswered names. The segment that is being
// written stays.
//
// First an event states the number, id and hash of the last record dropped.
// Once that is durable, whatever [Options.Sync] says, its copy in the file PRUNED
// becomes the beginning of the log, and then the segments are removed. A crash
// leaves the log as it was or pruned. Files that a query or verification still
// reads are removed by the next Prune, or opening.
//
// ctx limits what comes before the append of the event. With an error nothing was
// dropped. One exception: after an error of writing PRUNED the next opening may
// still drop it.
func (l *Ledger) Prune(ctx context.Context, before time.Time, unanswered Unanswered) (events uint64, err error) {
	l.pruning.Lock()
	defer l.pruning.Unlock()
	n, last, err := l.prunable(ctx, before, unanswered)
	if err != nil {
		return 0, err
	}
	if n > 0 {
		if err := l.putOnRecord(ctx, last, before); err != nil {
			return 0, err
		}
		events = last.Records - l.state.pruned().Records
		l.state.prune(n, last)
	}
	l.removePruned()
	return events, nil
}

// prunable returns how many segments may go, and the last record in them.
func (l *Ledger) prunable(ctx context.Context, before time.Time, unanswered Unanswered) (n int, last Pruned, err error) {
	v, err := l.state.view()
	if err != nil {
		return 0, last, err
	}
	defer v.release()
	var bound ulid.ULID // no id of that time or later is below it
	if err := bound.SetTime(min(uint64(max(before.UnixMilli(), 0)), ulid.MaxTime())); err != nil {
		return 0, last, err
	}
	head := func(i int) segment.Head {
		h, _ := l.state.headOf(v.segments[i])
		return h
	}
	// below is how many of the first n segments have only ids below that one.
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
			<-g.sealed // a sidecar that is written later would stay
		}
	}
	if n > 0 {
		h := head(n - 1)
		last = Pruned{Records: h.First + h.Count - 1, LastID: h.LastID, LastHash: h.Hash}
	}
	return n, last, nil
}

// putOnRecord states what is dropped, first as an event and then in the file.
func (l *Ledger) putOnRecord(ctx context.Context, last Pruned, before time.Time) error {
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
	if err := l.Append(ctx, batch); err != nil {
		return err
	}
	line, err := l.Get(context.WithoutCancel(ctx), batch.Records[0].ID)
	if err == nil {
		err = replaceFile(l.fs, prunedName, io.NopCloser(bytes.NewReader(append(line, '\n'))), int64(len(line))+1)
	}
	if err != nil {
		l.errors.Add(opPrune)
		err = fmt.Errorf("rampart: write %s: %w", prunedName, err)
	}
	return err
}

// ofPruned reports whether name is that of a file of a pruned segment.
func (l *Ledger) ofPruned(name string) bool {
	first, ok := segment.Owner(name)
	return ok && first <= l.state.pruned().Records
}

// finishPruning is removePruned after a crash. The process that wrote PRUNED may
// have failed to make its name durable. Such a name is visible, and no later sync
// makes it durable: the file is written anew before the segments go.
func (l *Ledger) finishPruning(from opener) {
	line, err := from.head(prunedName)
	if err == nil {
		err = replaceFile(l.fs, prunedName, io.NopCloser(bytes.NewReader(line)), int64(len(line)))
	}
	if err != nil {
		l.warnLeftOver(err)
		return
	}
	l.removePruned()
}

func (l *Ledger) warnLeftOver(err error) {
	l.errors.Add(opPrune)
	l.log.Warn("files of pruned segments are not removed yet; the next pruning, or opening, tries again", "error", err)
}

// removePruned removes the files of pruned segments, oldest first. A file may not
// be removable, as on Windows while somebody reads it: the next pruning tries again.
func (l *Ledger) removePruned() {
	names, err := l.fs.List()
	needed, removed := l.state.needed(), false
	for _, name := range names {
		if first, ok := segment.Owner(name); ok && first < needed {
			failed := l.fs.Remove(name)
			err = errors.Join(err, failed)
			removed = removed || failed == nil
		}
	}
	if removed {
		err = errors.Join(err, l.fs.SyncDir())
	}
	if err != nil {
		l.warnLeftOver(err)
	}
}

// opener opens a file of a log.
type opener func(name string) (io.ReadCloser, error)

// head reads a file up to the length of the longest line.
func (from opener) head(name string) ([]byte, error) {
	f, err := from(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxEvent+2))
}

// readPruning reads what was dropped from the front of a log. The error is a
// [*CorruptError], or one of reading.
func readPruning(from opener) (p pruning, err error) {
	data, err := from.head(prunedName)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	line, whole := bytes.CutSuffix(data, []byte("\n"))
	var e record.Fields
	fault := CheckLine(line, &e)
	if fault == nil && !whole {
		fault = &failure.CorruptError{Expected: "a newline", Found: "the end of the file"}
	}
	if fault == nil {
		var n int64
		err := record.Decode(e.Request, map[string]any{"records": &n, "last_id": &p.LastID, "last_hash": &p.LastHash})
		p.Records, p.event = uint64(n), Anchor{ID: string(e.ID), Hash: string(e.Hash)}
		if err != nil || string(e.Agent) != pruneAgent || string(e.Tool) != pruneTool || string(e.Action) != pruneAction ||
			n <= 0 || !record.ValidID(p.LastID) || p.LastID >= p.event.ID || len(p.LastHash) != len(ZeroHash) {
			fault = &failure.CorruptError{ID: p.event.ID, Expected: "the event of a pruning", Found: fmt.Sprintf("%.200s", line)}
		}
	}
	if fault != nil {
		return pruning{}, fault.At(prunedName, 1, 0)
	}
	return p, nil
}

// fault says why a log can't begin with segment first, whose first event has
// that id and prev_hash. first is 0 if there is no segment.
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
func (p *pruning) checkFront(from opener, first uint64) error {
	fault := p.fault(first, p.event.ID, p.LastHash)
	if fault == nil && p.Records > 0 {
		name := segment.Name(first)
		data, err := from.head(name)
		if err != nil {
			return err
		}
		// The line was durable before the pruning was on record: it can't be torn.
		line, _, _ := bytes.Cut(data, []byte("\n"))
		var e record.Fields
		if fault = CheckLine(line, &e); fault != nil {
			fault.At(name, 1, 0)
		} else {
			fault = p.fault(first, string(e.ID), string(e.PrevHash))
		}
	}
	if fault != nil {
		return fault
	}
	return nil
}
