// Keeps cases 2, 8, 14, 16 and 18 of docs/durability.md: what a crash leaves is opened, and what no crash leaves is refused.

package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

func TestSecondChainOnADirectoryIsRefusedWithThePID(t *testing.T) {
	dir := t.TempDir()
	openChain(t, dir, nil)
	_, err := open(dir, nil)
	if !errors.Is(err, failure.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Error(err)
	}
}

func TestUnknownSyncPolicyIsRefused(t *testing.T) {
	if _, err := open(t.TempDir(), &ledger.Options{Sync: "sometimes"}); !errors.Is(err, failure.ErrInvalid) {
		t.Error(err)
	}
	for _, p := range []ledger.SyncPolicy{ledger.SyncAlways, ledger.SyncInterval, ledger.SyncNever} {
		c := openChain(t, t.TempDir(), &ledger.Options{Sync: p})
		appendN(t, c, 3)
		if got := c.Stats().Sync; got != p {
			t.Errorf("%s reported as %s", p, got)
		}
	}
}

// A tail torn at any byte was never acknowledged: it is cut off, and what was
// acknowledged before it stays.
func TestTornTailIsCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 3)
	before := lines(t, dir)
	keep := len(strings.Join(before[:2], "\n")) + 1
	for cut := keep; cut < keep+len(before[2])+1; cut++ {
		dead := crashed(t, dir)
		edit(t, segments(t, dead)[0], func(b []byte) []byte { return b[:cut] })
		c, err := open(dead, nil)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := all(t, c, ledger.Query{Ascending: true}); cmp.Diff(got, before[:2]) != "" {
			t.Fatalf("cut at %d: %q", cut, got)
		}
		if n := c.Stats().Torn; n != int64(cut-keep) {
			t.Errorf("cut at %d: %d torn bytes reported", cut, n)
		}
		appendN(t, c, 1)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if r, err := verifyFS(t.Context(), os.DirFS(dead)); err != nil || !r.OK() || r.Events != 3 {
			t.Fatalf("cut at %d: %+v %v", cut, r, err)
		}
	}
}

// Opening removed every file whose name ends in .tmp, whoever had made it.
func TestOpeningRemovesItsOwnLeftoversAlone(t *testing.T) {
	dir := t.TempDir()
	for name, stays := range map[string]bool{
		"00000000000000000001.jsonl.tmp": false, "00000000000000000001.idx.tmp": false,
		"letter.tmp": true, "1.jsonl.tmp": true, "00000000000000000001.tmp": true, ".tmp": true,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

// Somebody changed a byte of the last event of a closed log. Opening cut the
// event off, as one that was never acknowledged.
func TestChangedEndOfAClosedLogIsRefused(t *testing.T) {
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { return bytes.Replace(b, []byte(`"n":2`), []byte(`"n":7`), 1) },
		func(b []byte) []byte { b[len(b)-1] = ' '; return b },
	} {
		dir := t.TempDir()
		c, err := open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, c, 3)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, segments(t, dir)[0], change)
		if c, err = open(dir, nil); err == nil {
			c.Close()
		}
		var corrupt *failure.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Line != 3 {
			t.Errorf("%v, want a CorruptError of line 3", err)
		}
	}
}

func TestZerosAtTheTailAreTorn(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 3)
	dead := crashed(t, dir)
	edit(t, segments(t, dead)[0], func(b []byte) []byte { return append(b, make([]byte, 700)...) })
	if got := all(t, openChain(t, dead, nil), ledger.Query{Ascending: true}); cmp.Diff(got, lines(t, dir)) != "" {
		t.Errorf("%q", got)
	}
}

// Opening believed a sidecar that fits its segment in number and size alone. It
// called the log corrupt, or panicked.
func TestForeignSidecarIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 1000})
	appendN(t, c, 4)
	for name, change := range map[string]func(f *record.Fields){
		"of another log":    func(f *record.Fields) { f.Hash = bytes.Repeat([]byte("a"), 64) },
		"with an id beyond": func(f *record.Fields) { f.ID = []byte("7ZZZZZZZZZZZZZZZZZZZZZZZZZ") },
		"with no id":        func(f *record.Fields) { f.ID = bytes.Repeat([]byte("!"), 26) },
	} {
		dead := crashed(t, dir)
		files := segments(t, dead)
		x := segment.NewIndex(1)
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			var f record.Fields
			if err := record.Scan(line, &f); err != nil {
				t.Fatal(err)
			}
			change(&f)
			if err := x.Add(line, &f); err != nil {
				t.Fatal(err)
			}
		}
		if data, err = x.Encode(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimSuffix(files[0], ".jsonl")+".idx", data, 0o600); err != nil {
			t.Fatal(err)
		}
		edit(t, files[1], func(b []byte) []byte { clear(b[:20]); return b }) // torn from its first line on
		c, err := open(dead, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := len(all(t, c, ledger.Query{})); got != 3 {
			t.Errorf("%s: %d events, want 3", name, got)
		}
		appendN(t, c, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if v := verdictOf(t, dead); v != ledger.VerdictOK {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// A sparse file is as long as its maker likes. Opening read it into memory as a
// whole, which ended the process.
func TestHugeSegmentIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 1000})
	appendN(t, c, 4)
	for n := range 2 {
		dead := crashed(t, dir)
		if err := os.Truncate(segments(t, dead)[n], 1<<43); err != nil {
			t.Skip(err)
		}
		c, err := open(dead, nil)
		if err == nil {
			c.Close()
		}
		var corrupt *failure.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("segment %d: %v, want a CorruptError", n, err)
		}
	}
}

// A line with an impossible time is refused by its place. The error was no
// CorruptError, and named no place.
func TestImpossibleTimeIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 1000})
	appendN(t, c, 4)
	for n := range 2 {
		dead := crashed(t, dir)
		for _, idx := range glob(t, dead, "*.idx") {
			os.Remove(idx)
		}
		name := segments(t, dead)[n]
		edit(t, name, func(b []byte) []byte {
			first, rest, _ := strings.Cut(string(b), "\n")
			return []byte(rehash(strings.Replace(first, "2026-03-03", "2026-13-03", 1)) + "\n" + rest)
		})
		c, err := open(dead, nil)
		if err == nil {
			for _, err = range c.Query(t.Context(), ledger.Query{Ascending: true}) {
			}
			c.Close()
		}
		var corrupt *failure.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Segment != filepath.Base(name) || corrupt.Line != 1 {
			t.Errorf("segment %d: %v, want a CorruptError of its line 1", n, err)
		}
	}
}

func TestDamageIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, &ledger.Options{SegmentSize: 1500})
	appendN(t, c, 12)
	n := len(segments(t, dir))
	for name, damage := range map[string]func(t *testing.T, files []string){
		"first segment gone": func(t *testing.T, f []string) { os.Remove(f[0]) },
		"a segment gone":     func(t *testing.T, f []string) { os.Remove(f[1]) },
		"flipped in the live one": func(t *testing.T, f []string) {
			edit(t, f[n-1], func(b []byte) []byte { b[200] ^= 1; return append(b, b...) })
		},
		"last line of a full one cut": func(t *testing.T, f []string) {
			edit(t, f[1], func(b []byte) []byte { return b[:len(b)-10] })
		},
		"exchanged": func(t *testing.T, f []string) {
			a, _ := os.ReadFile(f[0])
			edit(t, f[1], func([]byte) []byte { return a })
		},
	} {
		dead := crashed(t, dir)
		for _, idx := range glob(t, dead, "*.idx") {
			os.Remove(idx)
		}
		damage(t, segments(t, dead))
		c, err := open(dead, nil)
		if err == nil {
			c.Close()
		}
		var corrupt *failure.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: %v, want a CorruptError", name, err)
		}
	}
}

// Somebody takes lines from the end of a closed log, writes them anew, or
// removes the last file. Opening did not notice, though the sidecar knows of
// those lines.
func TestShorterThanAtItsClose(t *testing.T) {
	for name, c := range map[string]struct {
		touch func(path string)
		says  func(last rampart.AuditEvent, path string) []string
	}{
		"cut": {
			func(path string) {
				edit(t, path, func(data []byte) []byte { return bytes.SplitAfter(data, []byte("\n"))[0] })
			},
			func(last rampart.AuditEvent, _ string) []string {
				return []string{"edited or truncated?", last.ID, last.Hash}
			},
		},
		"written anew": {
			func(path string) {
				edit(t, path, func(data []byte) []byte {
					lines := bytes.SplitAfter(data, []byte("\n"))
					last := len(lines) - 2
					edited := strings.Replace(strings.TrimSpace(string(lines[last])), `"exec"`, `"EXEC"`, 1)
					lines[last] = []byte(rehash(edited) + "\n")
					return bytes.Join(lines, nil)
				})
			},
			func(last rampart.AuditEvent, _ string) []string {
				return []string{"edited or truncated?", last.ID, last.Hash}
			},
		},
		"removed": {
			func(path string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			},
			func(_ rampart.AuditEvent, path string) []string {
				return []string{"was the end of the log removed?", strings.TrimSuffix(filepath.Base(path), "jsonl") + "idx"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			chain := openChain(t, dir, &ledger.Options{SegmentSize: 1000})
			saved := appendN(t, chain, 9)
			if err := chain.Close(); err != nil {
				t.Fatal(err)
			}
			path := segments(t, dir)[len(segments(t, dir))-1]
			c.touch(path)
			var logged bytes.Buffer
			appendN(t, openChain(t, dir, &ledger.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))}), 1)
			for _, want := range c.says(saved[8], path) {
				if !strings.Contains(logged.String(), want) {
					t.Errorf("logged %q, want %q", &logged, want)
				}
			}
		})
	}
}

// A sidecar of another log, or from before the log was cut, claims more bytes
// than the log had. Once the log had grown, opening took an honest torn tail
// within those bytes for damage.
func TestSidecarOfSomethingElse(t *testing.T) {
	closed := func() string { // a log of nine events
		dir := t.TempDir()
		c := openChain(t, dir, nil)
		appendN(t, c, 9)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	cut := closed()
	edit(t, segments(t, cut)[0], func(data []byte) []byte {
		return bytes.Join(bytes.SplitAfter(data, []byte("\n"))[:2], nil)
	})
	foreign := t.TempDir()
	appendN(t, openChain(t, foreign, nil), 2)
	foreign = crashed(t, foreign)
	sidecar := glob(t, closed(), "*.idx")[0]
	if err := os.Rename(sidecar, filepath.Join(foreign, filepath.Base(sidecar))); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{cut, foreign} {
		appendN(t, openChain(t, dir, nil), 3)
		dir = crashed(t, dir)
		edit(t, segments(t, dir)[0], func(data []byte) []byte {
			return append(append(data, `{"id":"01`...), make([]byte, 8000)...)
		})
		if c := openChain(t, dir, nil); c.Stats().Events != 5 || c.Stats().Torn == 0 {
			t.Errorf("%+v", c.Stats())
		}
	}
}
