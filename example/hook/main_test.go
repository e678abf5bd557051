// The tests run the program as Claude Code does, against a real server in this
// process, and check its answers and the log.
package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
	hook "github.com/rampartlog/rampart/example/hook"
)

const (
	patience = time.Minute // ends a test that hangs; a busy machine needs far less

	adminToken = "admin-token-0123456789abcdef"
	agentToken = "agent-token-0123456789abcdef"
)

var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rampart-hook-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "hook")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as README.md builds it
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	for _, name := range []string{"RAMPART_URL", "CLAUDE_PROJECT_DIR"} {
		os.Unsetenv(name)
	}
	return m.Run()
}

// site is a server that can be stopped and started again at the same address.
type site struct {
	t         testing.TB
	dir       string
	url       string
	tokenFile string // the agent's
	asked     chan struct{}

	mu      sync.Mutex
	handler http.Handler
	r       *rampart.Rampart
}

// newSite starts a server. When the test ends it verifies the log.
func newSite(t testing.TB, sync rampart.SyncPolicy) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), asked: make(chan struct{}, 100)}
	s.tokenFile = s.write("token", agentToken+"\n")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.handler
		s.mu.Unlock()
		h.ServeHTTP(w, r)
		if r.Method == http.MethodPost && r.URL.Path == "/v1/approvals" {
			s.asked <- struct{}{}
		}
	}))
	s.url = srv.URL
	s.open(sync)
	t.Cleanup(func() {
		s.close()
		srv.Close()
		report, err := rampart.VerifyChain(context.Background(), os.DirFS(filepath.Join(s.dir, "audit")))
		if err != nil || !report.OK() {
			t.Errorf("verify at the end of the test: %+v, %v", report, err)
		}
	})
	return s
}

func (s *site) open(sync rampart.SyncPolicy) {
	s.t.Helper()
	s.openLog(sync)
	s.serve(s.r.Handler(&rampart.Auth{AdminToken: adminToken, AgentTokens: map[string]string{"claude-code": agentToken}}))
}

// openLog opens the log. It does not serve it yet.
func (s *site) openLog(sync rampart.SyncPolicy) {
	s.t.Helper()
	r, err := rampart.Open(filepath.Join(s.dir, "audit"), &rampart.Options{Audit: rampart.AuditOptions{Sync: sync}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.r = r
}

func (s *site) serve(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// close stops the server. Its address still accepts connections, and cuts them.
func (s *site) close() {
	s.t.Helper()
	s.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if err := s.r.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *site) write(name, content string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *site) admin() *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, &client.Options{Token: adminToken})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// records returns all events as stored.
func (s *site) records() []rampart.Record {
	s.t.Helper()
	var all []rampart.Record
	for r, err := range s.r.Chain.Query(s.t.Context(), rampart.Query{Ascending: true}) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func (s *site) events() []rampart.AuditEvent {
	s.t.Helper()
	var all []rampart.AuditEvent
	for _, r := range s.records() {
		e, err := r.Event()
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// only returns the one event on record.
func (s *site) only() rampart.AuditEvent {
	s.t.Helper()
	all := s.events()
	if len(all) != 1 {
		s.t.Fatalf("%d events on record, want 1: %s", len(all), s.records())
	}
	return all[0]
}

// question waits for a question and returns it.
func (s *site) question() rampart.Approval {
	s.t.Helper()
	select {
	case <-s.asked:
	case <-time.After(patience):
		s.t.Fatal("nothing is asked")
	}
	pending := s.r.Approvals.List(rampart.ApprovalFilter{})
	if len(pending) != 1 {
		s.t.Fatalf("%d approvals are pending, want 1", len(pending))
	}
	return pending[0]
}

func (s *site) resolve(id string, r rampart.Resolution) {
	s.t.Helper()
	if _, err := s.admin().ResolveApproval(s.t.Context(), id, r); err != nil {
		s.t.Fatal(err)
	}
}

// outcome is the result of the program.
type outcome struct {
	exit     int
	decision string // of the answer; empty when there was none
	reason   string
	stderr   string
}

// args returns the site's flags, followed by others. Its -timeout is long, for
// busy machines.
func (s *site) args(flags []string) []string {
	return append([]string{"-url", s.url, "-token-file", s.tokenFile, "-timeout", patience.String()}, flags...)
}

// hook runs the program.
func (s *site) hook(input string, flags ...string) outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, s.args(flags)...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		s.t.Errorf("the program did not end by itself: %v", err)
	}
	return s.outcome(cmd.ProcessState.ExitCode(), stdout.Bytes(), stderr.String())
}

// outcome reads what the program printed: nothing, or one answer as documented.
func (s *site) outcome(exit int, stdout []byte, stderr string) outcome {
	s.t.Helper()
	for _, token := range []string{adminToken, agentToken} {
		if bytes.Contains(stdout, []byte(token)) || strings.Contains(stderr, token) {
			s.t.Error("the program printed a token")
		}
	}
	if len(stdout) == 0 {
		return outcome{exit: exit, stderr: stderr}
	}
	var answer struct {
		Specific *struct {
			Event    string `json:"hookEventName"`
			Decision string `json:"permissionDecision"`
			Reason   string `json:"permissionDecisionReason"`
		} `json:"hookSpecificOutput"`
	}
	dec := json.NewDecoder(bytes.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&answer); err != nil || answer.Specific == nil || answer.Specific.Event != "PreToolUse" {
		s.t.Errorf("stdout is no answer: %v\n%s", err, stdout)
		return outcome{exit: exit, stderr: stderr}
	}
	if _, err := dec.Token(); err != io.EOF {
		s.t.Errorf("stdout holds more than an answer:\n%s", stdout)
	}
	return outcome{exit, answer.Specific.Decision, answer.Specific.Reason, stderr}
}

// start runs the program beside the test.
func (s *site) start(input string, flags ...string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() { done <- s.hook(input, flags...) }()
	return done
}

func (s *site) end(done <-chan outcome) outcome {
	s.t.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(2 * patience):
		s.t.Fatal("the program does not end")
		return outcome{}
	}
}

// want compares the outcome. Reasons and messages only have to contain some words.
func (o outcome) want(t testing.TB, exit int, decision string, words ...string) {
	t.Helper()
	if o.exit != exit || o.decision != decision {
		t.Errorf("exit %d, decision %q, want %d and %q\n%+v", o.exit, o.decision, exit, decision, o)
	}
	text := o.reason
	if decision == "" {
		text = o.stderr
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("it says %q, want in it %q", text, w)
		}
	}
	if exit == 0 && decision == "" && o.stderr != "" {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// command returns the input for a shell command.
func command(text, toolUseID string) string {
	return fmt.Sprintf(`{"session_id":"s1","cwd":"/home/dev/myapp","permission_mode":"default","hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":%q},"tool_use_id":%q}`, text, toolUseID)
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// run runs the program in this process.
func (s *site) run(input string, flags ...string) outcome {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	exit := hook.Run(s.args(flags), strings.NewReader(input), &stdout, &stderr)
	return s.outcome(exit, stdout.Bytes(), stderr.String())
}
