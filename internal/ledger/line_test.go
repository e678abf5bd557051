package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

func TestCheckLine(t *testing.T) {
	dir := t.TempDir()
	appendN(t, openChain(t, dir, nil), 1)
	good := lines(t, dir)[0]
	m := hashMember.FindStringSubmatch(good)
	long := strings.Replace(good, "git status", strings.Repeat("x", ledger.MaxEvent), 1)
	edited := strings.Replace(good, "git status", "git push", 1)
	id := rampart.Record(good).ID()
	for name, c := range map[string]struct {
		line string
		want *failure.CorruptError
	}{
		"good":               {good, nil},
		"edited and hashed":  {rehash(edited), nil},
		"empty":              {"", &failure.CorruptError{Expected: "an event in the stored form"}},
		"cut short":          {good[:len(good)-1], &failure.CorruptError{Expected: "an event in the stored form"}},
		"with its line feed": {good + "\n", &failure.CorruptError{Expected: "an event in the stored form"}},
		"edited":             {edited, &failure.CorruptError{ID: id, Expected: "hash " + hashMember.FindStringSubmatch(rehash(edited))[1], Found: m[1]}},
		"too long":           {rehash(long), &failure.CorruptError{Expected: "1048576 bytes at most"}},
	} {
		var f record.Fields
		got := ledger.CheckLine([]byte(c.line), &f)
		if (got == nil) != (c.want == nil) || got != nil && (got.ID != c.want.ID || got.Expected != c.want.Expected || c.want.Found != "" && got.Found != c.want.Found) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got == nil && string(f.ID) != id {
			t.Errorf("%s: the fields are those of %s", name, f.ID)
		}
	}
}

func TestSeamFault(t *testing.T) {
	const id1, id2 = "01KJSK45EG0000000003ENWD53", "01KJSK45EG0010000003ENWD53"
	for name, c := range map[string]struct {
		id, prevHash string
		expected     string // "": no fault
	}{
		"follows":        {id2, "aa", ""},
		"another hash":   {id2, "ab", "prev_hash aa"},
		"no hash":        {id2, "", "prev_hash aa"},
		"the same id":    {id1, "aa", "an id after " + id1},
		"an earlier id":  {"01KJSK45EF0000000003ENWD53", "aa", "an id after " + id1},
		"both are wrong": {id1, "ab", "prev_hash aa"},
	} {
		fault := ledger.SeamFault(c.id, c.prevHash, id1, "aa")
		if (fault == nil) != (c.expected == "") || fault != nil && (fault.Expected != c.expected || fault.ID != c.id) {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

func TestTornWrite(t *testing.T) {
	source := ledger.IDsAfter(ulid.ULID{})
	now := time.UnixMilli(1_700_000_000_000)
	write := func(n int) (ids []string) {
		for _, id := range source.Write(now, n) {
			ids = append(ids, id.String())
		}
		return ids
	}
	first, second, third := write(3), write(3), write(3)
	for name, c := range map[string]struct {
		last  string
		after []string
		want  bool
	}{
		"nothing after it":                   {first[2], nil, true},
		"the rest of the next write":         {first[2], second[1:], true},
		"the rest of a write that began":     {second[0], second[2:], true},
		"the rest of the first write":        {"", first[1:], true},
		"one that is not the next":           {first[2], third, false},
		"the next one, and one after it":     {first[2], []string{second[2], third[0]}, false},
		"the next one, while one is missing": {first[1], second, false},
		"the second write of an empty log":   {"", second, false},
	} {
		if got := ledger.TornWrite(c.last, c.after); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The recipe of the contract: take the hash member out, hash the rest.
func TestAnyLineIsCheckedByTakingItsHashOut(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 3)
	prev := strings.Repeat("0", 64)
	for _, line := range lines(t, dir) {
		m := hashMember.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no hash at the end of %s", line)
		}
		sum := sha256.Sum256([]byte(hashMember.ReplaceAllString(line, "}")))
		if got := hex.EncodeToString(sum[:]); got != m[1] {
			t.Errorf("hash %s, line says %s", got, m[1])
		}
		if !strings.Contains(line, `"prev_hash":"`+prev+`"`) {
			t.Errorf("does not link to %s: %s", prev, line)
		}
		prev = m[1]
	}
}

// Somebody edited the last line, or wrote one, after the daemon was killed.
// Opening cut it off as an unfinished write, and the evidence with it.
func TestEditedLastLineIsNoTornTail(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 3)
	for name, change := range map[string]func([]byte) []byte{
		"edited": func(b []byte) []byte {
			at := bytes.LastIndex(b, []byte("git status"))
			return append(append(append([]byte{}, b[:at]...), "git push"...), b[at+len("git status"):]...)
		},
		"added":     func(b []byte) []byte { return append(b, "{\"id\":\"01\"}\n"...) },
		"blank":     func(b []byte) []byte { return append(b, '\n') },
		"re-hashed": func(b []byte) []byte { return append(b, rehash(lines(t, dir)[1])+"\n"...) },
	} {
		dead := crashed(t, dir)
		edit(t, segments(t, dead)[0], change)
		want := lines(t, dead)
		_, err := open(dead, nil)
		var corrupt *failure.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: %v, want a CorruptError", name, err)
		}
		if diff := cmp.Diff(want, lines(t, dead)); diff != "" {
			t.Errorf("%s: the file was changed:\n%s", name, diff)
		}
		if v := verdictOf(t, dead); v != ledger.VerdictTampered && v != ledger.VerdictMissing {
			t.Errorf("%s: verified it is %s", name, v)
		}
	}
}

// A disk may keep later sectors of an unfinished write and lose earlier ones.
// The write was never acknowledged, so the log opens without it. The same damage
// one write earlier hit acknowledged events, and is refused. Verification
// agrees; it used to call every such hole tampering.
func TestTornWriteIsToldFromDamageBeforeIt(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	appendN(t, c, 5)
	var batch []rampart.AuditEvent
	for i := range 20 {
		batch = append(batch, event(i))
	}
	for range 2 {
		if _, err := c.AppendAll(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	stored := lines(t, dir)
	start := func(n int) int { return len(strings.Join(stored[:n], "\n")) + 1 }
	for _, tt := range []struct {
		from, size int
		want       int // events, or -1 for CorruptError
	}{
		{start(25), 512, 25},
		{start(30), 512, 30},
		{start(25) + 100, 1024, 25},
		{start(24), 512, -1},
		{start(24) + 30, 512, -1},
		{start(5), 512, -1},
		{start(2), 10, -1},
	} {
		dead := crashed(t, dir)
		name := segments(t, dead)[0]
		edit(t, name, func(b []byte) []byte { clear(b[tt.from : tt.from+tt.size]); return b })
		before, _ := os.ReadFile(name)
		verdict := verdictOf(t, dead)
		c, err := open(dead, nil)
		var corrupt *failure.CorruptError
		switch {
		case tt.want < 0:
			if !errors.As(err, &corrupt) {
				t.Errorf("hole of %d at %d: %v, want a CorruptError", tt.size, tt.from, err)
			} else if corrupt.Segment != filepath.Base(name) || corrupt.Line == 0 || corrupt.Expected == "" {
				t.Errorf("says too little: %+v", corrupt)
			}
			if after, _ := os.ReadFile(name); !bytes.Equal(before, after) {
				t.Error("the damaged file was touched")
			}
			if verdict != ledger.VerdictTampered {
				t.Errorf("hole of %d at %d: %s", tt.size, tt.from, verdict)
			}
		case err != nil:
			t.Errorf("hole of %d at %d: %v", tt.size, tt.from, err)
		case verdict != ledger.VerdictTornTail:
			t.Errorf("hole of %d at %d: cut off by opening, but %s to VerifyChain", tt.size, tt.from, verdict)
		default:
			if got := all(t, c, ledger.Query{Ascending: true}); cmp.Diff(got, stored[:tt.want]) != "" {
				t.Errorf("hole of %d at %d: %d events, want %d", tt.size, tt.from, len(got), tt.want)
			}
		}
		if err == nil {
			c.Close()
		}
	}
}
