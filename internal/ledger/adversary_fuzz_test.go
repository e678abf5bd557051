// Keeps "The record" of docs/security.md: any change within it is named, and two verifications agree on it.

package ledger_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/formattest"
	"github.com/rampartlog/rampart/internal/ledger"
)

// FuzzTampered edits, splices and moves lines of an honest log at random, and
// may hash them anew. VerifyFS agrees with the verification by hand, and opening
// refuses any fault in the segment that it reads whole.
func FuzzTampered(f *testing.F) {
	stored, _ := goldenWhole(f)
	stored = stored.unclosed()
	names := stored.names()
	last := names[len(names)-1]
	for _, ops := range [][]byte{
		{}, {0, 0, 1, 1, 1}, {1, 2, 0, 9, 200}, {2, 1, 3, 3, ' '}, {3, 4, 0, 9, 0}, {4, 5, 0, 1, 0}, {5, 14, 0, 0, 0}, {6, 1, 0, 200, 50},
		{5, 0, 0, 0, 0, 7, 0, 0, 0, 0}, {0, 2, 0, 150, 'x', 7, 0, 0, 0, 0}, {2, 0, 1, 30, 0}, {1, 2, 10, 0, 255}, {0, 2, 11, 0, 0},
		{2, 0, 1, 0, ' ', 7, 0, 0, 0, 0}, {4, 3, 0, 5, 0, 7, 0, 0, 0, 0},
	} {
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		damaged := stored.with(last, []byte(stored[last]))
		for ops = ops[:min(len(ops), 50)]; len(ops) >= 5; {
			kind, which, at, value := ops[0]%8, int(ops[1]), int(ops[2])<<8|int(ops[3]), ops[4]
			ops = ops[5:]
			name := names[which%len(names)]
			data := []byte(damaged[name])
			if len(data) > 64<<10 { // lines that are doubled double what is doubled next
				break
			}
			place := at % (len(data) + 1)
			now := damaged.lines()
			switch {
			case kind == 0 && place < len(data):
				data[place] = value
			case kind == 1:
				data = slices.Delete(data, place, min(len(data), place+int(value)))
			case kind == 2:
				data = slices.Insert(data, place, value)
			case kind == 6: // a splice
				from := at * 7 % (len(data) + 1)
				data = slices.Insert(data, place, bytes.Clone(data[from:min(len(data), from+int(value))])...)
			case len(now) == 0:
			case kind == 7:
				damaged = textsOf(now).relink(now, which%len(now))
				for _, name := range names { // an empty one is still there
					damaged[name] += ""
				}
				continue
			default:
				x := textsOf(now)
				a, b := now[which%len(now)], now[at%len(now)]
				switch kind {
				case 3:
					x.set(a, b.text)
					x.set(b, a.text)
				case 4:
					x[b.segment] = slices.Insert(x[b.segment], b.n-1, a.text)
				case 5:
					x[a.segment] = slices.Delete(x[a.segment], a.n-1, a.n)
				}
				for name, lines := range x {
					damaged[name] = strings.Join(lines, "")
				}
				continue
			}
			damaged[name] = string(data)
		}
		r := damaged.verify(t)
		byHand := formattest.Check(damaged)
		if r.OK() != (byHand == nil) || r.OK() != (r.Fault == nil) {
			t.Fatalf("%s %v, by hand: %v", r.Verdict, r.Fault, byHand)
		}
		if len(damaged[last])%8 != len(stored[last])%8 { // opening takes ten times as long
			return
		}
		c, corrupt := openMem(t, damaged.unindexed().disk(t))
		if corrupt != nil {
			if r.Verdict == ledger.VerdictTornTail || r.OK() && !strings.Contains(corrupt.Found, "parsing time") {
				t.Fatalf("%s %v, and opened: %v", r.Verdict, r.Fault, corrupt)
			}
			return
		}
		defer c.Close()
		again, err := c.Verify(context.Background())
		switch {
		case err != nil:
			t.Fatal(err)
		case again.Verdict == r.Verdict, r.Verdict == ledger.VerdictTornTail && again.OK():
		default:
			t.Fatalf("%s %v, and opened: %s %v", r.Verdict, r.Fault, again.Verdict, again.Fault)
		}
		if !again.OK() && again.Fault.Segment == last {
			t.Fatalf("opened with %v, which it reads", again.Fault)
		}
	})
}
