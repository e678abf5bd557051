//go:build linux

package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

func TestMain(m *testing.M) {
	Register()
	child.Main()
	os.Exit(m.Run())
}

// Every suite runs all cells of all targets through child processes, with every check.
func TestSuitesTiny(t *testing.T) {
	r := &suite.Run{Tiny: true, Runs: 1, Dir: t.TempDir(), Output: report.Output{Dir: t.TempDir()}, Log: t.Logf}
	for _, s := range Suites {
		if err := s.Run(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
	}
	for name, rows := range map[string]int{
		"audit-append.md": 10, "audit-bulk.md": 7, "audit-verify.md": 7, "audit-open.md": 5, "audit-query.md": 7,
		"growth-append.md": 2, "growth-size.md": 2,
	} {
		b, err := os.ReadFile(filepath.Join(r.Output.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n| "); n != rows+1 { // one more for the line below the head
			t.Errorf("%s has %d rows:\n%s", name, n-1, b)
		}
	}
	if left, err := os.ReadDir(r.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A fault that a child finds ends the suite.
func TestWrongLogIsAnError(t *testing.T) {
	for name := range targets {
		dir := filepath.Join(t.TempDir(), "log")
		fill := job{Work: "bulk", Target: name, Dir: dir, Events: 50}
		if _, err := ask(t.Context(), fill, ""); err != nil {
			t.Fatal(err)
		}
		for _, work := range []string{"verify", "query", "open"} {
			if name == limit && work != "verify" {
				continue
			}
			j := job{Work: work, Target: name, Dir: dir, Events: 50}
			if _, err := ask(t.Context(), j, ""); err != nil {
				t.Errorf("%s, %s: %v", name, work, err)
			}
			j.Events = 51
			if _, err := ask(t.Context(), j, ""); err == nil {
				t.Errorf("%s, %s: 50 events pass for 51", name, work)
			}
		}
	}
}

func TestChildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := start(ctx, job{Work: "append", Target: ours, Dir: filepath.Join(t.TempDir(), "log"), Writers: 1}, "")
	if err != nil {
		t.Fatal(err)
	}
	var opened, done string
	if err := p.receive(&opened); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.receive(&done); err == nil {
		t.Error("a child whose context ended goes on")
	}
}

// rampart accepts the log that the limit's bulk load writes. So the limit does all
// the work that a rampart log needs.
func TestLimitWritesOurLog(t *testing.T) {
	dir := t.TempDir()
	l, err := openLimit(dir, mode{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 40_000 // more than one segment
	for at := 0; at < n; at += 1000 {
		if err := l.AppendAll(events(nil, at, at+1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := rampart.VerifyChain(t.Context(), os.DirFS(dir))
	if err != nil || !report.OK() || report.Events != n {
		t.Fatalf("%+v %v", report, err)
	}
	if got, err := verifyLimit(dir, 2, nil); err != nil || got != n {
		t.Fatal(got, err)
	}
	name := filepath.Join(dir, "00000000000000000001.jsonl")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[5000] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyLimit(dir, 2, nil); err == nil {
		t.Error("the limit takes a changed line for good")
	}
}

func TestSharesOfTheEvents(t *testing.T) {
	const n = 200_000
	var size, agent, deny int
	for i := range n {
		k := kindOf(i)
		size += len(k.agent) + len(k.session) + len(k.tool) + len(k.action)
		if k.agent == names().agents[42] {
			agent++
		}
		if k.action == "deny" && k.tool == "exec" {
			deny++
		}
	}
	if agent < n*9/1000 || agent > n*11/1000 {
		t.Errorf("an agent has %d of %d events, not 1 %%", agent, n)
	}
	if deny < n*8/10_000 || deny > n*12/10_000 {
		t.Errorf("deny and exec are %d of %d events, not 0.1 %%", deny, n)
	}
	l := &limitLog{}
	l.encode(event(12345))
	if len(l.buf) < lineSize-1 || len(l.buf) > lineSize {
		t.Errorf("a line has %d bytes: %s", len(l.buf), l.buf)
	}
}
