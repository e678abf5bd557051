package sse_test

import (
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/sse"
)

// line is as long as a common event's.
var line = []byte(`{"id":"` + ulid + `","request":{"command":"` + strings.Repeat("x", 420) + `"}}`)

func BenchmarkAppendAudit(b *testing.B) {
	buf := make([]byte, 0, 1024)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sse.AppendAudit(buf, line, []byte(pos)); err != nil {
			b.Fatal(err)
		}
	}
}

// A stream with a filter cuts and parses each frame.
func BenchmarkCutParse(b *testing.B) {
	frame, err := sse.AppendAudit(nil, line, []byte(pos))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		one, _, _ := sse.Cut(frame)
		if _, ok := sse.Parse(one); !ok {
			b.Fatal("not a frame")
		}
	}
}

func TestAllocations(t *testing.T) {
	buf, id := make([]byte, 0, 1024), []byte(pos)
	frame, err := sse.AppendAudit(nil, line, id)
	if err != nil {
		t.Fatal(err)
	}
	hash := []byte(strings.Repeat("0b77c2e9", 8))
	for name, fn := range map[string]func(){
		"AppendAudit":    func() { sse.AppendAudit(buf, line, id) },
		"AppendBatch":    func() { sse.AppendBatch(buf, "run_01J9K8L7M6N5", id) },
		"AppendPosition": func() { sse.AppendPosition(buf, []byte(ulid), hash) },
		"Cut":            func() { sse.Cut(frame) },
		"Parse":          func() { sse.Parse(frame) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
