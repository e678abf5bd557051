package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// toolCall is a line of real agents' calls, turned into an event.
type toolCall struct {
	event   string
	request string // as it must be on record
}

// realToolCalls reads the calls that lie beside the checkout.
func realToolCalls(t *testing.T) []toolCall {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "toolcalls.jsonl"))
	if err != nil {
		t.Skip("no real tool calls beside the checkout: ", err)
	}
	var calls []toolCall
	for line := range strings.Lines(string(data)) {
		var in struct {
			Agent     string          `json:"agent"`
			Session   string          `json:"session"`
			RunID     string          `json:"run_id"`
			Tool      string          `json:"tool"`
			Request   json.RawMessage `json:"request"`
			Timestamp json.RawMessage `json:"timestamp,omitempty"`
			Response  json.RawMessage `json:"response,omitempty"`
			Decision  json.RawMessage `json:"decision"`
		}
		if err := json.Unmarshal([]byte(line), &in); err != nil {
			t.Fatal(err)
		}
		in.Decision = decide(in.Tool, string(in.Request))
		var request, event bytes.Buffer
		if err := json.Compact(&request, in.Request); err != nil {
			t.Fatal(err)
		}
		enc := json.NewEncoder(&event)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, toolCall{strings.TrimSuffix(event.String(), "\n"), request.String()})
	}
	return calls
}

// decide is the policy of these tests.
func decide(tool, request string) json.RawMessage {
	for _, rule := range []struct{ part, decision string }{
		{"rm -rf /", `{"action":"deny","matched_policies":["block-destructive"],"evaluation_time_us":14,"message":"deletes too much","suggestions":["name the directory"]}`},
		{"| sh", `{"action":"deny","matched_policies":["block-pipe-to-shell"],"evaluation_time_us":12,"message":"runs code nobody has read"}`},
		{"git push", `{"action":"ask","matched_policies":["ask-push"],"evaluation_time_us":9,"message":"publishes"}`},
		{"curl ", `{"action":"watch","matched_policies":["watch-network"],"evaluation_time_us":7}`},
	} {
		if tool == "exec" && strings.Contains(request, rule.part) {
			return json.RawMessage(rule.decision)
		}
	}
	return json.RawMessage(`{"action":"allow","matched_policies":[],"evaluation_time_us":3}`)
}

// TestRealToolCalls sends all of them through the daemon and wants every
// request byte for byte on disk, on every page and on the stream.
func TestRealToolCalls(t *testing.T) {
	calls := realToolCalls(t)
	d := start(t)
	w := d.watch("type=audit&type=audit_batch")
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for i := 0; i < len(calls); {
			if i%1000 < 20 { // some of them one by one
				d.admin("POST", eventsPath, calls[i].event).want(http.StatusCreated)
				i++
				continue
			}
			var batch []string
			for ; i < len(calls) && len(batch) < 400; i++ {
				batch = append(batch, calls[i].event)
			}
			d.append(d.token, batch...)
		}
	}()
	var streamed []string
	for range calls {
		f := w.next()
		if f.Type == "audit" {
			streamed = append(streamed, string(f.Event))
			continue
		}
		// Too long for a frame: the client asks for it by its id.
		id, _, _ := strings.Cut(f.id, ".")
		streamed = append(streamed, strings.TrimSuffix(d.admin("GET", eventsPath+"/"+id, "").want(http.StatusOK).body, "\n"))
	}
	<-fed

	lines := d.lines()
	if len(lines) != len(calls) {
		t.Fatalf("%d lines for %d calls", len(lines), len(calls))
	}
	for i, line := range lines {
		if !strings.Contains(line, `,"request":`+calls[i].request+`,"decision":`) {
			t.Fatalf("line %d is\n%s\nand lacks\n%s", i+1, line, calls[i].request)
		}
		if streamed[i] != line {
			t.Fatalf("the stream has\n%s\nthe log\n%s", streamed[i], line)
		}
	}
	checkHashes(t, lines)
	checkBySed(t, lines)
	if got := readAll(d, "asc"); !slices.Equal(got, lines) {
		t.Error("GET /v1/audit/events, oldest first, is not the log")
	}
	got := readAll(d, "desc")
	if slices.Reverse(got); !slices.Equal(got, lines) {
		t.Error("GET /v1/audit/events, newest first, is not the log")
	}
	report := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK).object()
	if report["ok"] != true || report["events"] != float64(len(calls)) {
		t.Errorf("verify: %v", report)
	}
}

// readAll reads the whole log page by page.
func readAll(d *daemon, order string) []string {
	d.t.Helper()
	var all []string
	for cursor := ""; ; {
		p := d.query("limit=500&order=" + order + "&cursor=" + cursor)
		for _, e := range p.Events {
			all = append(all, string(e))
		}
		if cursor = p.NextCursor; cursor == "" {
			return all
		}
	}
}

// checkBySed runs the recipe that the documentation gives to people.
func checkBySed(t *testing.T, lines []string) {
	t.Helper()
	for _, tool := range []string{"sh", "sed", "tr", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("no %s: the recipe is not run", tool)
			return
		}
	}
	for i := 0; i < len(lines); i += 1 + len(lines)/20 {
		cmd := exec.Command("sh", "-c", `sed -E 's/,"hash":"[0-9a-f]{64}"\}$/}/' | tr -d '\n' | sha256sum`)
		cmd.Stdin = strings.NewReader(lines[i] + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := strings.Cut(string(out), " "); got != parse(t, lines[i]).Hash {
			t.Errorf("line %d: sha256sum says %s", i+1, got)
		}
	}
}

// TestCrashKilledDaemon kills the daemon twice while 64 clients write over HTTP.
// Afterwards it wants everything that was acknowledged, the same pending approvals,
// and every event once on a stream that resumed after each kill.
func TestCrashKilledDaemon(t *testing.T) {
	d := start(t)
	acknowledged := make(map[string]string) // id to command
	deadlines := make(map[string]approval)
	var seen []string
	after, kills := "0", 2
	if os.Getenv("RAMPART_CRASH") == "all" {
		kills = 40
	}
	for round := range kills {
		for i := range 3 {
			id := d.askFor(fmt.Sprintf("ask %d.%d", round, i))
			deadlines[id] = d.approval(id)
			acknowledged[id] = fmt.Sprintf("ask %d.%d", round, i)
		}
		w := d.watch("type=audit&last_event_id=" + after)
		var (
			mu      sync.Mutex
			writers sync.WaitGroup
		)
		for n := range 64 {
			writers.Go(func() {
				for i := 0; ; i++ {
					command := fmt.Sprintf("%d.%d.%d", round, n, i)
					var got struct {
						IDs []string `json:"ids"`
					}
					resp, err := httpClient.Do(d.request(claudeToken, "POST", eventsPath, event("claude-code", command)))
					if err != nil {
						return
					}
					err = json.NewDecoder(resp.Body).Decode(&got)
					resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusCreated {
						return
					}
					mu.Lock()
					acknowledged[got.IDs[0]] = command
					mu.Unlock()
				}
			})
		}
		for range 200 + rand.IntN(200) {
			line := w.audit()
			seen, after = append(seen, line), position(t, line)
		}
		d.kill()
		writers.Wait()
		d = startIn(t, d.dir)

		lines := d.lines()
		checkHashes(t, lines)
		if len(seen) > len(lines) || !slices.Equal(seen, lines[:len(seen)]) {
			t.Fatalf("the stream's %d events are not the log's first", len(seen))
		}
		stored := make(map[string]string)
		for _, line := range lines {
			e := parse(t, line)
			stored[e.ID] = string(e.Request.Command)
		}
		for id, command := range acknowledged {
			if got, ok := stored[id]; !ok || got != command {
				t.Errorf("%s (%s) was acknowledged; on the log: %q", id, command, got)
			}
		}
		if got := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK).object(); got["ok"] != true {
			t.Errorf("verify: %v", got)
		}
		pending := make(map[string]approval)
		for _, id := range d.pending() {
			pending[id] = d.approval(id)
		}
		if diff := cmp.Diff(deadlines, pending); diff != "" {
			t.Errorf("pending approvals: %s", diff)
		}
	}
}
