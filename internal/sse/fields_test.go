package sse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	r3labs "github.com/r3labs/sse/v2"

	"github.com/rampartlog/rampart/internal/heaptest"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// message is a message as a client sees it. ID is the last event id: the
// message's own or, if it has none, the one of the message before.
type message struct{ Data, ID string }

// interpret reads a stream by the rules of WHATWG HTML 9.2.6. others are the
// fields besides data and id; there must be none.
func interpret(stream string) (got []message, others []string) {
	stream = strings.ToValidUTF8(stream, "\ufffd")
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream)
	data, id := "", ""
	for line := range strings.Lines(stream) {
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			if data != "" {
				got = append(got, message{strings.TrimSuffix(data, "\n"), id})
			}
			data = ""
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "data":
			data += value + "\n"
		case name == "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		case name != "": // a comment
			others = append(others, line)
		}
	}
	return got, others
}

// pieces is a transport that answers every request with stream, in reads of at
// most n bytes.
type pieces struct {
	stream []byte
	n      int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b, p.stream[:min(p.n, len(p.stream))])
	if p.stream = p.stream[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *pieces) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(p), Request: r}, nil
}

// once lets r3labs/sse connect once.
type once struct{}

func (once) NextBackOff() time.Duration { return -1 }
func (once) Reset()                     {}

func readR3labs(stream []byte, n int) (got []message, others []string) {
	c := r3labs.NewClient("http://rampart/")
	c.Connection = &http.Client{Transport: &pieces{stream, n}}
	c.ReconnectStrategy = once{}
	_ = c.SubscribeRawWithContext(context.Background(), func(m *r3labs.Event) {
		if len(m.Event)+len(m.Retry)+len(m.Comment) > 0 {
			others = append(others, fmt.Sprintf("%+v", m))
		}
		if len(m.Data) > 0 {
			got = append(got, message{string(m.Data), string(m.ID)})
		}
	})
	return got, others
}

// For any strings in events, runs and ids, and however the bytes arrive, clients
// read back exactly the messages that were written.
func FuzzFields(f *testing.F) {
	f.Add(`{"id":"x"}`, "run_01", pos, uint8(7))
	for _, s := range []string{
		"a\n\ndata: {}\n\n", "a\r\rdata: {}\r\r", "\r\nid: 0\r\n\r\n", "\x00", "\u2028\u2029\u0085", "\ufeff", ": comment", "event: x", "retry: 1", "\xff\xfe",
		"\"}\n", `\n\n`, "\x1b[2J", " ", "", "\v\f\n\f", strings.Repeat("x", 300),
	} {
		f.Add(s, s, s, uint8(len(s)))
		f.Add(`{"a":"`+s+`"}`, s+"run", pos+s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, line, run, id string, n uint8) {
		want := []message{{`{"type":"connected"}`, ""}}
		var stream []byte
		heaptest.Bound(t, len(line)+len(run)+len(id), func() {
			stream = sse.AppendConnected(stream[:0], []byte(id))
			stream = append(stream, sse.Keepalive...)
			out, err := sse.AppendAudit(stream, []byte(line), []byte(pos))
			if refused := strings.ContainsAny(line, "\r\n"); refused != errors.Is(err, sse.ErrLineBreak) || !refused && err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			stream = append(sse.AppendBatch(out, run, []byte(pos)), sse.Approvals...)
		})
		broken := strings.ContainsAny(id, "\r\n\x00")
		if !broken {
			want[0].ID = id
		} else if sse.ValidID(id) {
			t.Fatalf("%q is a valid id", id)
		}
		if !strings.ContainsAny(line, "\r\n") {
			want = append(want, message{`{"type":"audit","event":` + line + `}`, pos})
		}
		value, err := record.AppendString(nil, run)
		if err != nil {
			value = []byte(`""`)
		}
		want = append(want, message{`{"type":"audit_batch","run_id":` + string(value) + `}`, pos}, message{`{"type":"approvals"}`, pos})

		// A stored line is UTF-8, and an id as well; r3labs/sse takes any bytes.
		got, others := interpret(string(stream))
		if utf8.ValidString(line) && utf8.ValidString(id) {
			if id[:min(1, len(id))] == " " && len(others) == 0 { // the standard drops the space; such an id is not valid
				want[0].ID = got[0].ID
			}
			if diff := cmp.Diff(want, got); diff != "" || others != nil {
				t.Errorf("by the standard, fields %q (-want +got):\n%s", others, diff)
			}
		}
		if sse.ValidID(id) || broken { // r3labs/sse may alter other ids
			got, others = readR3labs(bytes.Clone(stream), max(1, int(n)))
			if !slices.Equal(want, got) || others != nil {
				t.Errorf("r3labs/sse, %q:\n%s", others, cmp.Diff(want, got))
			}
		}
	})
}
