package rampart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// goldenSegment is small enough that each golden log has several segments.
const goldenSegment = 2200

// goldenLogs are those that a chain of each version of the format has left
// behind, closed properly, with their heads. They are never made again.
var goldenLogs = []struct {
	name      string
	pruned    uint64
	events    uint64
	head      rampart.Anchor
	lastWrite int // events in it
}{
	{"v1/whole", 0, 15, rampart.Anchor{ID: "01KJSK7TMG0050010002V0CVNN", Hash: "ba4a0b3f0044c8b296cb1cecbd5f0d2a292a7bc39d4b901824597e2ca8ee6c03"}, 5},
	{"v1/pruned", 9, 12, rampart.Anchor{ID: "01KJSK7TMG008000000204FX56", Hash: "8f5fbb6184cc36b23ae8a0838e98b80f3056e77d18699dda41e4de61ccd729eb"}, 1},
}

func golden(t testing.TB, name string) logFiles {
	t.Helper()
	l := logFiles(files(t, filepath.Join("testdata", "golden", filepath.FromSlash(name))))
	for _, line := range l.lines() {
		text := strings.TrimSuffix(line.text, "\n")
		handKnown.Store(text, lineByHand(text))
	}
	return l
}

// TestMakeGolden makes the golden logs, once for each version of the format:
//
//	RAMPART_GOLDEN=testdata/golden/v1 go test -run TestMakeGolden .
func TestMakeGolden(t *testing.T) {
	out := os.Getenv("RAMPART_GOLDEN")
	if out == "" {
		t.Skip("RAMPART_GOLDEN names no directory")
	}
	for _, name := range []string{"whole", "pruned"} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Date(2026, 3, 3, 10, 15, 30, 0, time.UTC)))
			dir := filepath.Join(out, name)
			r, err := rampart.Open(dir, &rampart.Options{Audit: *rampart.AuditOptions{}.WithSegmentSize(goldenSegment)})
			if err != nil {
				t.Fatal(err)
			}
			appendGolden(t, r)
			if name == "pruned" {
				if n, err := r.Chain.Prune(t.Context(), soon()); err != nil || n == 0 {
					t.Fatal(n, err)
				}
				appendN(t, r.Chain, 5)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(dir, "LOCK"))
			report, err := rampart.VerifyChain(t.Context(), os.DirFS(dir))
			t.Logf("%s: %+v %v", name, report, err)
		})
	}
}

// appendGolden appends at least one of all that a log can hold.
func appendGolden(t *testing.T, r *rampart.Rampart) {
	appendN(t, r.Chain, 1)
	code := -2147483648
	for _, e := range []rampart.AuditEvent{
		{Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "watch"}},
		{
			Timestamp: time.Date(2026, 3, 3, 11, 15, 30, 123456789, time.FixedZone("", 3600)),
			Agent:     "claude-code", Session: "myapp/main", RunID: "run_1", ToolCallID: "toolu_1", Tool: "exec",
			Request: json.RawMessage(`{"command": ["git", "push"], "n": [12345678901234567890, 1.50, -0, 1e400, 1E-400, 0.1e+1], "":{"a":null, "b":[true, false, {}]}}`),
			Decision: rampart.Decision{Action: "deny", MatchedPolicies: []string{"no-push", "no \"force\""}, EvaluationTimeUS: 9223372036854775807,
				Message: "a \"quoted\" \\ back\nslash\t\x01\x7f, é, \U0001f600, \u2028 and \xed\xa0\x80", Suggestions: []string{"ask", ""}},
			Response: &rampart.Response{ExitCode: &code, DurationMS: 1, Flags: []string{"timeout", "killed"}},
		},
		{Agent: "codex", Session: "s p a c e s", Tool: "edit", Request: json.RawMessage(`{"path":"\u003ca\/b\u003e","text":"\ud800\u0000\ud83d\ude00 @ é","é":"\\\""}`), Decision: rampart.Decision{Action: "allow"}},
	} {
		appendOne(t, r.Chain, e)
	}
	for i, resolution := range []rampart.Resolution{
		{Status: rampart.Approved, ResolvedBy: "ann", Credential: "admin"},
		{Status: rampart.Denied, ResolvedBy: "bob", Reason: "not on a Friday"},
		{},
	} {
		q := question(i)
		q.TTL = time.Minute
		p := request(t, r.Approvals, q)
		if resolution.Status == "" {
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		} else if _, err := r.Approvals.Resolve(t.Context(), p.ID, resolution); err != nil {
			t.Fatal(err)
		}
	}
	appendBulk(t, r.Chain, 5, 10)
}

// logFiles are a log's files by name.
type logFiles map[string]string

// names are those of the segments, in order.
func (l logFiles) names() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range l {
			if strings.HasSuffix(name, ".jsonl") && !yield(name) {
				return
			}
		}
	})
}

// with is the log with that file, or without it when data is nil.
func (l logFiles) with(name string, data []byte) logFiles {
	out := maps.Clone(l)
	if out[name] = string(data); data == nil {
		delete(out, name)
	}
	return out
}

// unclosed is the log as it is without a proper close.
func (l logFiles) unclosed() logFiles {
	names := l.names()
	return l.with(sidecarOf(names[len(names)-1]), nil)
}

func (l logFiles) unindexed() logFiles {
	out := maps.Clone(l)
	maps.DeleteFunc(out, func(name, _ string) bool { return strings.HasSuffix(name, ".idx") })
	return out
}

func sidecarOf(segment string) string { return strings.TrimSuffix(segment, ".jsonl") + ".idx" }

func (l logFiles) verify(t testing.TB, anchors ...rampart.Anchor) rampart.Report {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range l {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	r, err := rampart.VerifyChain(t.Context(), fsys, anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// disk is the log in memory, as a process finds it that opens it.
func (l logFiles) disk(t testing.TB) *vfstest.FS {
	t.Helper()
	fs := vfstest.New()
	for name, data := range l {
		f, err := fs.Create(name)
		if err == nil {
			_, err = f.WriteAt([]byte(data), 0)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// A log that any released version of the format left behind is read, verified
// and gone on with for ever.
func TestGoldenLogs(t *testing.T) {
	for _, g := range goldenLogs {
		stored := golden(t, g.name)
		for name, l := range map[string]logFiles{"closed": stored, "unclosed": stored.unclosed(), "without sidecars": stored.unindexed()} {
			t.Run(g.name+" "+name, func(t *testing.T) {
				r := l.verify(t, g.head)
				if !r.OK() || r.Pruned.Records != g.pruned || r.Events != g.events || (rampart.Anchor{ID: r.LastID, Hash: r.HeadHash}) != g.head {
					t.Fatalf("%+v", r)
				}
				if err := byHand(l); err != nil {
					t.Error(err)
				}
				dir := write(t, l)
				c := openChain(t, dir, rampart.AuditOptions{}.WithSegmentSize(goldenSegment))
				if s := c.Stats(); c.Head() != g.head || s.Events != g.events || s.Torn != 0 {
					t.Errorf("%+v %+v", c.Head(), s)
				}
				got := all(t, c, rampart.Query{Ascending: true})
				if d := cmp.Diff(lines(t, dir), got); d != "" {
					t.Error(d)
				}
				for _, line := range got {
					e, err := rampart.Record(line).Event()
					if err != nil {
						t.Fatal(err)
					}
					q := rampart.Query{Filter: rampart.Filter{Agent: []string{e.Agent}, Tool: []string{e.Tool}, Action: []string{e.Decision.Action}}}
					if !slices.Contains(all(t, c, q), line) {
						t.Errorf("not found by its values: %s", line)
					}
				}
				a := newQueue(t, c, nil)
				if n := fmt.Sprint(len(a.List(rampart.ApprovalFilter{Status: rampart.Approved})), len(a.List(rampart.ApprovalFilter{Status: rampart.Denied})), len(a.List(rampart.ApprovalFilter{Status: rampart.Expired})), len(a.List(rampart.ApprovalFilter{}))); n != "1 1 1 0" && g.pruned == 0 {
					t.Errorf("approvals approved, denied, expired and pending: %s", n)
				}
				saved := appendN(t, c, 12)
				if saved[0].PrevHash != g.head.Hash || saved[0].ID <= g.head.ID {
					t.Errorf("%+v does not follow %+v", saved[0], g.head)
				}
				if r := verified(t, c, g.head); !r.OK() || r.Events != g.events+12 {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}
