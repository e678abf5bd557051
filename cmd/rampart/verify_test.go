package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
)

// TestVerifyCommand checks a log that is in use, a copy of it, and copies that
// somebody changed.
func TestVerifyCommand(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "one"), event("a", "two"), event("a", "three"))
	lines := d.lines()
	check := func(dir string, code int, says string, args ...string) {
		t.Helper()
		v := verify(t, dir, args...)
		v.wait()
		if got := v.out.String(); v.exitCode() != code || !strings.Contains(got, says) {
			t.Errorf("verify %v: exit code %d, want %d; it prints\n%swant\n%s", args, v.exitCode(), code, got, says)
		}
	}
	head := position(t, lines[2])
	check(d.dir, 0, "ok: 3 events", "-anchor", head, "-anchor", parse(t, lines[0]).ID)
	check(d.dir, 1, "truncated", "-anchor", parse(t, lines[1]).ID+"."+strings.Repeat("0", 16))
	check(d.dir, 2, "-anchor: rampart: invalid: the anchor's id \"yesterday\" is not", "-anchor", "yesterday")

	backup := t.TempDir()
	if err := os.CopyFS(filepath.Join(backup, "audit"), os.DirFS(filepath.Join(d.dir, "audit"))); err != nil {
		t.Fatal(err)
	}
	check(backup, 0, "head: "+parse(t, lines[2]).Hash)
	segment := filepath.Join(backup, "audit", "00000000000000000001.jsonl")
	data := readFile(t, segment)
	if err := os.WriteFile(segment, bytes.Replace(data, []byte(`"two"`), []byte(`"2wo"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	check(backup, 1, "not whole: corrupt log: 00000000000000000001.jsonl line 2")
	if err := os.WriteFile(segment, data[:len(lines[0])+1], 0o600); err != nil {
		t.Fatal(err)
	}
	check(backup, 0, "ok: 1 events") // a bare chain can't show the cut
	check(backup, 1, "truncated", "-anchor", head)
	check(filepath.Join(d.dir, "audit"), 0, "ok: 3 events")
	check(t.TempDir(), 1, "there is no log in it")
}

// An anchor from before a pruning can't be checked. That is no fault of the log.
func TestVerifyCommandOfAPrunedLog(t *testing.T) {
	dir := t.TempDir()
	chain, err := rampart.OpenAuditChain(filepath.Join(dir, "audit"), &rampart.AuditOptions{Sync: rampart.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	request := json.RawMessage(`{"content":"` + strings.Repeat("x", 1000<<10) + `"}`)
	var first rampart.AuditEvent
	for i := range 18 { // more than a segment
		saved, err := chain.Append(t.Context(), rampart.AuditEvent{Agent: "a", Tool: "write", Request: request, Decision: rampart.Decision{Action: "allow"}})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = saved
		}
	}
	if n, err := chain.Prune(t.Context(), time.Now().Add(time.Hour)); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := chain.Close(); err != nil {
		t.Fatal(err)
	}
	v := verify(t, dir, "-anchor", first.ID)
	v.wait()
	if got := v.out.String(); v.exitCode() != 1 || !strings.Contains(got, "the log is whole, and an anchor is older") {
		t.Errorf("exit code %d; it prints\n%s", v.exitCode(), got)
	}
}
