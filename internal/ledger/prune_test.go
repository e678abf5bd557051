// Keeps case 9 of docs/durability.md, and "The record" of docs/security.md: pruning is on the chain itself.

package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func appendOne(t testing.TB, c *chain, e rampart.AuditEvent) rampart.AuditEvent {
	t.Helper()
	saved, err := c.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func prune(t testing.TB, c *chain, before time.Time) uint64 {
	t.Helper()
	n, err := c.Prune(context.Background(), before)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The newest segments stay, and prove what went: by the event that states it, by
// the file PRUNED, which is a copy of that event, and by hand.
func TestPruneDropsWhatIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		opts := &ledger.Options{SegmentSize: 3000}
		c := openChain(t, dir, opts)
		var saved []rampart.AuditEvent
		for i := range 40 {
			saved = append(saved, appendOne(t, c, event(i)))
			time.Sleep(time.Hour)
		}
		before := time.Now().Add(-20 * time.Hour) // saved[20] is of that time
		old := segments(t, dir)
		n := prune(t, c, before)
		if n == 0 || n > 20 || n < 10 {
			t.Fatalf("%d events dropped, want nearly 20", n)
		}
		got := all(t, c, ledger.Query{Ascending: true})
		if d := cmp.Diff(lines(t, dir), got); d != "" {
			t.Error(d)
		}
		if len(got) != 40-int(n)+1 || rampart.Record(got[0]).ID() != saved[n].ID {
			t.Errorf("%d events from %s", len(got), rampart.Record(got[0]).ID())
		}
		if left := len(segments(t, dir)); left >= len(old) || len(glob(t, dir, "*.idx")) > left {
			t.Errorf("%d of %d segments left, with %v", left, len(old), glob(t, dir, "*.idx"))
		}

		statement, err := rampart.Record(got[len(got)-1]).Event()
		if err != nil {
			t.Fatal(err)
		}
		last := saved[n-1]
		want := fmt.Sprintf(`{"records":%d,"last_id":"%s","last_hash":"%s","before":"%s"}`, n, last.ID, last.Hash, before.UTC().Format(time.RFC3339Nano))
		if statement.Agent != "rampart" || statement.Tool != "prune" || statement.Decision.Action != "pruned" || string(statement.Request) != want {
			t.Errorf("%+v, want the request %s", statement, want)
		}
		file := files(t, dir)["PRUNED"]
		if file != got[len(got)-1]+"\n" {
			t.Errorf("PRUNED holds %q", file)
		}
		sum := sha256.Sum256([]byte(hashMember.ReplaceAllString(strings.TrimSuffix(file, "\n"), "}")))
		if !strings.Contains(file, fmt.Sprintf(`"hash":"%x"`, sum)) || !strings.Contains(got[0], `"prev_hash":"`+last.Hash+`"`) {
			t.Errorf("not to be checked by hand: %s%s", file, got[0])
		}

		pruned := ledger.Pruned{Records: n, LastID: last.ID, LastHash: last.Hash}
		report := ledger.Report{Verdict: ledger.VerdictOK, Pruned: pruned, Events: 41 - n, FirstID: saved[n].ID, LastID: statement.ID, HeadHash: statement.Hash}
		if d := cmp.Diff(report, verified(t, c)); d != "" {
			t.Error(d)
		}
		if r, err := verifyFS(t.Context(), os.DirFS(write(t, files(t, dir)))); err != nil || cmp.Diff(report, r) != "" {
			t.Errorf("a copy: %+v %v", r, err)
		}
		check := func(c *chain, events uint64) {
			t.Helper()
			s := c.Stats()
			if s.Events != events || s.Pruned != pruned || s.Segments != len(segments(t, dir)) {
				t.Errorf("%+v", s)
			}
			if _, err := c.Get(t.Context(), last.ID); !errors.Is(err, failure.ErrNotFound) {
				t.Errorf("the last one dropped: %v", err)
			}
			if r, err := c.Get(t.Context(), saved[n].ID); err != nil || r.Hash() != saved[n].Hash {
				t.Errorf("the first one kept: %v", err)
			}
		}
		check(c, 41-n)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, dir, opts)
		check(c, 41-n)
		appendN(t, c, 10)
		check(c, 51-n)

		// Once more, up to the live segment.
		more := prune(t, c, soon())
		if s := c.Stats(); more == 0 || s.Segments != 1 || s.Pruned.Records != n+more || s.Events != 52-n-more {
			t.Errorf("%d more: %+v", more, s)
		}
	})
}

func TestPruneWithNothingToDoWritesNothing(t *testing.T) {
	fs := vfstest.New()
	c := memChain(t, fs)
	for range 2 {
		appendN(t, c, 3)
		ops := fs.Ops()
		for _, before := range []time.Time{{}, time.Unix(0, 0), time.Now().Add(-time.Minute), time.Unix(-1<<40, 0)} {
			if n := prune(t, c, before); n != 0 || fs.Ops() != ops {
				t.Errorf("before %v: %d events, %d operations", before, n, fs.Ops()-ops)
			}
		}
	}
	appendN(t, c, 20)
	if n := prune(t, c, soon()); n == 0 {
		t.Error("nothing dropped")
	}
	ops := fs.Ops()
	if n := prune(t, c, soon()); n != 0 || fs.Ops() != ops {
		t.Errorf("again: %d events, %d operations", n, fs.Ops()-ops)
	}
	if n := prune(t, openChain(t, "", &ledger.Options{FS: vfstest.New()}), soon()); n != 0 {
		t.Errorf("an empty log: %d", n)
	}
	c.Close()
	if _, err := c.Prune(t.Context(), soon()); !errors.Is(err, failure.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Nothing is dropped that is not on record, whatever fails before: the context,
// the append of the event, or the file.
func TestPruneThatCannotBeRecordedDropsNothing(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	// The operations are pwrite and fdatasync of the event; create, pwrite,
	// fdatasync and rename of the file; and fsync of the directory.
	for n := range 8 {
		fs := vfstest.New()
		c := memChain(t, fs)
		appendN(t, c, 20)
		c.Close() // no sidecar is on its way
		c = memChain(t, fs)
		stays := func() []string {
			list, _ := fs.List()
			return slices.DeleteFunc(list, func(name string) bool { return name == "PRUNED" })
		}
		ctx, want, names := t.Context(), errDisk, stays()
		if n == 0 {
			ctx, want = gone, context.Canceled
		} else {
			fs.FailAt(n, errDisk, false)
		}
		if got, err := c.Prune(ctx, soon()); got != 0 || !errors.Is(err, want) {
			t.Errorf("operation %d: %d events, %v", n, got, err)
		}
		r := verified(t, c)
		if d := cmp.Diff(names, stays()); d != "" || c.Stats().Pruned != (ledger.Pruned{}) || !r.OK() {
			t.Errorf("operation %d: %s%+v", n, d, r)
		}
		if got, err := c.Prune(t.Context(), soon()); (got == 0 || err != nil) != (n == 2) || n == 2 && !errors.Is(err, failure.ErrFailed) {
			t.Errorf("operation %d, tried again: %d events, %v", n, got, err)
		}
	}
}

// Prune asks for the approvals that were unanswered at that time, and keeps the
// segments from the first of them on. Without an answer it drops nothing.
func TestPruneKeepsWhatIsUnanswered(t *testing.T) {
	c := memChain(t, vfstest.New())
	saved := appendN(t, c, 30)
	soon := soon()
	if n, err := c.Ledger.Prune(t.Context(), soon, func(context.Context, string) ([]string, error) { return nil, errDisk }); n != 0 || !errors.Is(err, errDisk) {
		t.Errorf("%d events, %v", n, err)
	}
	n, err := c.Ledger.Prune(t.Context(), soon, func(_ context.Context, before string) ([]string, error) {
		if at, err := ulid.ParseStrict(before); err != nil || at.Time() != ulid.Timestamp(soon) {
			t.Errorf("before %s, %v", before, err)
		}
		return []string{saved[20].ID, saved[12].ID}, nil
	})
	if err != nil || n == 0 || n > 12 || n <= 12-6 { // a segment has six events
		t.Errorf("%d events, %v; want those of the segments before number 13", n, err)
	}
}

// held is a directory of files that can't be removed, as on Windows while
// somebody reads them.
type held struct {
	*vfstest.FS
	off bool
}

func (h *held) Remove(name string) error {
	if h.off {
		return h.FS.Remove(name)
	}
	return &os.PathError{Op: "remove", Path: name, Err: errDisk}
}

func TestFilesThatStayAreRemovedLater(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		h := &held{FS: vfstest.New()}
		c := openChain(t, "", &ledger.Options{SegmentSize: 3000, FS: h})
		appendN(t, c, 30)
		if n := prune(t, c, soon()); n == 0 || c.Stats().Errors["prune"] != 1 {
			t.Fatalf("%d events, %+v", n, c.Stats())
		}
		before, _ := h.List()
		h.off = true
		if reopen {
			c.Close()
			memChain(t, h.FS)
		} else if n := prune(t, c, soon()); n != 0 {
			t.Errorf("%d events", n)
		}
		after, _ := h.List()
		if !slices.Contains(before, segmentName(1)) || slices.Contains(after, segmentName(1)) || len(after) >= len(before) {
			t.Errorf("before %v\nafter %v", before, after)
		}
	}
}

// After a failed sync the directory shows the new PRUNED, and no later sync
// makes that name durable. The next opening removed the segments that PRUNED
// says were dropped, and a power cut then left a log without its front and
// without PRUNED.
func TestPRUNEDIsDurableBeforeItIsActedOn(t *testing.T) {
	for _, again := range []bool{false, true} {
		fs := vfstest.New()
		fs.Before = func(op string) {
			if op == "rename PRUNED.tmp" {
				fs.FailAt(2, errDisk, false)
			}
		}
		c := openChain(t, "", &ledger.Options{SegmentSize: 3000, FS: fs})
		appendN(t, c, 30)
		if _, err := c.Prune(t.Context(), soon()); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		next := fs.Kill()
		next.Before = func(op string) {
			if again && op == "rename PRUNED.tmp" { // without a new PRUNED no segment goes
				next.FailAt(1, errDisk, false)
			}
		}
		opened := openChain(t, "", &ledger.Options{SegmentSize: 3000, FS: next})
		if n := opened.Stats().Errors["prune"]; n != map[bool]uint64{false: 0, true: 1}[again] {
			t.Errorf("%d errors", n)
		}
		left := openChain(t, "", &ledger.Options{SegmentSize: 3000, FS: next.Recover(vfstest.Lost, 0)})
		if r := verified(t, left); !r.OK() || r.Pruned.Records+r.Events != 31 || r.Pruned.Records > 0 == again {
			t.Errorf("a power cut leaves %+v", r)
		}
	}
}

// The event of a pruning is durable before the segments go, whatever the policy.
func TestPruneUnderWeakSync(t *testing.T) {
	for _, policy := range []ledger.SyncPolicy{ledger.SyncNever, ledger.SyncInterval} {
		fs := vfstest.New()
		c := openChain(t, "", &ledger.Options{Sync: policy, SyncEvery: time.Hour, SegmentSize: 3000, FS: fs})
		appendN(t, c, 20)
		n := prune(t, c, soon())
		lost := fs.Recover(vfstest.Lost, 0)
		names, _ := fs.List()
		if durable, _ := lost.List(); !slices.Equal(names, durable) {
			t.Errorf("%s: %v is there, %v is durable", policy, names, durable)
		}
		after := memChain(t, lost)
		if r := verified(t, after); !r.OK() || r.Pruned.Records != n || r.Events != 21-n {
			t.Errorf("%s: %+v", policy, r)
		}
	}
}

func TestPruneAndAnchors(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 3000})
	saved := appendN(t, c, 20)
	n := int(prune(t, c, soon()))
	anchor := func(i int) ledger.Anchor { return ledger.Anchor{ID: saved[i].ID, Hash: saved[i].Hash} }
	torn := write(t, files(t, dir))
	edit(t, segments(t, torn)[0], func(b []byte) []byte { return append(b, `{"id":"half`...) })
	for name, tt := range map[string]struct {
		anchors []ledger.Anchor
		want    ledger.Verdict
	}{
		"first kept":               {[]ledger.Anchor{anchor(n)}, ledger.VerdictOK},
		"last dropped":             {[]ledger.Anchor{anchor(n - 1), {ID: saved[n-1].ID, Hash: saved[n-1].Hash[:16]}}, ledger.VerdictOK},
		"last dropped, id alone":   {[]ledger.Anchor{{ID: saved[n-1].ID}}, ledger.VerdictOK},
		"last dropped, other hash": {[]ledger.Anchor{{ID: saved[n-1].ID, Hash: saved[n-2].Hash}}, ledger.VerdictTruncated},
		"dropped":                  {[]ledger.Anchor{anchor(n - 2), anchor(n)}, ledger.VerdictPruned},
		"dropped, and not there":   {[]ledger.Anchor{anchor(0), anchor(1), {ID: "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}, anchor(2)}, ledger.VerdictTruncated},
		"between":                  {[]ledger.Anchor{{ID: saved[n].ID[:22] + "ZZZZ"}}, ledger.VerdictTruncated},
	} {
		for _, verify := range []func(...ledger.Anchor) (ledger.Report, error){
			func(a ...ledger.Anchor) (ledger.Report, error) { return c.Verify(t.Context(), a...) },
			func(a ...ledger.Anchor) (ledger.Report, error) {
				return verifyFS(t.Context(), os.DirFS(dir), a...)
			},
		} {
			r, err := verify(tt.anchors...)
			if err != nil || r.Verdict != tt.want || r.OK() != (tt.want == ledger.VerdictOK) || (r.Fault == nil) != r.OK() {
				t.Errorf("%s: %s %v %v, want %s", name, r.Verdict, r.Fault, err, tt.want)
			}
		}
	}
	// An anchor that can't be checked hides no fault that can.
	if r, err := verifyFS(t.Context(), os.DirFS(torn), anchor(0)); err != nil || r.Verdict != ledger.VerdictTornTail {
		t.Errorf("%+v %v", r, err)
	}
}

// Verification names what was altered in a pruned log. Opening refuses what it
// sees of that, and then leaves all files as they are.
func TestPrunedLogAltered(t *testing.T) {
	build := func() (files_ map[string]string, older string) {
		dir := t.TempDir()
		c := openChain(t, dir, &ledger.Options{SegmentSize: 2000})
		appendN(t, c, 12)
		prune(t, c, soon())
		older = files(t, dir)["PRUNED"]
		appendN(t, c, 4)
		prune(t, c, soon())
		appendN(t, c, 12)
		return files(t, dir), older
	}
	good, older := build()
	other, _ := build()
	names := func() (out []string) {
		for name := range good {
			if strings.HasSuffix(name, ".jsonl") {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}()
	restate := func(f map[string]string, pattern, by string) {
		line := strings.TrimSuffix(f["PRUNED"], "\n")
		altered := regexp.MustCompile(pattern).ReplaceAllString(line, by)
		if altered == line {
			t.Fatalf("%s is not in %s", pattern, line)
		}
		f["PRUNED"] = rehash(altered) + "\n"
	}
	for name, tt := range map[string]struct {
		alter func(f map[string]string)
		want  ledger.Verdict
		says  string
		opens bool
	}{
		"not at all":           {func(map[string]string) {}, ledger.VerdictOK, "", true},
		"PRUNED removed":       {func(f map[string]string) { delete(f, "PRUNED") }, ledger.VerdictMissing, "there is no PRUNED", false},
		"PRUNED empty":         {func(f map[string]string) { f["PRUNED"] = "" }, ledger.VerdictTampered, "PRUNED line 1", false},
		"PRUNED cut off":       {func(f map[string]string) { f["PRUNED"] = f["PRUNED"][:100] }, ledger.VerdictTampered, "PRUNED line 1", false},
		"PRUNED without a end": {func(f map[string]string) { f["PRUNED"] = strings.TrimSpace(f["PRUNED"]) }, ledger.VerdictTampered, "a newline", false},
		"PRUNED doubled":       {func(f map[string]string) { f["PRUNED"] += f["PRUNED"] }, ledger.VerdictTampered, "PRUNED line 1", false},
		"PRUNED edited": {func(f map[string]string) { f["PRUNED"] = strings.Replace(f["PRUNED"], `"records":`, `"records":1`, 1) },
			ledger.VerdictTampered, "expected hash", false},
		"PRUNED is another event": {func(f map[string]string) { f["PRUNED"], _, _ = strings.Cut(f[names[0]], "\n"); f["PRUNED"] += "\n" },
			ledger.VerdictTampered, "the event of a pruning", false},
		"PRUNED of another log":       {func(f map[string]string) { f["PRUNED"] = other["PRUNED"] }, ledger.VerdictMissing, "PRUNED line 1", false},
		"PRUNED of an earlier time":   {func(f map[string]string) { f["PRUNED"] = older }, ledger.VerdictMissing, "that PRUNED says were dropped", false},
		"PRUNED names another hash":   {func(f map[string]string) { restate(f, `"last_hash":"....`, `"last_hash":"0000`) }, ledger.VerdictMissing, "PRUNED line 1", false},
		"PRUNED names an odd hash":    {func(f map[string]string) { restate(f, `"last_hash":"....`, `"last_hash":"`) }, ledger.VerdictTampered, "the event of a pruning", false},
		"PRUNED names another id":     {func(f map[string]string) { restate(f, `"last_id":"01`, `"last_id":"00`) }, ledger.VerdictMissing, "that event on the log", true},
		"PRUNED names a later id":     {func(f map[string]string) { restate(f, `"last_id":"01`, `"last_id":"7Z`) }, ledger.VerdictTampered, "the event of a pruning", false},
		"PRUNED names no number":      {func(f map[string]string) { restate(f, `"records":\d+`, `"records":-3`) }, ledger.VerdictTampered, "the event of a pruning", false},
		"PRUNED names one less":       {func(f map[string]string) { restate(f, `"records":1`, `"records":`) }, ledger.VerdictMissing, "that PRUNED says were dropped", false},
		"PRUNED names one in between": {func(f map[string]string) { restate(f, `"records":\d+`, `"records":19`) }, ledger.VerdictMissing, "that PRUNED says were dropped", false},
		"PRUNED names all":            {func(f map[string]string) { restate(f, `"records":\d+`, `"records":1000`) }, ledger.VerdictMissing, "PRUNED", false},
		"PRUNED states what nobody did": {func(f map[string]string) { restate(f, `"before":"2`, `"before":"1`) },
			ledger.VerdictMissing, "that event on the log", true},
		"one segment more removed": {func(f map[string]string) { delete(f, names[0]) }, ledger.VerdictMissing, "that PRUNED says were dropped", false},
		"all removed": {func(f map[string]string) {
			for _, name := range names {
				delete(f, name)
			}
		}, ledger.VerdictMissing, "PRUNED", false},
		"a later one removed": {func(f map[string]string) { delete(f, names[1]) }, ledger.VerdictMissing, "", false},
		"the first line edited": {func(f map[string]string) { f[names[0]] = strings.Replace(f[names[0]], "git status", "git statuz", 1) },
			ledger.VerdictTampered, names[0] + " line 1", false},
		"cut to nothing": {func(f map[string]string) {
			for _, name := range names[1:] {
				delete(f, name)
			}
			f[names[0]] = ""
		}, ledger.VerdictMissing, "", false},
	} {
		f := maps.Clone(good)
		tt.alter(f)
		for _, indexed := range []bool{true, false} {
			dir := write(t, f)
			if !indexed {
				for _, idx := range glob(t, dir, "*.idx") {
					os.Remove(idx)
				}
			}
			before := files(t, dir)
			r, err := verifyFS(t.Context(), os.DirFS(dir))
			if err != nil || r.Verdict != tt.want || r.Fault != nil && !strings.Contains(r.Fault.Error(), tt.says) {
				t.Errorf("%s: %s %v %v, want %s and %q", name, r.Verdict, r.Fault, err, tt.want, tt.says)
			}
			c, err := open(dir, &ledger.Options{SegmentSize: 2000})
			if err == nil {
				if got := verified(t, c); got.Verdict != tt.want {
					t.Errorf("%s: opened, and %s", name, got.Verdict)
				}
				c.Close()
			}
			var corrupt *failure.CorruptError
			if (err == nil) != tt.opens || err != nil && (!errors.As(err, &corrupt) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%s: opening: %v, want %q", name, err, tt.says)
			}
			if d := cmp.Diff(before, files(t, dir)); err != nil && d != "" {
				t.Errorf("%s: opening changed\n%s", name, d)
			}
		}
	}
}

// A log is whole with the very bytes in PRUNED that its pruning wrote, and with
// no others.
func FuzzPRUNED(f *testing.F) {
	dir := f.TempDir()
	c := openChain(f, dir, &ledger.Options{SegmentSize: 2000})
	for i := range 12 {
		appendOne(f, c, event(i))
	}
	prune(f, c, soon())
	log := fstest.MapFS{}
	for name, data := range files(f, dir) {
		log[name] = &fstest.MapFile{Data: []byte(data)}
	}
	good := string(log["PRUNED"].Data)
	f.Add(good)
	f.Add(strings.TrimSpace(good))
	f.Add(rehash(strings.Replace(strings.TrimSpace(good), `"records":`, `"Records":1,"records":`, 1)) + "\n")
	f.Fuzz(func(t *testing.T, data string) {
		log := maps.Clone(log)
		log["PRUNED"] = &fstest.MapFile{Data: []byte(data)}
		if r, err := verifyFS(t.Context(), log); err != nil || r.OK() != (data == good) {
			t.Errorf("%q: %+v %v", data, r, err)
		}
	})
}

// The verification of an open log looks at PRUNED too: without that file the
// next opening fails.
func TestVerifySeesThatPRUNEDIsGone(t *testing.T) {
	dir := t.TempDir()
	c, err := open(dir, &ledger.Options{SegmentSize: 2000})
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 12)
	prune(t, c, soon())
	name := filepath.Join(dir, "PRUNED")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(name)
	if r := verified(t, c); r.Verdict != ledger.VerdictMissing {
		t.Errorf("%+v", r)
	}
	os.Mkdir(name, 0o700)
	if r := verified(t, c); r.Verdict != ledger.VerdictUnreadable {
		t.Errorf("%+v", r)
	}
	if r, err := verifyFS(t.Context(), os.DirFS(dir)); err != nil || r.Verdict != ledger.VerdictUnreadable {
		t.Errorf("%+v %v", r, err)
	}
	c.Close()
	if c, err = open(dir, nil); err == nil {
		c.Close()
		t.Error("opened with a directory in place of PRUNED")
	}
	// PRUNED is a copy of a line of the log, and can be made from that line
	// again.
	os.Remove(name)
	for _, line := range lines(t, dir) {
		if strings.Contains(line, `"tool":"prune"`) {
			os.WriteFile(name, []byte(line+"\n"), 0o600)
		}
	}
	if again, _ := os.ReadFile(name); !bytes.Equal(again, data) {
		t.Errorf("%s", again)
	}
	openChain(t, dir, nil)
}

// Segments that come back from an archive are a whole log once PRUNED is gone.
// Beside PRUNED they count as left over by a crash, and are removed.
func TestPrunedSegmentsThatCameBack(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 2000})
	appendN(t, c, 20)
	archive := files(t, dir)
	n := prune(t, c, soon())
	whole := files(t, dir)
	for name, data := range archive {
		if _, ok := whole[name]; !ok {
			whole[name] = data
		}
	}
	for _, with := range []bool{true, false} {
		if !with {
			delete(whole, "PRUNED")
		}
		dir := write(t, whole)
		r, err := verifyFS(t.Context(), os.DirFS(dir))
		if err != nil || !r.OK() || (r.Pruned.Records == n) != with || r.Events+r.Pruned.Records != 21 {
			t.Errorf("PRUNED %t: %+v %v", with, r, err)
		}
		c := openChain(t, dir, nil)
		if got := len(all(t, c, ledger.Query{})); got != int(r.Events) || c.Stats().Events != r.Events {
			t.Errorf("PRUNED %t: %d events, want %d", with, got, r.Events)
		}
		if _, err := os.Stat(filepath.Join(dir, segmentName(1))); (err == nil) == with {
			t.Errorf("PRUNED %t: %v", with, err)
		}
	}
}

// A query goes on over all events that it began with, without a gap. The next
// pruning removes the files that the query needed.
func TestReadersKeepWhatTheyBeganWith(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 2000})
	for _, ascending := range []bool{true, false} {
		appendN(t, c, 20)
		whole := all(t, c, ledger.Query{Ascending: ascending})
		var got []string
		for r, err := range c.Query(t.Context(), ledger.Query{Ascending: ascending}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, string(r)); len(got) == 2 {
				if n := prune(t, c, soon()); n == 0 {
					t.Error("nothing pruned")
				}
				for _, idx := range glob(t, dir, "*.idx") {
					os.Remove(idx)
				}
				if n := len(all(t, c, ledger.Query{})); n > len(whole)/2 {
					t.Errorf("a later query sees %d events", n)
				}
			}
		}
		if d := cmp.Diff(whole, got); d != "" {
			t.Errorf("ascending %t: %s", ascending, d)
		}
		left := len(segments(t, dir))
		if prune(t, c, time.Time{}); len(segments(t, dir)) >= left || len(segments(t, dir)) != c.Stats().Segments {
			t.Errorf("%d segments, %d once they were not needed", left, len(segments(t, dir)))
		}
	}
}

// hooked is a directory that calls hook, if there is one, before a file of that
// name is opened or made.
type hooked struct {
	*vfstest.FS
	name string
	hook atomic.Pointer[func()]
}

func (h *hooked) call(name string) {
	if fn := h.hook.Load(); fn != nil && name == h.name && h.hook.CompareAndSwap(fn, nil) {
		(*fn)()
	}
}

func (h *hooked) Open(name string) (vfs.File, error) {
	h.call(name)
	return h.FS.Open(name)
}

func (h *hooked) Create(name string) (vfs.File, error) {
	h.call(name)
	return h.FS.Create(name)
}

// meanwhile runs fn beside the caller, and gives fn time to end, or to reach the
// point where it waits for the caller.
func meanwhile(fn func()) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		fn()
	}()
	for range 10_000 {
		select {
		case <-ended:
			return ended
		default:
			runtime.Gosched()
		}
	}
	return ended
}

// Close waits for a pruning: nobody else may open the directory while files are
// still removed from it.
func TestCloseWaitsForAPruning(t *testing.T) {
	h := &hooked{FS: vfstest.New(), name: "PRUNED.tmp"}
	c, err := open("", &ledger.Options{SegmentSize: 3000, FS: h})
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 30)
	var closed chan struct{}
	hook := func() {
		closed = meanwhile(func() { c.Close() })
		select {
		case <-closed:
			t.Error("closed while the log was pruned")
		default:
		}
	}
	h.hook.Store(&hook)
	n := prune(t, c, soon())
	<-closed
	if _, err := c.Prune(t.Context(), soon()); !errors.Is(err, failure.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := memChain(t, h.FS)
	if n == 0 || again.Stats().Pruned.Records != n {
		t.Errorf("%d events: %+v", n, again.Stats())
	}
}

// A verification sees PRUNED and the log as they were at one moment: a log that
// is pruned meanwhile is not called altered.
func TestVerifyWhileTheLogIsPruned(t *testing.T) {
	h := &hooked{FS: vfstest.New(), name: "PRUNED"}
	// Each segment is full after one write, so that the event of the pruning has
	// one of its own.
	c := openChain(t, "", &ledger.Options{SegmentSize: 1, FS: h})
	for range 2 { // without the file, and with it
		appendN(t, c, 30)
		var ended chan struct{}
		hook := func() {
			ended = meanwhile(func() {
				if _, err := c.Prune(context.Background(), soon()); err != nil {
					t.Error(err)
				}
			})
		}
		h.hook.Store(&hook)
		if r := verified(t, c); !r.OK() {
			t.Errorf("%s: %v", r.Verdict, r.Fault)
		}
		<-ended
	}

	dir := t.TempDir()
	c = openChain(t, dir, &ledger.Options{SegmentSize: 3000})
	for range 2 {
		appendN(t, c, 30)
		r, err := verifyFS(t.Context(), &listed{FS: os.DirFS(dir), after: func() { prune(t, c, soon()) }})
		if err != nil || !r.OK() || r.Pruned != c.Stats().Pruned {
			t.Errorf("%+v %v", r, err)
		}
	}
}

// listed is a directory that calls after each time it was listed.
type listed struct {
	fs.FS
	after func()
}

func (l *listed) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(l.FS, name)
	l.after()
	return entries, err
}
