package rampart_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

func TestAppendReturnsWhatIsStored(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	code := -1
	full := rampart.AuditEvent{
		Timestamp: time.Date(2026, 3, 3, 11, 15, 30, 5000, time.FixedZone("", 3600)),
		Agent:     "a \"quoted\" \u202e name", Session: "s\n", RunID: "r", ToolCallID: "t", Tool: "exec",
		Request: json.RawMessage(" { \"a\" : [ 1.0 , 1e400 , 9007199254740993, -0 ] , \"<b>\" : \"\\u003c\\ud800 \u2028 \\/\" } "),
		Decision: rampart.Decision{Action: "deny", MatchedPolicies: []string{"p1", "p2"}, EvaluationTimeUS: 1,
			Message: "no", Suggestions: []string{"try less"}},
		Response: &rampart.Response{ExitCode: &code, DurationMS: 12, Flags: []string{"f"}},
	}
	for _, e := range []rampart.AuditEvent{full, {Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "watch"}}} {
		saved, err := c.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Get(t.Context(), saved.ID)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := r.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(saved, stored); d != "" {
			t.Errorf("saved, stored: %s", d)
		}
		if !json.Valid(r) {
			t.Errorf("not JSON: %s", r)
		}
	}
	r := all(t, c, rampart.Query{Ascending: true})[0]
	want := `"request":{"a":[1.0,1e400,9007199254740993,-0],"<b>":"\u003c\ud800 ` + "\u2028" + ` \/"}`
	if !strings.Contains(r, want) {
		t.Errorf("request not byte for byte:\n got %s\nwant %s", r, want)
	}
	if !strings.Contains(r, `"timestamp":"2026-03-03T10:15:30.000005Z"`) {
		t.Errorf("timestamp not in UTC: %s", r)
	}
}

func TestInvalidEventsAreRefusedAndNothingIsStored(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, nil)
	deep := strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)
	tests := map[string]struct {
		change func(*rampart.AuditEvent)
		want   string
	}{
		"no tool":          {func(e *rampart.AuditEvent) { e.Tool = "" }, "tool is required"},
		"no agent":         {func(e *rampart.AuditEvent) { e.Agent = "" }, "agent is required"},
		"no action":        {func(e *rampart.AuditEvent) { e.Decision.Action = "" }, "lower-case word"},
		"upper case":       {func(e *rampart.AuditEvent) { e.Decision.Action = "Allow" }, "lower-case word"},
		"id":               {func(e *rampart.AuditEvent) { e.ID = "x" }, "given by the log"},
		"hash":             {func(e *rampart.AuditEvent) { e.Hash = "x" }, "given by the log"},
		"approval":         {func(e *rampart.AuditEvent) { e.Approval = json.RawMessage(`{}`) }, "approvals queue alone"},
		"array":            {func(e *rampart.AuditEvent) { e.Request = json.RawMessage(`[]`) }, "request"},
		"cut off":          {func(e *rampart.AuditEvent) { e.Request = json.RawMessage(`{"a":`) }, "request"},
		"doubled":          {func(e *rampart.AuditEvent) { e.Request = json.RawMessage(`{"a":1,"\u0061":2}`) }, "request"},
		"too deep":         {func(e *rampart.AuditEvent) { e.Request = json.RawMessage(deep) }, "request"},
		"UTF-8 in request": {func(e *rampart.AuditEvent) { e.Request = json.RawMessage("{\"a\":\"\xff\"}") }, "request"},
		"UTF-8 in agent":   {func(e *rampart.AuditEvent) { e.Agent = "\xff" }, "agent"},
		"year":             {func(e *rampart.AuditEvent) { e.Timestamp = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "year"},
		"negative":         {func(e *rampart.AuditEvent) { e.Decision.EvaluationTimeUS = -1 }, "negative"},
		"too large":        {func(e *rampart.AuditEvent) { e.Decision.Message = strings.Repeat("x", 1<<20) }, "1048576"},
	}
	for name, tt := range tests {
		e := event(0)
		tt.change(&e)
		_, err := c.AppendAll(t.Context(), []rampart.AuditEvent{event(1), e})
		if !errors.Is(err, rampart.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "event 2") {
			t.Errorf("%s: %v, want ErrInvalid about event 2 and %q", name, err, tt.want)
		}
	}
	if got := all(t, c, rampart.Query{}); len(got) != 0 {
		t.Errorf("stored %d events", len(got))
	}
	if _, err := c.Append(t.Context(), event(1)); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func TestLargestEventFits(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	e := event(0)
	saved, err := c.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get(t.Context(), saved.ID)
	if err != nil {
		t.Fatal(err)
	}
	e.Decision.Message += strings.Repeat("x", 1<<20-len(r))
	if saved, err = c.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if r, err = c.Get(t.Context(), saved.ID); err != nil || len(r) != 1<<20 {
		t.Errorf("%d bytes, %v", len(r), err)
	}
	e.Decision.Message += "x"
	if _, err = c.Append(t.Context(), e); !errors.Is(err, rampart.ErrInvalid) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestRecordEmbedsInJSONAsItIs(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	e := event(0)
	e.Request = json.RawMessage(`{"a":1.0}`)
	saved, err := c.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get(t.Context(), saved.ID)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(r)
	if err != nil || !bytes.Equal(out, r) {
		t.Errorf("%s %v", out, err)
	}
	if _, err := rampart.Record(`{"id":"x"}`).Event(); err == nil {
		t.Error("decoded what is no stored line")
	}
}
