package bus_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// records are n events as a ledger takes them.
func records(t *testing.T, n int) []ledger.Record {
	t.Helper()
	out := make([]ledger.Record, n)
	for i := range out {
		e := record.Event{Timestamp: "2026-03-03T10:15:30Z", Agent: "claude-code", Tool: "exec", Action: "allow"}
		var err error
		if out[i].Body, _, err = e.AppendBody(nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// A subscriber that resumes after a position gets each later event once, however
// the event was announced.
func TestFollowsTheLedgerIntoMemory(t *testing.T) {
	b := bus.New(bus.Options{})
	defer b.Close()
	l, err := ledger.Open("", &ledger.Options{FS: vfstest.New(), Announce: b.Announce})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := b.Attach(l); err != nil {
		t.Fatal(err)
	}
	var want []string
	add := func(n int) {
		batch := ledger.Batch{Records: records(t, n)}
		if err := l.Append(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		for _, p := range batch.Records {
			want = append(want, "audit "+string(sse.AppendPosition(nil, p.ID, p.Hash)))
		}
	}
	add(3)
	s, resume, err := b.Subscribe(t.Context(), sse.Start)
	if resume != bus.OK || err != nil {
		t.Fatal(resume, err)
	}
	defer s.Leave()
	want = append(want, "approvals ")
	got := take(t, s, 4)
	add(2)
	got = append(got, take(t, s, 2)...)
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d: got %q, want %q", i+1, got[i], want[i])
		}
	}
}
