package rampart_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

func TestOpenMakesTheBusItself(t *testing.T) {
	bus := newBus(t, nil)
	_, err := rampart.Open(t.TempDir(), &rampart.Options{Audit: rampart.AuditOptions{Bus: bus}})
	wantErr(t, "a bus of the caller's", err, rampart.ErrInvalid)
	if err := bus.Publish(rampart.Event{Type: rampart.TypeAuditBatch, ID: "1"}); err != nil {
		t.Errorf("the bus was taken nevertheless: %v", err)
	}
}

// A host that passes messages on as JSON got an error for those without a record.
func TestEventAsJSON(t *testing.T) {
	for _, e := range []rampart.Event{
		{Type: rampart.TypeConnected, ID: "0"},
		{Type: rampart.TypeApprovals},
		{Type: rampart.TypeAuditBatch, ID: "a.b", RunID: "run_1"},
		{Type: rampart.TypeAudit, ID: "a.b", Record: rampart.Record(`{"id":"a"}`)},
	} {
		data, err := json.Marshal(e)
		if err != nil {
			t.Errorf("%s: %v", e.Type, err)
			continue
		}
		var back rampart.Event
		if err := json.Unmarshal(data, &back); err != nil {
			t.Errorf("%s: %s: %v", e.Type, data, err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("%s: %s comes back as (-want +got):\n%s", e.Type, data, diff)
		}
	}
}

func TestRecordAsJSON(t *testing.T) {
	for _, c := range []struct{ record, data string }{
		{`{"n":1.0,"s":"\u00e9"}`, `{"n":1.0,"s":"\u00e9"}`}, // no number is rounded, no character escaped anew
		{"", "null"},
	} {
		r := rampart.Record(c.record)
		if c.record == "" {
			r = nil
		}
		data, err := json.Marshal(struct{ R rampart.Record }{r})
		if err != nil || string(data) != `{"R":`+c.data+`}` {
			t.Errorf("%q as JSON: %s, %v", c.record, data, err)
		}
		back := struct{ R rampart.Record }{rampart.Record("before")}
		if err := json.Unmarshal(data, &back); err != nil || string(back.R) != c.record || (back.R == nil) != (r == nil) {
			t.Errorf("%s comes back as %q, %v", data, back.R, err)
		}
	}
}

// AppendJSON makes what the route takes, and refuses what the chain refuses.
func TestAppendJSON(t *testing.T) {
	c := openChain(t, t.TempDir(), nil)
	e := event(1)
	saved, err := c.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.AppendJSON([]byte("before "))
	if err != nil {
		t.Fatal(err)
	}
	var back rampart.AuditEvent
	if err := json.Unmarshal(data[len("before "):], &back); err != nil {
		t.Fatal(err)
	}
	want := saved
	want.ID, want.PrevHash, want.Hash = "", "", ""
	if diff := cmp.Diff(want, back); diff != "" || string(data[:7]) != "before " {
		t.Errorf("%s (-want +got):\n%s", data, diff)
	}
	for name, change := range map[string]func(*rampart.AuditEvent){
		"an id":       func(e *rampart.AuditEvent) { e.ID = saved.ID },
		"an approval": func(e *rampart.AuditEvent) { e.Approval = json.RawMessage(`{}`) },
		"no tool":     func(e *rampart.AuditEvent) { e.Tool = "" },
		"no UTF-8":    func(e *rampart.AuditEvent) { e.Session = "\xff" },
		"too long":    func(e *rampart.AuditEvent) { e.Session = string(make([]byte, 1<<20)) },
	} {
		bad := event(1)
		change(&bad)
		data, err := bad.AppendJSON([]byte("before"))
		if !errors.Is(err, rampart.ErrInvalid) || string(data) != "before" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if _, err := c.Append(t.Context(), bad); !errors.Is(err, rampart.ErrInvalid) {
			t.Errorf("%s: the chain says %v", name, err)
		}
	}
}
