//go:build linux

package ingest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

func TestMain(m *testing.M) {
	Register()
	child.Main()
	os.Exit(m.Run())
}

// Every cell runs once, through child processes.
func TestTiny(t *testing.T) {
	out := t.TempDir()
	r := &suite.Run{Tiny: true, Runs: 1, Dir: t.TempDir(), Profiles: t.TempDir(), Output: report.Output{Dir: out}, Log: t.Logf}
	if err := Suites[0].Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(out, "ingest.md"))
	if err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(string(table), "\n| "); rows != 1+4*3 { // the line below the head, cells × targets
		t.Errorf("%d rows:\n%s", rows, table)
	}
	if profiles, _ := filepath.Glob(filepath.Join(r.Profiles, "*.pprof")); len(profiles) != 8 {
		t.Errorf("profiles of our rows: %q", profiles)
	}
}

func id(letter string) string { return strings.Repeat(letter, 26) }

// message returns the frame of an audit event, as the stream has it.
func message(letter string, number int) string {
	return fmt.Sprintf("data: {\"type\":\"audit\",\"event\":{\"id\":%q,\"tool_call_id\":\"call-%09d\"}}\nid: x\n\n", id(letter), number)
}

// The subscriber finds each fault of a stream.
func TestChecks(t *testing.T) {
	for _, c := range []struct{ name, stream, fault string }{
		{"whole", message("A", 7) + ": keepalive\n\n" + message("B", 6), ""},
		{"lost", message("A", 7), "1 of 2 events yet to come"},
		{"twice", message("A", 7) + message("A", 7), "came after"},
		{"twice under two ids", message("A", 7) + message("B", 7), "came twice"},
		{"out of order", message("B", 7) + message("A", 6), "came after"},
		{"never sent", message("A", 8), "was never sent"},
		{"a batch", "data: {\"type\":\"audit_batch\",\"run_id\":\"\"}\nid: x\n\n", "no event of ours"},
	} {
		near, far := net.Pipe()
		go func() {
			far.Write([]byte(c.stream))
			far.Close()
		}()
		s := &subscriber{conn: near, in: bufio.NewReader(near)}
		frames, err := s.read(6, 2)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", c.name, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, answers := range []struct {
			first, second string
			ok            bool
		}{{id("B"), id("A"), true}, {id("A"), id("B"), false}, {id("B") + `","` + id("A"), id("A"), false}} {
			log := []sent{{answer: []byte(`{"ids":["` + answers.first + `"]}`)}, {answer: []byte(`{"ids":["` + answers.second + `"]}`)}}
			if err := hold(log, frames, 1); (err == nil) != answers.ok {
				t.Errorf("answers %v: %v", answers, err)
			}
		}
	}
}
