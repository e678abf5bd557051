// Keeps case 12 of docs/durability.md, and "The record" of docs/security.md: each kind of change has its verdict and place.

package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
)

// appendBulk appends n events with requests of about size bytes, in one go.
func appendBulk(t testing.TB, c *chain, n, size int) []rampart.AuditEvent {
	t.Helper()
	events := make([]rampart.AuditEvent, n)
	for i := range events {
		events[i] = event(i)
		events[i].Request = json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", size)))
	}
	saved, err := c.AppendAll(context.Background(), events)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func TestVerdictsAreToldApart(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 2500})
	saved := appendN(t, c, 17)
	files := segments(t, dir)
	if len(files) < 3 {
		t.Fatalf("%d segments", len(files))
	}
	// change applies to the lines of one segment.
	change := func(f string, fn func(lines []string) []string) {
		edit(t, f, func(b []byte) []byte {
			return []byte(strings.Join(fn(strings.SplitAfter(string(b), "\n")), ""))
		})
	}
	last := len(files) - 1
	anchor := func(i int) ledger.Anchor { return ledger.Anchor{ID: saved[i].ID, Hash: saved[i].Hash} }
	tests := map[string]struct {
		damage  func(f []string)
		anchors []ledger.Anchor
		want    ledger.Verdict
		line    int // of the fault, 0: not in a line
	}{
		"untouched":              {func([]string) {}, nil, ledger.VerdictOK, 0},
		"untouched, anchors":     {func([]string) {}, []ledger.Anchor{anchor(0), anchor(16), {ID: saved[5].ID, Hash: saved[5].Hash[:16]}, {ID: saved[6].ID}}, ledger.VerdictOK, 0},
		"another hash":           {func([]string) {}, []ledger.Anchor{{ID: saved[3].ID, Hash: saved[4].Hash}}, ledger.VerdictTruncated, 0},
		"unknown anchor":         {func([]string) {}, []ledger.Anchor{{ID: "01J9K8M7N6P500000000000000"}}, ledger.VerdictTruncated, 0},
		"half a line at the end": {func(f []string) { edit(t, f[last], func(b []byte) []byte { return b[:len(b)-9] }) }, nil, ledger.VerdictTornTail, 0},
		// This was called a torn tail, which is never acknowledged, against the
		// anchor's evidence.
		"half a line at the end, anchor":        {func(f []string) { edit(t, f[last], func(b []byte) []byte { return b[:len(b)-9] }) }, []ledger.Anchor{anchor(16)}, ledger.VerdictTruncated, 0},
		"half a line at the end, anchor before": {func(f []string) { edit(t, f[last], func(b []byte) []byte { return b[:len(b)-9] }) }, []ledger.Anchor{anchor(15)}, ledger.VerdictTornTail, 0},
		"zeros at the end":                      {func(f []string) { edit(t, f[last], func(b []byte) []byte { return append(b, make([]byte, 99)...) }) }, nil, ledger.VerdictTornTail, 0},
		"half a line in a full segment":         {func(f []string) { edit(t, f[0], func(b []byte) []byte { return b[:len(b)-9] }) }, nil, ledger.VerdictTampered, 0},
		"last lines cut, no anchor":             {func(f []string) { change(f[last], func(l []string) []string { return l[:1] }) }, nil, ledger.VerdictOK, 0},
		"last lines cut, anchor":                {func(f []string) { change(f[last], func(l []string) []string { return l[:1] }) }, []ledger.Anchor{anchor(16)}, ledger.VerdictTruncated, 0},
		"edited": {func(f []string) {
			change(f[1], func(l []string) []string { l[1] = strings.Replace(l[1], "git status", "git statuz", 1); return l })
		}, nil, ledger.VerdictTampered, 2},
		"edited, last of all": {func(f []string) {
			edit(t, f[last], func(b []byte) []byte { i := bytes.LastIndex(b, []byte("status")); b[i] = 'S'; return b })
		}, nil, ledger.VerdictTampered, -1},
		"edited and hashed again": {func(f []string) {
			change(f[1], func(l []string) []string {
				l[1] = rehash(strings.TrimSuffix(strings.Replace(l[1], "allow", "denyx", 1), "\n")) + "\n"
				return l
			})
		}, nil, ledger.VerdictMissing, 3},
		"a member added": {func(f []string) {
			change(f[0], func(l []string) []string {
				l[0] = rehash(strings.TrimSuffix(strings.Replace(l[0], `"action":"allow"`, `"action":"allow","Action":"deny"`, 1), "\n")) + "\n"
				return l
			})
		}, nil, ledger.VerdictTampered, 1},
		"white space": {func(f []string) {
			change(f[0], func(l []string) []string { l[2] = strings.Replace(l[2], `,"tool"`, `, "tool"`, 1); return l })
		}, nil, ledger.VerdictTampered, 3},
		"dropped":                {func(f []string) { change(f[1], func(l []string) []string { return append(l[:1], l[2:]...) }) }, nil, ledger.VerdictMissing, 2},
		"doubled":                {func(f []string) { change(f[1], func(l []string) []string { return append(l[:2], l[1:]...) }) }, nil, ledger.VerdictMissing, 0},
		"swapped":                {func(f []string) { change(f[1], func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }) }, nil, ledger.VerdictMissing, 2},
		"blank line":             {func(f []string) { change(f[1], func(l []string) []string { l[1] += "\n"; return l }) }, nil, ledger.VerdictTampered, 3},
		"first segment removed":  {func(f []string) { os.Remove(f[0]) }, nil, ledger.VerdictMissing, 0},
		"middle segment removed": {func(f []string) { os.Remove(f[1]) }, nil, ledger.VerdictMissing, 0},
		"all removed, no anchor": {func(f []string) {
			for _, name := range f {
				os.Remove(name)
			}
		}, nil, ledger.VerdictOK, 0},
		"all removed, anchor": {func(f []string) {
			for _, name := range f {
				os.Remove(name)
			}
		}, []ledger.Anchor{anchor(0)}, ledger.VerdictTruncated, 0},
		"a directory in place of a segment": {func(f []string) { os.Remove(f[1]); os.Mkdir(f[1], 0o700) }, nil, ledger.VerdictUnreadable, 0},
	}
	for name, tt := range tests {
		dead := crashed(t, dir)
		tt.damage(segments(t, dead))
		r, err := verifyFS(t.Context(), os.DirFS(dead), tt.anchors...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Verdict != tt.want || r.OK() != (tt.want == ledger.VerdictOK) || (r.Fault == nil) != r.OK() {
			t.Errorf("%s: %s, want %s: %v", name, r.Verdict, tt.want, r.Fault)
			continue
		}
		if tt.line > 0 && r.Fault.Line != tt.line {
			t.Errorf("%s: line %d, want %d: %v", name, r.Fault.Line, tt.line, r.Fault)
		}
		if r.Fault != nil && (r.Fault.Expected == "" || r.Fault.Found == "") {
			t.Errorf("%s: says too little: %v", name, r.Fault)
		}
		if name == "untouched" && (r.Events != 17 || r.FirstID != saved[0].ID || r.LastID != saved[16].ID || r.HeadHash != saved[16].Hash) {
			t.Errorf("%+v", r)
		}
	}
}

// A write may be longer than a block of the verification, 1 MiB. What a disk
// left of it was called tampering unless the hole was in the last block. A hole
// longer than two lines can be was called a torn tail even where it began in an
// earlier write.
func TestTornWriteOfManyBlocks(t *testing.T) {
	dir := t.TempDir()
	c, err := open(dir, &ledger.Options{Sync: ledger.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	appendBulk(t, c, 10, 600)
	appendBulk(t, c, 5000, 600)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	name := segmentName(1)
	whole := files(t, dir)[name]
	at := []int{0} // where lines begin
	for line := range strings.Lines(whole) {
		at = append(at, at[len(at)-1]+len(line))
	}
	if len(whole) < 5_000_000 {
		t.Fatalf("%d bytes", len(whole))
	}
	for hole, tt := range map[string]struct{ from, size, keeps int }{
		"first block":                         {at[10] + 10, 4 << 10, 10},
		"a block between":                     {at[2500] + 10, 4 << 10, 2500},
		"last block":                          {at[4990] + 10, 4 << 10, 4990},
		"longer than two lines":               {at[10] + 10, 3 << 20, 10},
		"longer than two lines, to the end":   {at[10] + 10, len(whole) - at[10] - 10, 10},
		"of the write before":                 {at[9] + 10, 4 << 10, -1},
		"of the write before, longer":         {at[9] + 10, 3 << 20, -1},
		"of the write before, to the newline": {at[9] + 10, at[10] - at[9] - 11, -1},
	} {
		b := []byte(whole)
		clear(b[tt.from : tt.from+tt.size])
		dead := write(t, map[string]string{name: string(b)})
		r, err := verifyFS(t.Context(), os.DirFS(dead))
		if err != nil {
			t.Fatal(err)
		}
		want := ledger.VerdictTornTail
		if tt.keeps < 0 {
			want = ledger.VerdictTampered
		}
		if r.Verdict != want || r.Fault.Line != int(r.Events)+1 || tt.keeps >= 0 && r.Events != uint64(tt.keeps) {
			t.Errorf("%s: %s after %d events, want %s: %v", hole, r.Verdict, r.Events, want, r.Fault)
		}
		var corrupt *failure.CorruptError
		c, err := open(dead, &ledger.Options{Sync: ledger.SyncNever})
		if (err == nil) != (tt.keeps >= 0) || err != nil && (!errors.As(err, &corrupt) || corrupt.Line != r.Fault.Line) {
			t.Errorf("%s: opened: %v", hole, err)
		}
		if err == nil {
			if n := c.Stats().Events; n != uint64(tt.keeps) {
				t.Errorf("%s: opened with %d events, want %d", hole, n, tt.keeps)
			}
			c.Close()
		}
	}
}

// VerifyChain called a file that is longer than any log writes a torn tail,
// while opening refuses it.
func TestHugeTailIsNoTornTail(t *testing.T) {
	dir := t.TempDir()
	appendN(t, openChain(t, dir, nil), 1)
	dead := crashed(t, dir)
	if err := os.Truncate(segments(t, dead)[0], 1<<43); err != nil {
		t.Skip(err)
	}
	if v := verdictOf(t, dead); v != ledger.VerdictTampered {
		t.Error(v)
	}
}

// Somebody cuts a log while it is open. Its verification called it whole, or
// called its last line one that was never acknowledged.
func TestVerifyKnowsHowFarTheLogWent(t *testing.T) {
	for verdict, left := range map[ledger.Verdict]int{ledger.VerdictTruncated: 0, ledger.VerdictTampered: 100} {
		dir := t.TempDir()
		c := openChain(t, dir, nil)
		saved := appendN(t, c, 3)
		all := lines(t, dir)
		edit(t, segments(t, dir)[0], func(b []byte) []byte { return b[:len(b)-len(all[2])-1+left] })
		for _, a := range []ledger.Anchor{{ID: saved[0].ID}, {ID: saved[2].ID, Hash: saved[2].Hash[:16]}} {
			if r := verified(t, c, a); r.Verdict != verdict || r.Events != 2 || left == 0 && r.Fault.ID != saved[2].ID {
				t.Errorf("%d bytes left of its last line: %+v", left, r)
			}
		}
		edit(t, segments(t, dir)[0], func([]byte) []byte { return []byte(strings.Join(all, "\n") + "\n") })
		if r := verified(t, c, ledger.Anchor{ID: saved[2].ID, Hash: saved[1].Hash}); r.Verdict != ledger.VerdictTruncated {
			t.Errorf("the head with another hash: %+v", r)
		}
	}
}

func TestVerifyLeavesOutWhatIsNotYetVisible(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 2)
	edit(t, segments(t, dir)[0], func(b []byte) []byte { return append(b, `{"id":"half of a wri`...) })
	if r, err := c.Verify(t.Context()); err != nil || !r.OK() || r.Events != 2 {
		t.Errorf("%+v %v", r, err)
	}
	edit(t, segments(t, dir)[0], func(b []byte) []byte { return b[:bytes.LastIndexByte(b, '\n')+1] })
}

func TestMalformedAnchorsAreRefused(t *testing.T) {
	for _, a := range []ledger.Anchor{{ID: ""}, {ID: "x"}, {ID: "01J9K8M7N6P500000000000000", Hash: "zz"}, {ID: "01J9K8M7N6P500000000000000", Hash: "abc"}} {
		if _, err := verifyFS(t.Context(), fstest.MapFS{}, a); !errors.Is(err, failure.ErrInvalid) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

type brokenFS struct{ fs.FS }

func (b brokenFS) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".jsonl") {
		return nil, errors.New("input/output error")
	}
	return b.FS.Open(name)
}

func TestUnreadableIsAVerdict(t *testing.T) {
	dir := t.TempDir()
	appendN(t, openChain(t, dir, nil), 1)
	r, err := verifyFS(t.Context(), brokenFS{os.DirFS(dir)})
	if err != nil || r.Verdict != ledger.VerdictUnreadable || !strings.Contains(r.Fault.Found, "input/output") {
		t.Errorf("%+v %v", r, err)
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	appendN(t, openChain(t, dir, nil), 5)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verifyFS(ctx, os.DirFS(dir)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
