package record_test

import (
	"testing"

	"github.com/rampartlog/rampart/internal/record"
)

// sample makes a line of 487 bytes.
func sample() record.Event {
	return record.Event{
		Timestamp:        "2026-03-03T10:15:30.123456Z",
		Agent:            "claude-code",
		Session:          "myapp/main",
		RunID:            "run_01J9K8L7M6N5",
		Tool:             "exec",
		Request:          []byte(`{"command":"git log --oneline internal\n","path":"/home"}`),
		Action:           "allow",
		MatchedPolicies:  []string{"allow-git"},
		EvaluationTimeUS: 8,
		Message:          "git",
	}
}

func BenchmarkAppendBody(b *testing.B) {
	e := sample()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.AppendBody(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendLine(b *testing.B) {
	e := sample()
	body, _, err := e.AppendBody(nil)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	line, hash := record.AppendLine(nil, id1, body, &zeros)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		_, hash = record.AppendLine(buf, id1, body, &hash)
	}
}

func BenchmarkScan(b *testing.B) {
	line := appendLine(b, sample())
	var f record.Fields
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := record.Scan(line, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	line := appendLine(b, sample())
	var hash [64]byte
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		record.Sum(line, &hash)
	}
}

func BenchmarkCompact(b *testing.B) {
	src := appendLine(b, sample())
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.AppendCompact(buf, src); err != nil {
			b.Fatal(err)
		}
	}
}
