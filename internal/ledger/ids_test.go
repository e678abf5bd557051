package ledger_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// written are the ids of some writes, and the write that each belongs to.
type written struct {
	ids   []ulid.ULID
	write []int
}

// write20 makes 20 writes of a few records each while the clock steps in both
// directions, and stands still as often.
func write20(s *ledger.IDs, rnd *rand.Rand) (w written) {
	now := time.UnixMilli(1_700_000_000_000)
	for n := range 20 {
		now = now.Add(time.Duration(rnd.IntN(3)-1) * time.Duration(rnd.IntN(3000)) * time.Millisecond)
		for _, id := range s.Write(now, 1+rnd.IntN(4)) {
			w.ids, w.write = append(w.ids, id), append(w.write, n)
		}
	}
	return w
}

// numbered is the id of a single record, in the write of that number.
func numbered(write uint16) (id ulid.ULID) {
	if err := id.SetTime(1_700_000_000_000); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint16(id[6:], write)
	return id
}

func TestIDsRise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, last := range map[string]ulid.ULID{"of an empty log": {}, "in the middle": numbered(700), "at the count's wrap": numbered(1<<16 - 10)} {
		for range 100 {
			before := last
			for i, id := range write20(ledger.IDsAfter(last), rnd).ids {
				if id.Compare(before) <= 0 {
					t.Fatalf("%s: id %d, %s, comes after %s", name, i, id, before)
				}
				before = id
			}
		}
	}
}

// TestSameWrite holds each pair of ids against the writes that they were made in.
func TestSameWrite(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	w := write20(ledger.IDsAfter(ulid.ULID{}), rnd)
	yes := 0
	for i, last := range w.ids {
		for j := i + 1; j < len(w.ids); j++ {
			ends := w.write[i+1] > w.write[i] // last is its write's last record
			want := w.write[j] == w.write[i] || ends && w.write[j] == w.write[i]+1
			if got := ledger.SameWrite(last, w.ids[j]); got != want {
				t.Errorf("record %d of write %d after record %d of write %d: %t", j, w.write[j], i, w.write[i], got)
			}
			if want {
				yes++
			}
		}
		if got := ledger.SameWrite(ulid.ULID{}, last); got != (w.write[i] == 0) {
			t.Errorf("a record of write %d in an empty log: %t", w.write[i], got)
		}
	}
	if yes < 20 {
		t.Errorf("only %d pairs are of one write", yes)
	}
	// 65,536 writes on, the count is the same and the time is not.
	later := numbered(700)
	if err := later.SetTime(later.Time() + 1); err != nil {
		t.Fatal(err)
	}
	if ledger.SameWrite(numbered(700), later) {
		t.Error("two writes of one number are taken for one")
	}
}

// The bubble's clock is decades behind the time of the first events, and stands
// still. The log then makes more writes than the part of an id that counts them
// has room for.
func TestClockStepsBack(t *testing.T) {
	if every > 1 {
		t.Skip("one goroutine, and long under the race detector")
	}
	fs := vfstest.New()
	c, err := open("", &ledger.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 3)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := openChain(t, "", &ledger.Options{FS: fs}) // which verifies in the end
		last := c.Head().ID
		for range 1<<16 + 3 {
			if id := appendN(t, c, 1)[0].ID; id <= last {
				t.Fatalf("%s after %s", id, last)
			} else {
				last = id
			}
		}
	})
}
