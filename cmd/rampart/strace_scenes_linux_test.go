package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
)

// scene is a directory in which the daemon is started, and what it does there.
type scene struct {
	name    string
	args    []string
	prepare func(t *testing.T) (dir string)
	from    string // the position from which the log is watched and queried
	pending map[string]bool
	stored  []string // the log's lines before the start
}

// fresh is the first start of all.
func fresh(t *testing.T) *scene {
	return &scene{name: "first start", from: "0", prepare: func(t *testing.T) string { return filepath.Join(t.TempDir(), "new") }}
}

// killed is a start after a kill in the middle of a write.
func killed(t *testing.T) *scene {
	s := &scene{name: "start after a kill", from: "0", pending: map[string]bool{}}
	d := start(t)
	d.append(d.token, event("x", "before"), event("x", "the kill"))
	s.pending[d.askFor("before the kill")] = true
	d.kill()
	s.stored = d.lines()
	torn := []byte(s.stored[0][:len(s.stored[0])/2])
	segment := d.segments()[0]
	if err := os.WriteFile(segment, append(readFile(t, segment), torn...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.prepare = func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "audit"), os.DirFS(filepath.Join(d.dir, "audit"))); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "token", d.token+"\n", 0o600)
		return dir
	}
	return s
}

// pruning is a start that drops a full segment, and soon fills the next.
func pruning(t *testing.T) *scene {
	s := &scene{name: "a segment is full", args: []string{"-keep", "1ms"}, pending: map[string]bool{}}
	made := t.TempDir()
	audit := filepath.Join(made, "audit")
	r, err := rampart.Open(audit, &rampart.Options{Audit: rampart.AuditOptions{Sync: rampart.SyncNever}, Approvals: rampart.ApprovalOptions{TTL: 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	const full = 16 << 20
	last := func() int64 {
		files, err := filepath.Glob(filepath.Join(audit, "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(files[len(files)-1])
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	fill := func(size int64) {
		e, err := r.Chain.Append(t.Context(), rampart.AuditEvent{Agent: "x", Tool: "write", Decision: rampart.Decision{Action: "allow"},
			Request: json.RawMessage(`{"content":"` + strings.Repeat("x", int(size)) + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
		s.from = e.ID + "." + e.Hash[:16]
	}
	for last() < full {
		fill(1000 << 10)
	}
	a, err := r.Approvals.Request(t.Context(), rampart.ApprovalRequest{Agent: "a", Tool: "exec"})
	if err != nil {
		t.Fatal(err)
	}
	s.pending[a.ID] = true
	for last() < full-2<<20 {
		fill(1000 << 10)
	}
	fill(full - last() - 1000<<10)
	fill(full - last() - 2500)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(audit, "0*"))
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	s.prepare = func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "audit"), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "token", "a-token-of-the-admin\n", 0o600)
		for i, name := range names {
			to := filepath.Join(dir, "audit", filepath.Base(name))
			var err error
			if i < 2 { // never written again
				err = os.Link(name, to)
			} else {
				err = os.WriteFile(to, readFile(t, name), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	return s
}
