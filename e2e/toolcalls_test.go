package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRealToolCalls sends thousands of calls of real agents through the daemon,
// while the user's Python sample and a client from npm listen.
func TestRealToolCalls(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "shared", "data", "toolcalls.jsonl"))
	if err != nil {
		t.Skip("no real tool calls beside the checkout: ", err)
	}
	if what := lacksNPM(); what != "" {
		lacks(t, what)
	}
	d := startAtDefault(t)
	python := d.python(d.sample("stream.py"))
	python.prints(1)
	npm := startNPM(t, target{url: d.url(streamPath), token: d.token})
	npm.until(t, "the npm client connects", func(text string) bool { return hear(text).opened == 1 })

	calls := slices.Collect(strings.Lines(string(data)))
	calls = calls[:min(5000, len(calls))]
	actions := []string{"allow", "allow", "watch", "allow", "deny", "allow", "ask"}
	var body strings.Builder
	for i, call := range calls {
		body.WriteString(strings.Replace(call, "{", fmt.Sprintf(`{"decision":{"action":%q},`, actions[i%len(actions)]), 1))
		if (i+1)%100 == 0 || i+1 == len(calls) {
			d.call("POST", eventsPath, body.String())
			body.Reset()
		}
	}

	lines := d.lines()
	if len(lines) != len(calls) {
		t.Fatalf("%d lines for %d calls", len(lines), len(calls))
	}
	var events []string // those that fit into a frame; the others are announced as a batch
	said := []string{"Connected to Rampart"}
	for _, line := range lines {
		var e struct {
			ID, Hash, Tool string
			Decision       struct{ Action string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if len(fmt.Sprintf("data: {\"type\":\"audit\",\"event\":%s}\nid: %s.%.16s\n\n", line, e.ID, e.Hash)) <= 60<<10 {
			events = append(events, line)
			said = append(said, e.Tool+": "+e.Decision.Action)
		}
	}
	if len(events) == len(lines) {
		t.Error("no event is too long for a frame, which this data should have")
	}
	npm.wait(t, "the npm client has all", func() bool { return npm.lines == 1+len(lines) })
	got := hear(npm.String())
	if !slices.Equal(got.events, events) {
		t.Errorf("the npm client has other events than the log: %d, want %d", len(got.events), len(events))
	}
	if len(got.odd) != len(lines)-len(events) {
		t.Errorf("the npm client has besides: %v", got.odd)
	}
	if got := python.prints(len(said)); !slices.Equal(got, said) {
		t.Errorf("the Python sample printed other lines than those of the log: %d, want %d", len(got), len(said))
	}
}
