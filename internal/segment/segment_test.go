package segment_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/segment"
)

func TestNames(t *testing.T) {
	if got := segment.Name(131073); got != "00000000000000131073.jsonl" {
		t.Error(got)
	}
	if got := segment.IndexName(1); got != "00000000000000000001.idx" {
		t.Error(got)
	}
	for name, want := range map[string]uint64{
		"00000000000000131073.jsonl": 131073, "18446744073709551615.jsonl": 1<<64 - 1,
		"00000000000000000000.jsonl": 0, "1.jsonl": 0, "00000000000000131073.idx": 0, "0000000000000013107a.jsonl": 0,
		"00000000000000131073.jsonl.tmp": 0, "99999999999999999999.jsonl": 0, "": 0, "+0000000000000131073.jsonl": 0,
	} {
		if got, ok := segment.ParseName(name); got != want && ok || ok != (want > 0) {
			t.Errorf("%q: %d %v, want %d", name, got, ok, want)
		}
	}
}

// build makes a segment of n lines and its index.
func build(t testing.TB, n int) ([]byte, *segment.Index) {
	t.Helper()
	x := segment.NewIndex(5)
	var file []byte
	prev := [64]byte([]byte(strings.Repeat("0", 64)))
	var f record.Fields
	for i := range n {
		e := record.Event{
			Timestamp: fmt.Sprintf("2026-03-%02dT10:15:%02d.5Z", 1+i/40%28, i%60), Agent: fmt.Sprint("a", i%7), Tool: "exec", Action: "allow",
			Message: strings.Repeat("x", i%300),
		}
		if i%3 == 0 {
			e.RunID = fmt.Sprint("run", i)
		}
		if i%10 == 0 {
			e.Approval = []byte(`{"status":"pending"}`)
		}
		body, _, err := e.AppendBody(nil)
		if err != nil {
			t.Fatal(err)
		}
		var line []byte
		line, prev = record.AppendLine(nil, fmt.Sprintf("01KD3V5F2R7WQX9Z4M8N%06d", 2*i), body, &prev)
		if err := record.Scan(line, &f); err != nil {
			t.Fatal(err)
		}
		if err := x.Add(line, &f); err != nil {
			t.Fatal(err)
		}
		file = append(append(file, line...), '\n')
	}
	return file, x
}

func TestLinesAreFoundInEveryOrder(t *testing.T) {
	file, x := build(t, 1000)
	want := strings.Split(string(file), "\n")
	l := segment.NewLines(bytes.NewReader(file), x.View())
	for _, order := range []func(i int) int{
		func(i int) int { return i }, func(i int) int { return 999 - i }, func(i int) int { return i * 617 % 1000 },
	} {
		for i := range 1000 {
			n := order(i)
			got, err := l.Line(n)
			if err != nil || string(got) != want[n] {
				t.Fatalf("line %d: %q %v", n, got, err)
			}
		}
	}
	for i := range 2000 {
		id := fmt.Sprintf("01KD3V5F2R7WQX9Z4M8N%06d", i)
		if n, err := l.Search(id); err != nil || n != (i+1)/2 {
			t.Fatalf("%s at %d, want %d: %v", id, n, (i+1)/2, err)
		}
	}
}

func TestEachReadsBlockByBlock(t *testing.T) {
	long := strings.Repeat("y", 700<<10)
	file := []byte("a\n\n" + long + "\nb\n")
	var got []string
	err := segment.Each(bytes.NewReader(file), 0, int64(len(file)), func(off int64, line []byte) bool {
		if string(file[off:off+int64(len(line))]) != string(line) {
			t.Errorf("offset %d is not that of %.20q", off, line)
		}
		got = append(got, string(line))
		return true
	})
	if d := cmp.Diff([]string{"a", "", long, "b"}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if err := segment.Each(strings.NewReader("a\nb"), 0, 3, func(int64, []byte) bool { return true }); err != io.ErrUnexpectedEOF {
		t.Errorf("unterminated: %v", err)
	}
}

func TestSidecarGivesBackTheIndex(t *testing.T) {
	_, x := build(t, 5000)
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := segment.Decode(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(x.Head(), got.Head()); d != "" {
		t.Error(d)
	}
	for _, w := range []segment.Want{
		{Field: segment.Agent, Values: []string{"a3", "a5"}}, {Field: segment.Action, Values: []string{"deny"}},
		{Field: segment.RunID, Values: []string{"run9"}}, {Field: segment.Approval, Values: []string{"1"}},
	} {
		a, b := x.Select([]segment.Want{w}), got.Select([]segment.Want{w})
		if !a.Equals(b) {
			t.Errorf("%v: %v, decoded %v", w, a, b)
		}
	}
	if n := x.Select([]segment.Want{{Field: segment.Agent, Values: []string{"a3"}}}).GetCardinality(); n != 714 {
		t.Errorf("%d lines of a3", n)
	}
}

func TestIndexIsReadWhileLinesAreAdded(t *testing.T) {
	const n = 1000
	file, _ := build(t, n)
	lines, fields := scanned(t, file)
	x := segment.NewIndex(5)
	go func() {
		for i := range lines {
			if err := x.Add(lines[i], &fields[i]); err != nil {
				t.Error(err)
			}
			runtime.Gosched()
		}
	}()
	wants := []segment.Want{{Field: segment.Agent, Values: []string{"a3"}}, {Field: segment.RunID, Values: []string{""}}}
	for count := 0; count < n; {
		count = int(x.View().Count)
		var want []int
		for i := range count {
			if i%7 == 3 && i%3 != 0 {
				want = append(want, i)
			}
		}
		if got := x.Select(wants).Append(nil, 0, count); !slices.Equal(got, want) {
			t.Fatalf("of %d lines %v, want %v", count, got, want)
		}
	}
}

// A log that is opened again goes on with the decoded index of its last segment.
func TestDecodedIndexTakesFurtherLines(t *testing.T) {
	const n = 1000 // 334 run ids: more than one byte can number
	file, x := build(t, n)
	lines, fields := scanned(t, file)
	for _, cut := range []int{1, 2, 700, 999} {
		got := segment.NewIndex(5)
		for i := range lines {
			if i == cut {
				data, err := got.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if got, err = segment.Decode(bytes.NewReader(data), int64(len(data))); err != nil {
					t.Fatal(err)
				}
			}
			if err := got.Add(lines[i], &fields[i]); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(x.Head(), got.Head()); d != "" {
			t.Errorf("cut at %d: %s", cut, d)
		}
		for _, w := range [][]segment.Want{
			{{Field: segment.Agent, Values: []string{"a3"}}}, {{Field: segment.RunID, Values: []string{"", "run9"}}},
			{{Field: segment.RunID, Values: []string{"run3"}}}, {{Field: segment.RunID, Values: []string{"run999"}}},
			{{Field: segment.Approval, Values: []string{"1"}}, {Field: segment.Agent, Values: []string{"a2", "a1"}}},
		} {
			want, have := x.Select(w), got.Select(w)
			if want.GetCardinality() == 0 || !want.Equals(have) {
				t.Errorf("cut at %d, %v: %d lines, want %d", cut, w, have.GetCardinality(), want.GetCardinality())
			}
		}
	}
}

func TestValuesAgreeWithTheIndex(t *testing.T) {
	for _, n := range []int{5000, 13000} { // 13000 lines have too many run ids to index them
		_, x := build(t, n)
		data, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(data)
		v, err := segment.DecodeValues(r, r.Size(), x.Head())
		if err != nil {
			t.Fatal(err)
		}
		for _, wants := range [][]segment.Want{
			nil,
			{{Field: segment.Agent, Values: []string{"a3"}}},
			{{Field: segment.Agent, Values: []string{"a8"}}},
			{{Field: segment.Agent, Values: []string{"a8", "a3"}}, {Field: segment.Action, Values: []string{"allow"}}},
			{{Field: segment.Agent, Values: []string{"a3"}}, {Field: segment.Action, Values: []string{"deny"}}},
			{{Field: segment.Tool, Values: []string{"a3"}}},
			{{Field: segment.RunID, Values: []string{"run9"}}},
			{{Field: segment.RunID, Values: []string{"run10"}}},
			{{Field: segment.RunID, Values: []string{""}}},
			{{Field: segment.Approval, Values: []string{"1"}}},
		} {
			sel := x.Select(wants)
			if got, want := v.May(wants), sel == nil || !sel.IsEmpty(); got != want {
				t.Errorf("%d lines, %v: may %v, the index says %v", n, wants, got, want)
			}
		}
		other := x.Head()
		other.Count++
		if _, err := segment.DecodeValues(r, r.Size(), other); err == nil {
			t.Error("took the values of another segment")
		}
		for i := range data[:len(data)/50] {
			data[i] ^= 1
			if got, err := segment.DecodeValues(bytes.NewReader(data), int64(len(data)), x.Head()); err == nil && !cmp.Equal(got, v, cmp.AllowUnexported(segment.Values{})) {
				t.Errorf("byte %d changed: other values", i)
			}
			data[i] ^= 1
		}
	}
}

// A field with very many values is not indexed, so that the index stays small;
// every line is then a candidate.
func TestFieldWithTooManyValuesIsNotIndexed(t *testing.T) {
	_, x := build(t, 13000) // 4334 run ids
	if s := x.Select([]segment.Want{{Field: segment.RunID, Values: []string{"run9"}}}); s != nil {
		t.Errorf("chose %v", s)
	}
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := segment.Decode(bytes.NewReader(data), int64(len(data)))
	if err != nil || got.Select([]segment.Want{{Field: segment.RunID, Values: []string{"run9"}}}) != nil {
		t.Error(err)
	}
}

// A sparse file can claim any length for free. Decode once read all of it into
// memory after checking only the head, which ended the process.
func TestHugeSidecarIsRefused(t *testing.T) {
	_, x := build(t, 100)
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const huge = 1 << 43
	if _, err := segment.Decode(bytes.NewReader(segment.Claim(data, huge)), huge); err == nil {
		t.Error("decoded")
	}
}

// sidecars returns sidecars of small and large segments: with one value in a
// field, with a few, and with more than one byte can number.
func sidecars(t testing.TB) (out [][]byte) {
	t.Helper()
	for _, n := range []int{1, 9, 100, 1000} {
		_, x := build(t, n)
		data, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// For any bytes, decoding returns either an error or an index that is safe to
// use and that survives encoding and decoding unchanged.
func FuzzDecode(f *testing.F) {
	for _, data := range sidecars(f) {
		f.Add(data)
	}
	odd := sidecars(f)[1] // ids of more bytes than characters were once encoded too long
	copy(odd[8+3*8:], strings.Repeat("é", 13))
	f.Add(odd)
	f.Fuzz(func(t *testing.T, data []byte) {
		wants := []segment.Want{{Field: segment.Agent, Values: []string{"a1"}}, {Field: segment.RunID, Values: []string{"run3", "run900", ""}}}
		r := bytes.NewReader(segment.Seal(data))
		var x *segment.Index
		var err error
		heaptest.Bound(t, len(data), func() {
			if h, err := segment.DecodeHead(r, r.Size()); err == nil {
				if v, err := segment.DecodeValues(r, r.Size(), h); err == nil {
					v.May(wants)
				}
			}
			x, err = segment.Decode(r, r.Size())
		})
		if err != nil {
			return
		}
		first, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := segment.Decode(bytes.NewReader(first), int64(len(first)))
		if err != nil {
			t.Fatalf("what was decoded is not, once written again: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) || x.Head() != again.Head() {
			t.Fatalf("written again it is another index: %+v, %+v, %v", x.Head(), again.Head(), err)
		}
		v := x.View()
		if v.Size > 1<<16 { // the file below is shorter; a log refuses such an index
			return
		}
		l := segment.NewLines(bytes.NewReader(make([]byte, 1<<16)), v)
		for i := range min(int(v.Count), 100) {
			l.Line(i)
			v.InTime(i, 0, 1, true)
		}
		l.Search("01KD3V5F2R7WQX9Z4M8N000050")
		if s := x.Select(wants); s != nil {
			s.Append(nil, 0, int(v.Count))
		}
	})
}

// Each number, at every offset of a sidecar, may claim more than the sidecar holds.
func TestSidecarThatClaimsTooMuch(t *testing.T) {
	claims := []uint32{1, 1 << 12, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	for _, good := range sidecars(t)[:3] {
		for i := 8; i+8 <= len(good); i++ {
			for _, n := range claims {
				data := bytes.Clone(good)
				binary.LittleEndian.PutUint32(data[i:], n)
				if i%2 == 0 {
					binary.LittleEndian.PutUint32(data[i+4:], n)
				}
				r := bytes.NewReader(segment.Seal(data))
				heaptest.Bound(t, len(data), func() {
					if h, err := segment.DecodeHead(r, r.Size()); err == nil {
						segment.DecodeValues(r, r.Size(), h)
					}
					segment.Decode(r, r.Size())
				})
				if t.Failed() {
					t.Fatalf("%d at byte %d", n, i)
				}
			}
		}
	}
}
