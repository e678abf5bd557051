package stream

import (
	"context"
	"testing"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

const messages = 100

// runOf returns a bus, and a run of audit messages from its memory.
func runOf(tb testing.TB) (*bus.Bus, framelog.Run) {
	tb.Helper()
	b := bus.New(bus.Options{})
	tb.Cleanup(func() { b.Close() })
	e := record.Event{
		Timestamp: "2026-03-03T10:15:30Z", Agent: "claude-code", Session: "myapp/main", Tool: "exec",
		Request: []byte(`{"command":"git status"}`), Action: "allow", MatchedPolicies: []string{"allow-git"},
	}
	body, _, err := e.AppendBody(nil)
	if err != nil {
		tb.Fatal(err)
	}
	const id = "01KD3V5F2R7WQX9Z4M8N6B1C0A"
	line, hash := record.AppendLine(nil, id, body, &ledger.ZeroHash)
	s, resume, err := b.Subscribe(tb.Context(), "0")
	if err != nil || resume != bus.OK {
		tb.Fatal(resume, err)
	}
	tb.Cleanup(s.Leave)
	for i := range messages {
		b.Announce([]ledger.Notice{{Kind: ledger.NoticeEvent, Seq: uint64(i + 1), ID: id, Hash: string(hash[:]), Line: line}})
	}
	for {
		run, _, err := s.Next(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		if len(run.Marks) > 0 {
			return b, run
		}
	}
}

var queries = []struct {
	name   string
	query  map[string][]string
	chosen uint64
}{
	{"none", nil, messages},
	{"type", map[string][]string{"type": {"audit"}}, messages},
	{"all", map[string][]string{"agent": {"claude-code"}, "type": {"audit"}}, messages},
	{"nothing", map[string][]string{"action": {"deny"}}, 0},
}

func TestFilterAllocatesNothing(t *testing.T) {
	b, run := runOf(t)
	if len(run.Marks) != messages {
		t.Fatalf("a run of %d messages, want %d", len(run.Marks), messages)
	}
	for _, q := range queries {
		f, err := parseFilter(q.query)
		if err != nil {
			t.Fatal(err)
		}
		if _, counts, err := f.apply(t.Context(), b, run); counts[bus.KindAudit] != q.chosen || err != nil {
			t.Fatalf("%s: %d chosen, want %d, %v", q.name, counts[bus.KindAudit], q.chosen, err)
		}
		if got := testing.AllocsPerRun(20, func() { f.apply(context.Background(), b, run) }); got != 0 {
			t.Errorf("%s: %v allocations for %d messages, want 0", q.name, got, messages)
		}
	}
}

// Each filtered stream goes over each chunk like this.
func BenchmarkFilter(b *testing.B) {
	from, run := runOf(b)
	for _, q := range queries {
		b.Run(q.name, func(b *testing.B) {
			f, err := parseFilter(q.query)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := f.apply(context.Background(), from, run); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(run.Marks))/b.Elapsed().Seconds(), "events/s")
		})
	}
}
