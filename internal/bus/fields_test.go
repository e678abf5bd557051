package bus_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/record"
)

// TestFieldsOf wants the same fields of a stored line and of one that a host laid
// out by itself, and none of what a filter can't read.
func TestFieldsOf(t *testing.T) {
	e := record.Event{
		Timestamp: "2026-03-03T10:15:30Z", Agent: "claude-code", Session: "a/b", RunID: "run", Tool: "exec\n", Action: "allow",
	}
	body, _, err := e.AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	var zero [64]byte
	for i := range zero {
		zero[i] = '0'
	}
	stored, _ := record.AppendLine(nil, "01KJSK45EG0000000003ENWD53", body, &zero)
	type fields struct{ Agent, Session, RunID, Tool, Action string }
	all := fields{"claude-code", "a/b", "run", "exec\n", "allow"}
	for name, c := range map[string]struct {
		line string
		want fields
	}{
		"stored":            {string(stored), all},
		"a host's own":      {`{ "decision": {"action": "allow"}, "tool": "exec\u000a", "run_id": "run", "session": "a\/b", "agent": "claude-code", "n": 1 }`, all},
		"of no such fields": {`{"n":1}`, fields{}},
		"of other kinds":    {`{"agent":7,"session":null,"run_id":["run"],"tool":{},"decision":{"action":true}}`, fields{}},
		"a bad decision":    {`{"agent":"a","decision":"allow"}`, fields{Agent: "a"}},
		"no JSON":           {`{"agent":"a"`, fields{}},
		"no object":         {`["agent"]`, fields{}},
		"nothing":           {"", fields{}},
	} {
		f := bus.FieldsOf([]byte(c.line))
		got := fields{record.Text(f.Agent), record.Text(f.Session), record.Text(f.RunID), record.Text(f.Tool), record.Text(f.Action)}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if f := bus.FieldsOf(stored); len(f.Hash) != 64 {
		t.Errorf("the hash of a stored line is %q", f.Hash)
	}
}
