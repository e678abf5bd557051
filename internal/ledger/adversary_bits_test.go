// Keeps "The record" of docs/security.md: any change within it is named, down to the bit.

package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/formattest"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// logLine is a line of a log, and where it stands.
type logLine struct {
	text    string // with its newline
	segment string
	n       int // in it, from 1
	offset  int
	before  int  // lines in the log
	first   bool // of its segment
	last    bool
}

func (l logFiles) lines() (out []logLine) {
	for _, name := range l.names() {
		offset, n := 0, 1
		for text := range strings.Lines(l[name]) {
			out = append(out, logLine{text, name, n, offset, len(out), n == 1, offset+len(text) == len(l[name])})
			offset, n = offset+len(text), n+1
		}
	}
	return out
}

// upTo is the report on a log whose first k lines are good.
func (l logFiles) upTo(t testing.TB, k int, v ledger.Verdict) ledger.Report {
	r := l.verify(t)
	lines := l.lines()
	r.Verdict, r.Events = v, uint64(k)
	if r.FirstID, r.LastID, r.HeadHash = "", "", ""; k > 0 {
		of := func(i int) rampart.Record { return rampart.Record(strings.TrimSuffix(lines[i].text, "\n")) }
		r.FirstID, r.LastID, r.HeadHash = of(0).ID(), of(k-1).ID(), of(k-1).Hash()
	}
	return r
}

// at says how a report differs from want with a fault in that line, or
// returns "".
func (line logLine) at(r, want ledger.Report) string {
	f := r.Fault
	r.Fault = nil
	if r == want && f != nil && f.Segment == line.segment && f.Line == line.n && f.Offset == int64(line.offset) && f.Expected != "" && f.Found != "" {
		return ""
	}
	return fmt.Sprintf("%+v %v\nwant %+v in %s line %d (byte %d)", r, f, want, line.segment, line.n, line.offset)
}

// openMem opens a log, or returns the fault for which opening refuses it.
func openMem(t testing.TB, fs *vfstest.FS) (*chain, *failure.CorruptError) {
	t.Helper()
	c, err := open("", &ledger.Options{Sync: ledger.SyncNever, SegmentSize: goldenSegment, FS: fs})
	var corrupt *failure.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		t.Fatal(err)
	}
	return c, corrupt
}

// closings are the ways in which a log may have been left, and whether opening
// then reads a line.
var closings = []struct {
	name  string
	of    func(logFiles) logFiles
	reads func(line logLine, live bool) bool
}{
	{"closed", func(l logFiles) logFiles { return l }, func(line logLine, _ bool) bool { return line.last }},
	{"not closed", logFiles.unclosed, func(line logLine, live bool) bool { return line.last || live }},
	{"no sidecars", logFiles.unindexed, func(line logLine, live bool) bool { return line.first || line.last || live }},
}

// Verification finds a changed bit in the line that holds it; a newline counts as
// part of the line that it ended. Opening finds the bit if it is in a line that
// opening reads. Otherwise the open log's own verification finds it; readers get
// all other lines as they were written, and for the changed one an error or a hash
// that does not fit.
//
// Three changes alone may be a torn tail: one of the very last newline, and a
// space or an @ of the last write that became a zero. Opening cuts them off,
// unless the log was closed.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, g := range goldenLogs {
		stored := golden(t, g.name)
		lines := stored.lines()
		for _, line := range lines {
			live := line.segment == lines[len(lines)-1].segment
			t.Run(fmt.Sprint(g.name, line.before+1), func(t *testing.T) {
				t.Parallel()
				tampered, torn := stored.upTo(t, line.before, ledger.VerdictTampered), stored.upTo(t, line.before, ledger.VerdictTornTail)
				bad := []byte(stored[line.segment])
				var looked, tails, tried, opened int
				for i := range line.text {
					at := line.offset + i
					newline := i == len(line.text)-1
					for bit := range 8 {
						if (8*at+bit)%every != 0 {
							continue
						}
						bad[at] ^= 1 << bit
						where := fmt.Sprintf("bit %d of byte %d of %s", bit, at, line.segment)
						damaged := stored.with(line.segment, bad)
						want := tampered
						if newline && line.before == len(lines)-1 || bad[at] == 0 && line.before >= len(lines)-g.lastWrite {
							want = torn
							tails++
						}
						bad[at] ^= 1 << bit
						if wrong := line.at(damaged.verify(t), want); wrong != "" {
							t.Fatalf("%s: %s", where, wrong)
						}
						if bit == at%8 && formattest.Check(damaged) == nil {
							t.Fatalf("%s: by hand it is whole", where)
						}
						// Opening takes a hundred times as long.
						if looked++; os.Getenv("RAMPART_ADVERSARY") != "all" && looked%101 != 0 && want == tampered && !(newline && bit%3 == 0) {
							continue
						}
						tried++
						how := closings[tried%len(closings)]
						touched := how.reads(line, live) || newline && !line.last && how.reads(lines[line.before+1], live) ||
							line.before == 0 && g.pruned > 0 // PRUNED must agree with this line
						c, corrupt := openMem(t, how.of(damaged).disk(t))
						switch {
						case want.Verdict == ledger.VerdictTornTail && how.name != "closed":
							if corrupt != nil || c.Stats().Events != uint64(line.before) || c.Stats().Torn == 0 {
								t.Fatalf("%s, %s: a torn tail is not cut off: %v", where, how.name, corrupt)
							}
						case touched:
							if corrupt == nil || corrupt.Segment != line.segment || corrupt.Line != line.n || corrupt.Offset != int64(line.offset) {
								t.Fatalf("%s, %s: opened: %v, want a CorruptError of line %d (byte %d)", where, how.name, corrupt, line.n, line.offset)
							}
						case corrupt != nil:
							t.Fatalf("%s, %s: opened: %v; it does not read that line", where, how.name, corrupt)
						default:
							opened++
							if wrong := line.at(verified(t, c), tampered); wrong != "" {
								t.Fatalf("%s, %s: opened, and %s", where, how.name, wrong)
							}
							honestReaders(t, where+", "+how.name, c, lines, line, newline)
						}
						if c != nil {
							c.Close()
						}
					}
				}
				t.Logf("%d bits, %d of them a torn tail; %d tried to open, %d of them without a CorruptError", looked, tails, tried, opened)
			})
		}
	}
}

// honestReaders reads a log with a damaged line in every way. Each line that it
// gets was written, or has a hash that does not fit.
func honestReaders(t *testing.T, where string, c *chain, lines []logLine, damaged logLine, newline bool) {
	t.Helper()
	written := map[string]bool{}
	for _, l := range lines {
		written[strings.TrimSuffix(l.text, "\n")] = true
	}
	for _, ascending := range []bool{true, false} {
		given, bad := 0, 0
		for r, err := range c.Query(context.Background(), ledger.Query{Ascending: ascending}) {
			switch {
			case err != nil:
				bad++
				var corrupt *failure.CorruptError
				if !errors.As(err, &corrupt) || corrupt.Segment != damaged.segment {
					t.Fatalf("%s: query: %v, want a CorruptError of %s", where, err, damaged.segment)
				}
			case written[string(r)]:
				given++
			case formattest.Parse(string(r)).Bad == "":
				t.Fatalf("%s: query gives what nobody wrote: %s", where, r)
			default:
				bad++
			}
		}
		if bad != 1 || given > len(lines)-1 {
			t.Fatalf("%s: query, ascending %t: %d good lines, %d bad", where, ascending, given, bad)
		}
	}
	id := rampart.Record(strings.TrimSuffix(damaged.text, "\n")).ID()
	r, err := c.Get(context.Background(), id)
	var corrupt *failure.CorruptError
	if !errors.Is(err, failure.ErrNotFound) && (!errors.As(err, &corrupt) || corrupt.Segment != damaged.segment) {
		t.Fatalf("%s: Get: %s %v, want ErrNotFound or a CorruptError", where, r, err)
	}
}

func TestEveryFlippedBitOfPRUNEDIsFound(t *testing.T) {
	g := goldenLogs[1]
	stored := golden(t, g.name)
	bad := []byte(stored["PRUNED"])
	for at := range bad {
		for bit := range 8 {
			if (8*at+bit)%every != 0 {
				continue
			}
			bad[at] ^= 1 << bit
			damaged := stored.with("PRUNED", bad)
			bad[at] ^= 1 << bit
			r := damaged.verify(t)
			if r.Verdict != ledger.VerdictTampered || r.Fault.Segment != "PRUNED" || r.Fault.Line != 1 || r.Events != 0 || formattest.Check(damaged) == nil {
				t.Fatalf("bit %d of byte %d: %+v", bit, at, r)
			}
			c, corrupt := openMem(t, damaged.disk(t))
			if c != nil || cmp.Diff(corrupt, r.Fault) != "" {
				t.Fatalf("bit %d of byte %d: opened: %v, want %v", bit, at, corrupt, r.Fault)
			}
		}
	}
}
