// Keeps "The record" of docs/security.md: no honest log is called bad, whichever version of the format wrote it.

package ledger_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/formattest"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// goldenSegment is small enough that each golden log has several segments.
const goldenSegment = 2200

// goldenLogs were written by each version of the format and closed properly.
// They are never made again: TestMakeGolden of the root makes those of a new
// version.
var goldenLogs = []struct {
	name      string
	pruned    uint64
	events    uint64
	head      ledger.Anchor
	lastWrite int // events in it
}{
	{"v1/whole", 0, 15, ledger.Anchor{ID: "01KJSK7TMG0050010002V0CVNN", Hash: "ba4a0b3f0044c8b296cb1cecbd5f0d2a292a7bc39d4b901824597e2ca8ee6c03"}, 5},
	{"v1/pruned", 9, 12, ledger.Anchor{ID: "01KJSK7TMG008000000204FX56", Hash: "8f5fbb6184cc36b23ae8a0838e98b80f3056e77d18699dda41e4de61ccd729eb"}, 1},
}

func golden(t testing.TB, name string) logFiles {
	t.Helper()
	l := logFiles(files(t, filepath.Join("testdata", "golden", filepath.FromSlash(name))))
	for _, line := range l.lines() {
		formattest.Remember(strings.TrimSuffix(line.text, "\n"))
	}
	return l
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

func (l logFiles) verify(t testing.TB, anchors ...ledger.Anchor) ledger.Report {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range l {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	r, err := verifyFS(t.Context(), fsys, anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// disk is the log in memory, as the next process finds it.
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

// A log of any released version of the format is read, verified and appended to
// for ever.
func TestGoldenLogs(t *testing.T) {
	for _, g := range goldenLogs {
		stored := golden(t, g.name)
		for name, l := range map[string]logFiles{"closed": stored, "unclosed": stored.unclosed(), "without sidecars": stored.unindexed()} {
			t.Run(g.name+" "+name, func(t *testing.T) {
				r := l.verify(t, g.head)
				if !r.OK() || r.Pruned.Records != g.pruned || r.Events != g.events || (ledger.Anchor{ID: r.LastID, Hash: r.HeadHash}) != g.head {
					t.Fatalf("%+v", r)
				}
				if err := formattest.Check(l); err != nil {
					t.Error(err)
				}
				dir := write(t, l)
				c := openChain(t, dir, &ledger.Options{SegmentSize: goldenSegment})
				if s := c.Stats(); c.Head() != g.head || s.Events != g.events || s.Torn != 0 {
					t.Errorf("%+v %+v", c.Head(), s)
				}
				got := all(t, c, ledger.Query{Ascending: true})
				if d := cmp.Diff(lines(t, dir), got); d != "" {
					t.Error(d)
				}
				for _, line := range got {
					e, err := rampart.Record(line).Event()
					if err != nil {
						t.Fatal(err)
					}
					q := ledger.Query{Filter: ledger.Filter{Agent: []string{e.Agent}, Tool: []string{e.Tool}, Action: []string{e.Decision.Action}}}
					if !slices.Contains(all(t, c, q), line) {
						t.Errorf("not found by its values: %s", line)
					}
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
