package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/logtest"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// chain is a ledger that takes events and gives back records, as
// rampart.AuditChain does: tests say in these words what a log holds.
type chain struct{ *ledger.Ledger }

func open(dir string, opts *ledger.Options) (*chain, error) {
	l, err := ledger.Open(dir, opts)
	if err != nil {
		return nil, err
	}
	return &chain{l}, nil
}

// openChain opens a chain that is closed and verified when the test ends.
func openChain(t testing.TB, dir string, opts *ledger.Options) *chain {
	t.Helper()
	c, err := open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.Err() == nil {
			if r, err := c.Verify(context.Background()); err != nil || !r.OK() {
				t.Errorf("at the end of the test the log does not verify: %+v %v", r, err)
			}
		}
		if err := c.Close(); err != nil && !errors.Is(err, failure.ErrFailed) {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// body is the part of e's line that the ledger takes.
func body(e rampart.AuditEvent) ([]byte, error) {
	object, err := e.AppendJSON(nil)
	if err != nil {
		return nil, err
	}
	return append(object[1:len(object)-1], ','), nil
}

// saved are the events that were appended with b, as they are stored.
func saved(b *ledger.Batch) ([]rampart.AuditEvent, error) {
	out := make([]rampart.AuditEvent, len(b.Records))
	for i, r := range b.Records {
		e, err := rampart.Record(fmt.Sprintf(`{"id":"%s",%s"prev_hash":"%s","hash":"%s"}`, r.ID, r.Body, r.PrevHash, r.Hash)).Event()
		if err != nil {
			return nil, err
		}
		out[i] = e
	}
	return out, nil
}

func (c *chain) Append(ctx context.Context, e rampart.AuditEvent) (rampart.AuditEvent, error) {
	return c.appendChecked(ctx, e, nil)
}

// appendChecked is Append with a function that is called when e is linked.
func (c *chain) appendChecked(ctx context.Context, e rampart.AuditEvent, check func()) (rampart.AuditEvent, error) {
	body, err := body(e)
	if err != nil {
		return rampart.AuditEvent{}, err
	}
	b := ledger.One(body)
	if check != nil {
		b.Check = func(uint64) error { check(); return nil }
	}
	if err := c.Ledger.Append(ctx, b); err != nil {
		return rampart.AuditEvent{}, err
	}
	events, err := saved(b)
	if err != nil {
		return rampart.AuditEvent{}, err
	}
	return events[0], nil
}

func (c *chain) AppendAll(ctx context.Context, events []rampart.AuditEvent) ([]rampart.AuditEvent, error) {
	b := &ledger.Batch{Records: make([]ledger.Record, len(events))}
	for i := range events {
		var err error
		if b.Records[i].Body, err = body(events[i]); err != nil {
			return nil, err
		}
	}
	if err := c.Ledger.Append(ctx, b); err != nil {
		return nil, err
	}
	return saved(b)
}

func (c *chain) Get(ctx context.Context, id string) (rampart.Record, error) {
	return c.Ledger.Get(ctx, id)
}

func (c *chain) Query(ctx context.Context, q ledger.Query) iter.Seq2[rampart.Record, error] {
	return func(yield func(rampart.Record, error) bool) {
		err := c.Scan(ctx, &q, func(_ uint64, line []byte, _ *record.Fields) bool {
			return yield(bytes.Clone(line), nil)
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

func (c *chain) Head() ledger.Anchor {
	_, head := c.Ledger.Head()
	return head
}

func (c *chain) Verify(ctx context.Context, anchors ...ledger.Anchor) (ledger.Report, error) {
	return c.Ledger.Verify(ctx, anchors)
}

func verifyFS(ctx context.Context, fsys fs.FS, anchors ...ledger.Anchor) (ledger.Report, error) {
	return ledger.VerifyFS(ctx, fsys, anchors)
}

// Prune prunes a log that has no approvals.
func (c *chain) Prune(ctx context.Context, before time.Time) (uint64, error) {
	return c.Ledger.Prune(ctx, before, func(context.Context, string) ([]string, error) { return nil, nil })
}

var errDisk = errors.New("input/output error")

func memChain(t testing.TB, fs *vfstest.FS) *chain {
	t.Helper()
	return openChain(t, "", &ledger.Options{SegmentSize: 3000, FS: fs})
}

func event(i int) rampart.AuditEvent {
	return rampart.AuditEvent{
		Timestamp: time.Date(2026, 3, 3, 10, 15, 30, i, time.UTC),
		Agent:     "claude-code", Session: "myapp/main", Tool: "exec",
		Request:  json.RawMessage(fmt.Sprintf(`{"command":"git status","n":%d}`, i)),
		Decision: rampart.Decision{Action: "allow", MatchedPolicies: []string{"allow-git"}, EvaluationTimeUS: 8, Message: "git command allowed"},
	}
}

func appendN(t testing.TB, c *chain, n int) []rampart.AuditEvent {
	t.Helper()
	var out []rampart.AuditEvent
	for i := range n {
		e, err := c.Append(t.Context(), event(i))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func all(t testing.TB, c *chain, q ledger.Query) []string {
	t.Helper()
	var out []string
	for r, err := range c.Query(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(r))
	}
	return out
}

func ids(t testing.TB, c *chain, q ledger.Query) (ids []string) {
	t.Helper()
	for _, r := range all(t, c, q) {
		ids = append(ids, rampart.Record(r).ID())
	}
	return ids
}

// plain answers a query by a loop over all events.
func plain(events []rampart.AuditEvent, q ledger.Query) (ids []string) {
	in := func(v string, want []string) bool { return len(want) == 0 || slices.Contains(want, v) }
	for _, e := range events {
		if in(e.Agent, q.Agent) && in(e.Session, q.Session) && in(e.Tool, q.Tool) && in(e.Decision.Action, q.Action) && in(e.RunID, q.RunID) &&
			(q.Since.IsZero() || !e.Timestamp.Before(q.Since)) && (q.Until.IsZero() || e.Timestamp.Before(q.Until)) &&
			e.ID > q.After && (q.Before == "" || e.ID < q.Before) {
			ids = append(ids, e.ID)
		}
	}
	if !q.Ascending {
		slices.Reverse(ids)
	}
	return ids
}

// soon is after every event that a test appends.
func soon() time.Time { return time.Now().Add(time.Hour) }

func verified(t testing.TB, c *chain, anchors ...ledger.Anchor) ledger.Report {
	t.Helper()
	r, err := c.Verify(context.Background(), anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func segmentName(first int) string { return fmt.Sprintf("%020d.jsonl", first) }

func lines(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	for _, name := range segments(t, dir) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
	}
	return out
}

// crashed returns a copy of an open log, as the next process would find it
// after this one was killed.
func crashed(t testing.TB, dir string) string {
	t.Helper()
	out := t.TempDir()
	for _, name := range append(segments(t, dir), glob(t, dir, "*.idx")...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

var hashMember = regexp.MustCompile(`,"hash":"([0-9a-f]{64})"\}$`)

func verdictOf(t testing.TB, dir string) ledger.Verdict {
	t.Helper()
	r, err := verifyFS(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return r.Verdict
}

// rehash gives a line the hash that fits it, as somebody does who edits a line
// and knows how lines are hashed.
func rehash(line string) string {
	body := hashMember.ReplaceAllString(line, "}")
	return fmt.Sprintf(`%s,"hash":"%x"}`, strings.TrimSuffix(body, "}"), sha256.Sum256([]byte(body)))
}

// The files of a log, as others find and change them.
var (
	glob     = logtest.Glob
	segments = logtest.Segments
	files    = logtest.Files
	write    = logtest.Write
	edit     = logtest.Edit
)
