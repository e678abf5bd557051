package rampart_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// goldenDir has the golden logs, which internal/ledger reads. They are made
// here, since they have approvals.
const goldenDir = "internal/ledger/testdata/golden/v1"

// goldenSegment is small enough that each golden log has several segments.
const goldenSegment = 2200

// TestMakeGolden makes the golden logs, once for each version of the format:
//
//	RAMPART_GOLDEN=internal/ledger/testdata/golden/v1 go test -run TestMakeGolden .
func TestMakeGolden(t *testing.T) {
	out := os.Getenv("RAMPART_GOLDEN")
	if out == "" {
		t.Skip("RAMPART_GOLDEN names no directory")
	}
	for _, name := range []string{"whole", "pruned"} {
		makeGolden(t, filepath.Join(out, name), name == "pruned")
	}
}

// makeGolden makes a golden log in dir.
func makeGolden(t *testing.T, dir string, pruned bool) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 3, 10, 15, 30, 0, time.UTC)))
		r, err := rampart.Open(dir, &rampart.Options{Audit: *rampart.AuditOptions{}.WithSegmentSize(goldenSegment)})
		if err != nil {
			t.Fatal(err)
		}
		appendGolden(t, r)
		if pruned {
			if n, err := r.Chain.Prune(t.Context(), soon()); err != nil || n == 0 {
				t.Fatal(n, err)
			}
			appendN(t, r.Chain, 5)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "LOCK"))
		report, err := rampart.VerifyChain(t.Context(), os.DirFS(dir))
		t.Logf("%s: %+v %v", dir, report, err)
	})
}

// appendGolden appends at least one of all that a log can hold.
func appendGolden(t *testing.T, r *rampart.Rampart) {
	appendN(t, r.Chain, 1)
	code := -2147483648
	for _, e := range []rampart.AuditEvent{
		{Agent: "a", Tool: "t", Decision: rampart.Decision{Action: "watch"}},
		{
			Timestamp: time.Date(2026, 3, 3, 11, 15, 30, 123456789, time.FixedZone("", 3600)),
			Agent:     "claude-code", Session: "myapp/main", RunID: "run_1", ToolCallID: "toolu_1", Tool: "exec",
			Request: json.RawMessage(`{"command": ["git", "push"], "n": [12345678901234567890, 1.50, -0, 1e400, 1E-400, 0.1e+1], "":{"a":null, "b":[true, false, {}]}}`),
			Decision: rampart.Decision{Action: "deny", MatchedPolicies: []string{"no-push", "no \"force\""}, EvaluationTimeUS: 9223372036854775807,
				Message: "a \"quoted\" \\ back\nslash\t\x01\x7f, é, \U0001f600, \u2028 and \xed\xa0\x80", Suggestions: []string{"ask", ""}},
			Response: &rampart.Response{ExitCode: &code, DurationMS: 1, Flags: []string{"timeout", "killed"}},
		},
		{Agent: "codex", Session: "s p a c e s", Tool: "edit", Request: json.RawMessage(`{"path":"\u003ca\/b\u003e","text":"\ud800\u0000\ud83d\ude00 @ é","é":"\\\""}`), Decision: rampart.Decision{Action: "allow"}},
	} {
		appendOne(t, r.Chain, e)
	}
	for i, resolution := range []rampart.Resolution{
		{Status: rampart.Approved, ResolvedBy: "ann", Credential: "admin"},
		{Status: rampart.Denied, ResolvedBy: "bob", Reason: "not on a Friday"},
		{},
	} {
		q := question(i)
		q.TTL = time.Minute
		p := request(t, r.Approvals, q)
		if resolution.Status == "" {
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		} else if _, err := r.Approvals.Resolve(t.Context(), p.ID, resolution); err != nil {
			t.Fatal(err)
		}
	}
	appendBulk(t, r.Chain, 5, 10)
}

// Today events get the same lines as when the golden logs were made, except for ids
// and hashes.
func TestGoldenLogsAreMadeAgain(t *testing.T) {
	for _, name := range []string{"whole", "pruned"} {
		dir := t.TempDir()
		makeGolden(t, dir, name == "pruned")
		if d := cmp.Diff(normal(files(t, filepath.Join(goldenDir, name))), normal(files(t, dir))); d != "" {
			t.Errorf("%s (-golden +made):\n%s", name, d)
		}
	}
}

// normal returns a log's files without sidecars, and with the same text in place
// of every id and every hash.
func normal(log map[string]string) map[string]string {
	out := map[string]string{}
	for name, data := range log {
		if filepath.Ext(name) != ".idx" {
			data = regexp.MustCompile(`[0-7][0-9A-HJKMNP-TV-Z]{25}`).ReplaceAllString(data, "ID")
			out[name] = regexp.MustCompile(`hash":"[0-9a-f]{64}"`).ReplaceAllString(data, `hash":"HASH"`)
		}
	}
	return out
}

// The queue is read from a log of any released version of the format.
func TestGoldenApprovals(t *testing.T) {
	for _, name := range []string{"whole", "pruned"} {
		closed := files(t, filepath.Join(goldenDir, name))
		unclosed, unindexed := maps.Clone(closed), maps.Clone(closed)
		last := ""
		for file := range closed {
			if filepath.Ext(file) == ".idx" {
				last = max(last, file)
				delete(unindexed, file)
			}
		}
		delete(unclosed, last)
		for how, log := range map[string]map[string]string{"closed": closed, "unclosed": unclosed, "without sidecars": unindexed} {
			a := newQueue(t, openChain(t, write(t, log), rampart.AuditOptions{}.WithSegmentSize(goldenSegment)), nil)
			counts := map[rampart.ApprovalStatus]int{}
			for _, status := range statuses(a) {
				counts[status]++
			}
			want := map[rampart.ApprovalStatus]int{rampart.Approved: 1, rampart.Denied: 1, rampart.Expired: 1}
			if name == "whole" && !maps.Equal(counts, want) {
				t.Errorf("%s, %s: %v, want %v", name, how, counts, want)
			}
		}
	}
}

// A denial was edited on the disk, in a part of the log that Open does not read.
// The approval was then believed to be approved.
func TestEditedAnswerIsNotBelieved(t *testing.T) {
	stored := files(t, filepath.Join(goldenDir, "whole"))
	edits := 0
	for name, data := range stored {
		for line := range strings.Lines(data) {
			edited := strings.Replace(line, `"status":"denied"`, `"status":"approved"`, 1)
			if filepath.Ext(name) != ".jsonl" || edited == line {
				continue
			}
			edits++
			log := maps.Clone(stored)
			log[name] = strings.Replace(data, line, edited, 1)
			c, err := rampart.OpenAuditChain(write(t, log), nil)
			if err != nil {
				t.Fatalf("opening reads that line: %v", err)
			}
			a, err := rampart.NewApprovals(t.Context(), c, nil)
			if err == nil {
				t.Errorf("approved: %v", a.List(rampart.ApprovalFilter{Status: rampart.Approved}))
				a.Close()
			}
			var corrupt *rampart.CorruptError
			if id := rampart.Record(strings.TrimSuffix(line, "\n")).ID(); !errors.As(err, &corrupt) || corrupt.ID != id {
				t.Errorf("%v, want a CorruptError of event %s", err, id)
			}
			c.Close()
		}
	}
	if edits == 0 {
		t.Error("no answer was edited")
	}
}
