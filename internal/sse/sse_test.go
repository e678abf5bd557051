package sse_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/sse"
)

const (
	ulid = "01KD3V5F2R7WQX9Z4M8N6B1C0A"
	pos  = ulid + ".0b77c2e91d3fa604"
)

func TestFrames(t *testing.T) {
	audit, err := sse.AppendAudit(nil, []byte(`{"id":"x"}`), []byte(pos))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, got, want string
	}{
		{"connected", string(sse.AppendConnected(nil, []byte("0"))), "data: {\"type\":\"connected\"}\nid: 0\n\n"},
		{"connected without id", string(sse.AppendConnected(nil, nil)), "data: {\"type\":\"connected\"}\n\n"},
		{"approvals", sse.Approvals, "data: {\"type\":\"approvals\"}\n\n"},
		{"audit", string(audit), "data: {\"type\":\"audit\",\"event\":{\"id\":\"x\"}}\nid: " + pos + "\n\n"},
		{"audit_batch", string(sse.AppendBatch(nil, "run_01", []byte(pos))), "data: {\"type\":\"audit_batch\",\"run_id\":\"run_01\"}\nid: " + pos + "\n\n"},
		{"audit_batch without run", string(sse.AppendBatch(nil, "", []byte(pos))), "data: {\"type\":\"audit_batch\",\"run_id\":\"\"}\nid: " + pos + "\n\n"},
		{"keepalive", sse.Keepalive, ": keepalive\n\n"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestNothingBreaksOutOfItsLine(t *testing.T) {
	dst := []byte("before")
	for _, line := range []string{"{}\n\ndata: {}", "{}\r\rdata: {}"} {
		got, err := sse.AppendAudit(dst, []byte(line), []byte(pos))
		if !errors.Is(err, sse.ErrLineBreak) || string(got) != "before" {
			t.Errorf("AppendAudit(%q) = %q, %v", line, got, err)
		}
	}
	for _, run := range []string{"a\n\ndata: x", "a\rdata: x", "\"},\"", "\xff", strings.Repeat("r", sse.MaxFrame)} {
		frame, rest, ok := sse.Cut(sse.AppendBatch(nil, run, []byte(pos)))
		if f, parsed := sse.Parse(frame); !ok || len(rest) > 0 || !parsed || string(f.ID) != pos || len(frame) > sse.MaxFrame || bytes.IndexByte(frame, '\r') >= 0 {
			t.Errorf("run id %.20q makes %.80q", run, frame)
		}
	}
	for _, id := range []string{"a\nb", "a\rb", "a\x00b"} {
		if got := string(sse.AppendConnected(nil, []byte(id))); got != "data: {\"type\":\"connected\"}\n\n" {
			t.Errorf("id %q makes %q", id, got)
		}
	}
}

func TestLongestFrame(t *testing.T) {
	line := []byte(`{"a":"` + strings.Repeat("x", sse.MaxFrame) + `"}`)
	frame := func(n int) ([]byte, error) { return sse.AppendAudit(nil, line[:n], []byte(pos)) }
	small, _ := frame(100)
	n := 100 + sse.MaxFrame - len(small)
	if got, err := frame(n); err != nil || len(got) != sse.MaxFrame {
		t.Errorf("a frame of %d bytes: %d, %v", sse.MaxFrame, len(got), err)
	}
	if _, err := frame(n + 1); !errors.Is(err, sse.ErrTooLong) {
		t.Errorf("one byte more: %v, want ErrTooLong", err)
	}
}

func TestParsePosition(t *testing.T) {
	for _, tc := range []struct {
		in, id, hash string
		ok           bool
	}{
		{"0", "", "", true},
		{ulid, ulid, "", true},
		{pos, ulid, "0b77c2e91d3fa604", true},
		{"7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "", true},
		{in: ""}, {in: "00"}, {in: "1"}, {in: "0.0b77c2e91d3fa604"},
		{in: ulid + "."}, {in: pos + "0"}, {in: pos[:len(pos)-1]}, {in: pos + "." + pos},
		{in: strings.ToLower(ulid)}, {in: ulid[:25]}, {in: ulid + "0"},
		{in: strings.ToUpper(pos)}, {in: ulid + ".0b77c2e91d3fa60g"},
		{in: "81KD3V5F2R7WQX9Z4M8N6B1C0A"}, // more than 128 bits
		{in: "01KD3V5F2R7WQX9Z4M8N6B1C0U"}, {in: "01KD3V5F2R7WQX9Z4M8N6B1C0I"},
		{in: " " + pos}, {in: pos + "\n"},
	} {
		id, hash, ok := sse.ParsePosition(tc.in)
		if id != tc.id || hash != tc.hash || ok != tc.ok {
			t.Errorf("ParsePosition(%q) = %q, %q, %v", tc.in, id, hash, ok)
		}
	}
}

func TestAppendPosition(t *testing.T) {
	if got := string(sse.AppendPosition(nil, ulid, "0b77c2e91d3fa604ffff")); got != pos {
		t.Errorf("got %q, want %q", got, pos)
	}
	if got := string(sse.AppendPosition(nil, "", "")); got != sse.Start {
		t.Errorf("before the first event: %q", got)
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"": false, "a": true, "a b": true, "ä": true, " a": false, "a ": false, "a\tb": false, "a\x7f": false, "\xff": false,
		strings.Repeat("x", sse.MaxID): true, strings.Repeat("x", sse.MaxID+1): false,
	} {
		if sse.ValidID(id) != want {
			t.Errorf("ValidID(%q) = %v", id, !want)
		}
	}
}

func TestParseRefusesWhatItDidNotWrite(t *testing.T) {
	for _, frame := range []string{
		"", "\n", "\n\n", sse.Keepalive, "data: {}\n\n", "data: {\"type\":\"audit\"}\n\n", "data: {\"type\":\"other\"}\n\n",
		"id: 1\ndata: {\"type\":\"approvals\"}\n\n", "data: {\"type\":\"approvals\"}\nid: \n\n",
		"data: {\"type\":\"approvals\"}\nretry: 1\n\n", "data: {\"type\":\"approvals\"}\n",
		"data: {\"type\":\"audit_batch\",\"run_id\":1}\n\n",
	} {
		if f, ok := sse.Parse([]byte(frame)); ok {
			t.Errorf("Parse(%q) = %+v", frame, f)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add(pos)
	f.Add("0")
	f.Fuzz(func(t *testing.T, s string) {
		id, hash, ok := sse.ParsePosition(s)
		if !ok {
			return
		}
		if got := string(sse.AppendPosition(nil, id, hash)); hash != "" && got != s || hash == "" && s != id && s != sse.Start {
			t.Errorf("%q parses to %q, %q and formats to %q", s, id, hash, got)
		}
	})
}

// Parsing a frame gives back what was written into it, and cutting arbitrary
// bytes into frames loses none of them.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"id":"x"}`), "run_01", []byte(sse.Approvals+"data: "))
	f.Add([]byte("{}\n\n"), "\"\\\n", []byte("\n\n\n\n"))
	f.Fuzz(func(t *testing.T, line []byte, run string, arbitrary []byte) {
		out, err := sse.AppendAudit(nil, line, []byte(pos))
		if err == nil {
			frame, rest, ok := sse.Cut(out)
			got, parsed := sse.Parse(frame)
			if !ok || len(rest) > 0 || !parsed || got.Type != "audit" || !bytes.Equal(got.Event, line) || string(got.ID) != pos {
				t.Errorf("line %q makes %q", line, out)
			}
		}
		out = sse.AppendBatch(nil, run, []byte(pos))
		frame, rest, ok := sse.Cut(out)
		if got, parsed := sse.Parse(frame); !ok || len(rest) > 0 || !parsed || got.Type != "audit_batch" {
			t.Errorf("run id %q makes %q", run, out)
		}
		var joined []byte
		rest = arbitrary
		for {
			if frame, rest, ok = sse.Cut(rest); !ok {
				break
			}
			joined = append(joined, frame...)
			sse.Parse(frame)
		}
		if !bytes.Equal(append(joined, rest...), arbitrary) {
			t.Errorf("%q is cut to %q", arbitrary, joined)
		}
	})
}
