package segment_test

import (
	"bytes"
	"testing"

	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

const benchLines = 10_000

// scanned returns the lines of a segment and their fields.
func scanned(tb testing.TB, file []byte) (lines [][]byte, fields []record.Fields) {
	tb.Helper()
	for line := range bytes.Lines(file) {
		var f record.Fields
		line = bytes.TrimSuffix(line, []byte("\n"))
		if err := record.Scan(line, &f); err != nil {
			tb.Fatal(err)
		}
		lines, fields = append(lines, line), append(fields, f)
	}
	return lines, fields
}

func BenchmarkIndexAdd(b *testing.B) {
	file, _ := build(b, benchLines)
	lines, fields := scanned(b, file)
	var x *segment.Index
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 1) % len(lines) {
		if i == 0 {
			x = segment.NewIndex(1)
		}
		if err := x.Add(lines[i], &fields[i]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	_, x := build(b, benchLines)
	for name, wants := range map[string][]segment.Want{
		"one":    {{Field: segment.Agent, Values: []string{"a3"}}},
		"both":   {{Field: segment.Agent, Values: []string{"a3"}}, {Field: segment.Approval, Values: []string{"1"}}},
		"absent": {{Field: segment.Agent, Values: []string{"nobody"}}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if x.Select(wants) == nil {
					b.Fatal("any line")
				}
			}
		})
	}
}

func BenchmarkLine(b *testing.B) {
	file, x := build(b, benchLines)
	for name, next := range map[string]func(i int) int{
		"forwards":       func(i int) int { return i % benchLines },
		"backwards":      func(i int) int { return benchLines - 1 - i%benchLines },
		"here and there": func(i int) int { return i * 617 % benchLines },
	} {
		b.Run(name, func(b *testing.B) {
			l := segment.NewLines(bytes.NewReader(file), x.View())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := l.Line(next(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	file, x := build(b, benchLines)
	l := segment.NewLines(bytes.NewReader(file), x.View())
	b.ReportAllocs()
	for b.Loop() {
		if n, err := l.Search("01KD3V5F2R7WQX9Z4M8N012346"); err != nil || n != 6173 {
			b.Fatal(n, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	const n = 1000
	file, x := build(t, n)
	lines, fields := scanned(t, file)
	for i := range fields {
		fields[i].RunID = nil // every third line has a new one, and those allocations would hide the rest
	}
	if perLine := testing.AllocsPerRun(10, func() {
		x := segment.NewIndex(1)
		for i := range lines {
			if err := x.Add(lines[i], &fields[i]); err != nil {
				t.Fatal(err)
			}
		}
	}) / n; perLine > 0.5 {
		t.Errorf("Add: %v allocations for a line, want none but what the columns grow by", perLine)
	}
	l := segment.NewLines(bytes.NewReader(file), x.View())
	i := 0
	if got := testing.AllocsPerRun(2*n, func() {
		if _, err := l.Line(i * 617 % n); err != nil {
			t.Fatal(err)
		}
		i++
	}); got != 0 {
		t.Errorf("Line: %v allocations, want 0", got)
	}
}

func BenchmarkDecode(b *testing.B) {
	_, x := build(b, benchLines)
	data, err := x.Encode()
	if err != nil {
		b.Fatal(err)
	}
	r := bytes.NewReader(data)
	b.SetBytes(r.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := segment.Decode(r, r.Size()); err != nil {
			b.Fatal(err)
		}
	}
}
