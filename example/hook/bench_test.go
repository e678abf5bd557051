package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
)

// What a Go program takes at the least: one that does nothing, and one that
// posts its standard input to a URL, with a token, and does nothing else.
const (
	emptyProgram = `package main

func main() {}
`
	postProgram = `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	req, err := http.NewRequest("POST", os.Args[1]+"/v1/audit/events", os.Stdin)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+os.Args[2])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusCreated {
		panic(err)
	}
	io.Copy(io.Discard, resp.Body)
}
`
)

// BenchmarkHook is what Claude Code waits for at each call: a process from its
// start to its end, beside the least that would do.
//
//	go test -run '^$' -bench Hook ./example/hook
func BenchmarkHook(b *testing.B) {
	hook := []string{"-deny", `rm\s+-rf`, "-ask", "git push"}
	posted := `{"agent":"a","tool":"exec","request":{"command":"git status --short"},"decision":{"action":"allow"}}`
	for _, c := range []struct {
		name, input string
		sync        rampart.SyncPolicy
		program     func(*site) *exec.Cmd
	}{
		{"empty program", "", rampart.SyncNever, least(b, emptyProgram)},
		{"hook/another event", testdata(b, "stop"), rampart.SyncNever, func(s *site) *exec.Cmd { return exec.Command(binary, s.args(hook)...) }},
		{"post/sync=never", posted, rampart.SyncNever, least(b, postProgram)},
		{"hook/sync=never", testdata(b, "bash"), rampart.SyncNever, func(s *site) *exec.Cmd { return exec.Command(binary, s.args(hook)...) }},
		{"post/sync=always", posted, rampart.SyncAlways, least(b, postProgram)},
		{"hook/sync=always", testdata(b, "bash"), rampart.SyncAlways, func(s *site) *exec.Cmd { return exec.Command(binary, s.args(hook)...) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			site := newSite(b, c.sync)
			for b.Loop() {
				cmd := c.program(site)
				cmd.Stdin = strings.NewReader(c.input)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}

// least builds a program from its source.
func least(b *testing.B, source string) func(*site) *exec.Cmd {
	b.Helper()
	dir := b.TempDir()
	name := filepath.Join(dir, "least.exe")
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", name, filepath.Join(dir, "main.go")).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return func(s *site) *exec.Cmd { return exec.Command(name, s.url, agentToken) }
}
