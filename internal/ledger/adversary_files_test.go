// Keeps "The record" of docs/security.md: segments removed, renamed or exchanged are named, and sidecars are a cache.

package ledger_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

// otherWhole is an honest log of the golden one's events, whose files have the
// same names. Only ids and hashes differ.
func otherWhole(t *testing.T) (l logFiles) {
	_, lines := goldenWhole(t)
	records := make([]ledger.Record, len(lines))
	for i, line := range lines {
		from, to := strings.Index(line.text, `"timestamp":`), strings.LastIndex(line.text, `"prev_hash":`)
		records[i].Body = []byte(line.text[from:to])
	}
	single := len(records) - goldenLogs[0].lastWrite
	dir := t.TempDir()
	c, err := open(dir, &ledger.Options{SegmentSize: goldenSegment})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records[:single] {
		if err := c.Ledger.Append(t.Context(), ledger.One(r.Body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Ledger.Append(t.Context(), &ledger.Batch{Records: records[single:]}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return files(t, dir)
}

// Whatever is done to whole files is named. Two changes are not: a cut at the
// end, which anchors show, and another place between lines where one file ends
// and the next begins.
func TestEverySegmentTamperedWith(t *testing.T) {
	stored, lines := goldenWhole(t)
	other := otherWhole(t)
	n := stored.names()
	if d := cmp.Diff(n, other.names()); d != "" || len(n) != 3 {
		t.Fatal(d)
	}
	count := func(name string) int { return strings.Count(stored[name], "\n") }
	last := func(name string) int { return strings.LastIndex(strings.TrimSuffix(stored[name], "\n"), "\n") + 1 }
	missing, tampered := ledger.VerdictMissing, ledger.VerdictTampered
	for what, tt := range map[string]struct {
		tamper  func(l logFiles)
		verdict ledger.Verdict
		segment string
		line    int
	}{
		"first removed":                      {func(l logFiles) { delete(l, n[0]) }, missing, n[0], 0},
		"middle removed":                     {func(l logFiles) { delete(l, n[1]) }, missing, n[1], 0},
		"last removed":                       {func(l logFiles) { delete(l, n[2]) }, ledger.VerdictOK, "", 0},
		"first emptied":                      {func(l logFiles) { l[n[0]] = "" }, missing, n[0], 0},
		"middle emptied":                     {func(l logFiles) { l[n[1]] = "" }, missing, n[1], 0},
		"last emptied":                       {func(l logFiles) { l[n[2]] = "" }, ledger.VerdictOK, "", 0},
		"last renamed":                       {func(l logFiles) { l[segmentName(11)] = l[n[2]]; delete(l, n[2]) }, missing, n[2], 0},
		"first renamed":                      {func(l logFiles) { l[segmentName(2)] = l[n[0]]; delete(l, n[0]) }, missing, n[0], 0},
		"last renamed to no segment's name":  {func(l logFiles) { l["10.jsonl"] = l[n[2]]; delete(l, n[2]) }, ledger.VerdictOK, "", 0},
		"exchanged with one another":         {func(l logFiles) { l[n[0]], l[n[1]] = l[n[1]], l[n[0]] }, missing, n[0], 1},
		"last doubled behind":                {func(l logFiles) { l[segmentName(16)] = l[n[2]] }, missing, segmentName(16), 1},
		"last doubled far behind":            {func(l logFiles) { l[segmentName(99)] = l[n[2]] }, missing, segmentName(16), 0},
		"first doubled as a later one":       {func(l logFiles) { l[segmentName(3)] = l[n[0]] }, missing, segmentName(3), 0},
		"first of another log":               {func(l logFiles) { l[n[0]] = other[n[0]] }, missing, n[1], 1},
		"middle of another log":              {func(l logFiles) { l[n[1]] = other[n[1]] }, missing, n[1], 1},
		"last of another log":                {func(l logFiles) { l[n[2]] = other[n[2]] }, missing, n[2], 1},
		"an empty one begun":                 {func(l logFiles) { l[segmentName(16)] = "" }, ledger.VerdictOK, "", 0},
		"an empty one begun out of place":    {func(l logFiles) { l[segmentName(17)] = "" }, missing, segmentName(16), 0},
		"split in two":                       {func(l logFiles) { at := last(n[1]); l[segmentName(9)], l[n[1]] = l[n[1]][at:], l[n[1]][:at] }, ledger.VerdictOK, "", 0},
		"split within a line":                {func(l logFiles) { at := last(n[1]) + 9; l[segmentName(9)], l[n[1]] = l[n[1]][at:], l[n[1]][:at] }, tampered, n[1], 4},
		"split and the second misnamed":      {func(l logFiles) { at := last(n[1]); l[segmentName(8)], l[n[1]] = l[n[1]][at:], l[n[1]][:at] }, missing, segmentName(8), 0},
		"two merged":                         {func(l logFiles) { l[n[1]] += l[n[2]]; delete(l, n[2]) }, ledger.VerdictOK, "", 0},
		"two merged, the other way about":    {func(l logFiles) { l[n[1]] = l[n[2]] + l[n[1]]; delete(l, n[2]) }, missing, n[1], 1},
		"a last line moved to the next file": {func(l logFiles) { at := last(n[0]); l[n[1]], l[n[0]] = l[n[0]][at:]+l[n[1]], l[n[0]][:at] }, missing, segmentName(5), 0},
		"names that are not segments' added": {func(l logFiles) {
			for _, name := range []string{"1.jsonl", "0.jsonl", n[0] + ".bak", "notes.txt", segmentName(0), strings.ToUpper(n[1]), "99999999999999999999.jsonl"} {
				l[name] = l[n[1]]
			}
		}, ledger.VerdictOK, "", 0},
		"a PRUNED of nothing": {func(l logFiles) { l["PRUNED"] = lines[4].text }, tampered, "PRUNED", 1},
	} {
		for _, how := range closings {
			l := maps.Clone(how.of(stored))
			tt.tamper(l)
			if tt.verdict == ledger.VerdictOK && strings.HasPrefix(what, "last ") {
				gone := lines[len(lines)-count(n[2]):]
				rewritten(t, what, l, lines, gone[0].before)
			}
			found(t, what+", "+how.name, l, tt.verdict, tt.segment, tt.line)
		}
	}
}

// A sidecar is a cache. With any bit of it changed, or with another sidecar in
// its place, the log opens, is whole and has all its events.
func TestEverySidecarTamperedWith(t *testing.T) {
	stored, lines := goldenWhole(t)
	other := otherWhole(t)
	var want []string
	for _, l := range lines {
		want = append(want, strings.TrimSuffix(l.text, "\n"))
	}
	check := func(what string, l logFiles) {
		t.Helper()
		c, corrupt := openMem(t, l.disk(t))
		if corrupt != nil {
			t.Fatalf("%s: opened: %v", what, corrupt)
		}
		for _, tool := range [][]string{nil, {"exec"}, {"edit", "t"}} {
			q := ledger.Query{Ascending: true, Filter: ledger.Filter{Tool: tool}}
			plain := slices.DeleteFunc(slices.Clone(want), func(line string) bool {
				return tool != nil && !slices.ContainsFunc(tool, func(s string) bool { return strings.Contains(line, `"tool":"`+s+`"`) })
			})
			if d := cmp.Diff(plain, all(t, c, q)); d != "" {
				t.Fatalf("%s: query of tool %q: %s", what, tool, d)
			}
		}
		if r := verified(t, c); !r.OK() {
			t.Fatalf("%s: %s %v", what, r.Verdict, r.Fault)
		}
		c.Close()
	}
	names := stored.names()
	tried := 0
	for i, name := range names {
		idx := sidecarOf(name)
		bad := []byte(stored[idx])
		for at := range bad {
			for bit := range 8 {
				if os.Getenv("RAMPART_ADVERSARY") != "all" && (8*at+bit)%29 != 0 {
					continue
				}
				tried++
				bad[at] ^= 1 << bit
				check(idx+" with a bit changed", stored.with(idx, bad))
				bad[at] ^= 1 << bit
			}
		}
		for cut := 0; cut < len(bad); cut += 37 {
			check(idx+" cut", stored.with(idx, bad[:cut]))
		}
		check(idx+" gone", stored.with(idx, nil))
		check(idx+" longer", stored.with(idx, append(bytes.Clone(bad), 0)))
		check(idx+" of another log", stored.with(idx, []byte(other[idx])))
		check(idx+" of another segment", stored.with(idx, []byte(stored[sidecarOf(names[(i+1)%3])])))
	}
	check("all gone", stored.unindexed())
	t.Logf("%d bits", tried)
}

// A forged sidecar with a right checksum can hide events from queries, as
// docs/format.md says. It changes no event, and verification does not read it.
func TestForgedSidecar(t *testing.T) {
	stored, lines := goldenWhole(t)
	names := stored.names()
	for _, name := range names {
		var first uint64
		x := (*segment.Index)(nil)
		for _, l := range lines {
			if l.segment != name {
				continue
			}
			if l.first {
				first = uint64(l.before) + 1
				x = segment.NewIndex(first)
			}
			line := strings.TrimSuffix(l.text, "\n")
			var f record.Fields
			if err := record.Scan([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			f.Tool, f.Agent = []byte("nothing"), []byte("nobody")
			if err := x.Add([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
		}
		data, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		forged := stored.with(sidecarOf(name), data)
		if r := forged.verify(t); !r.OK() {
			t.Errorf("%s: %+v", name, r)
		}
		c, corrupt := openMem(t, forged.disk(t))
		if corrupt != nil {
			t.Fatal(corrupt)
		}
		if r := verified(t, c); !r.OK() || r.Events != uint64(len(lines)) {
			t.Errorf("%s: %+v", name, r)
		}
		if got := all(t, c, ledger.Query{Ascending: true}); strings.Join(got, "\n")+"\n" != stored[names[0]]+stored[names[1]]+stored[names[2]] {
			t.Errorf("%s: without a filter %d events", name, len(got))
		}
		if got := all(t, c, ledger.Query{Filter: ledger.Filter{Tool: []string{"nothing"}}}); len(got) != 0 {
			t.Errorf("%s: believed: %s", name, got)
		}
		hidden := len(all(t, c, ledger.Query{Filter: ledger.Filter{Tool: []string{"exec", "t", "edit"}}}))
		if want := len(lines) - strings.Count(stored[name], "\n"); hidden != want {
			t.Errorf("%s: %d events are found by their values, want %d", name, hidden, want)
		}
		for _, l := range lines {
			if r, err := c.Get(t.Context(), l.anchor().ID); err != nil || string(r)+"\n" != l.text {
				t.Errorf("%s: %s %v", name, r, err)
			}
		}
		c.Close()
	}
}

// A directory in the place of a segment is refused, and never read.
func TestNoFileInPlaceOfASegment(t *testing.T) {
	stored, _ := goldenWhole(t)
	for _, name := range stored.names() {
		dir := write(t, stored.with(name, nil))
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := verifyFS(t.Context(), os.DirFS(dir))
		if err != nil || r.Verdict != ledger.VerdictUnreadable || r.Fault.Segment != name {
			t.Errorf("%s: %+v %v", name, r, err)
		}
		if c, err := open(dir, nil); err == nil {
			c.Close()
			t.Errorf("%s: opened with a directory in its place", name)
		}
	}
}

// Opening reads the ends of the segments, and sees by itself that two do not
// follow one another.
func TestOpeningHoldsSegmentsTogether(t *testing.T) {
	stored, _ := goldenWhole(t)
	other := otherWhole(t)
	n := stored.names()
	// The second segment begins with an older id, as if the clock had been set
	// back, and all links after it are made right.
	olderId := maps.Clone(stored)
	prev := ""
	for i, name := range n[1:] {
		var out []string
		for j, line := range strings.Split(strings.TrimSuffix(stored[name], "\n"), "\n") {
			if i == 0 && j == 0 {
				id := rampart.Record(line).ID()
				line = strings.Replace(line, id, strings.Repeat("0", 9)+id[9:], 1)
			} else {
				e, err := rampart.Record(line).Event()
				if err != nil {
					t.Fatal(err)
				}
				line = strings.Replace(line, e.PrevHash, prev, 1)
			}
			line = rehash(line)
			prev = rampart.Record(line).Hash()
			out = append(out, line+"\n")
		}
		olderId[name] = strings.Join(out, "")
	}
	exchanged := maps.Clone(stored)
	exchanged[n[0]], exchanged[n[1]] = stored[n[1]], stored[n[0]]
	foreign := maps.Clone(stored)
	foreign[n[1]] = other[n[1]]
	for what, tt := range map[string]struct {
		log     logFiles
		segment string
	}{"an older id": {olderId, n[1]}, "exchanged": {exchanged, n[0]}, "another log's": {foreign, n[1]}} {
		for name := range tt.log {
			if strings.HasSuffix(name, ".idx") {
				delete(tt.log, name)
			}
		}
		c, corrupt := openMem(t, tt.log.disk(t))
		if corrupt == nil {
			c.Close()
			t.Errorf("%s: opened", what)
		} else if corrupt.Segment != tt.segment || corrupt.Line != 1 {
			t.Errorf("%s: %v, want %s line 1", what, corrupt, tt.segment)
		}
	}
}
