// The tests start the program and speak to it over HTTP alone. All that the
// library does is tested there, and under heavier use in cmd/rampart.
package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampartlog/rampart/daemon"
)

// patience ends a test that hangs; a busy machine needs far less.
const patience = time.Minute

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rampart-server-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "server.exe") // a name that runs everywhere
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	code := 1
	if err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a running one.
type server struct {
	t       *testing.T
	dir     string
	url     string
	token   string
	cmd     *exec.Cmd
	printed *bufio.Scanner // its standard output
	faults  bytes.Buffer   // the rest, once it has ended
}

func start(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, cmd: exec.Command(binary, append([]string{"-addr", "localhost:0", "-dir", dir}, args...)...)}
	s.cmd.Stderr = &s.faults
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
	t.Cleanup(func() {
		hangs.Stop()
		s.cmd.Process.Kill()
		s.cmd.Wait()
		if strings.Contains(s.faults.String(), s.token) {
			t.Errorf("it printed the token:\n%s", &s.faults)
		}
	})
	s.printed = bufio.NewScanner(out)
	s.url = s.prints(`^Open (http://.+)/dashboard/ and paste the admin token, which is in `)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(token))
	return s
}

// prints waits for a line and returns what it is asked to find in it.
func (s *server) prints(pattern string) string {
	s.t.Helper()
	for re := regexp.MustCompile(pattern); s.printed.Scan(); {
		if m := re.FindStringSubmatch(s.printed.Text()); m != nil {
			return m[len(m)-1]
		}
	}
	s.cmd.Wait()
	s.t.Fatalf("it never printed %s:\n%s", pattern, &s.faults)
	return ""
}

// stop presses Ctrl-C and wants a clean end.
func (s *server) stop() {
	s.t.Helper()
	if runtime.GOOS == "windows" {
		s.t.Skip("Windows has no signal for it")
	}
	s.cmd.Process.Signal(os.Interrupt)
	for s.printed.Scan() {
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("it ended with %v\n%s", err, &s.faults)
	}
}

// do sends a request and wants an answer of this status, whose body it returns.
func (s *server) do(token, method, path, body string, status int) string {
	s.t.Helper()
	resp := s.open(token, method, path, body)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		s.t.Fatalf("%s %s: %s, want %d: %v\n%s", method, path, resp.Status, status, err, data)
	}
	return string(data)
}

func (s *server) open(token, method, path, body string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// files are the lines of the log in a directory.
func files(t *testing.T, dir ...string) (lines []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(append(dir, "*.jsonl")...))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines = slices.AppendSeq(lines, strings.Lines(string(data)))
	}
	return lines
}

// TestSpecification goes through the routes with a stream open, and stops the
// program under it.
func TestSpecification(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "new"))
	var streams []*http.Response
	for token, path := range map[string]string{s.token: "/v1/events/stream", "": "/v1/events/stream?token=" + s.token} {
		resp := s.open(token, "GET", path, "")
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
			t.Errorf("%s: %s, %s", path, resp.Status, got)
		}
		streams = append(streams, resp)
	}
	s.do(s.token, "POST", "/v1/audit/events", `{"agent":"a","tool":"exec","request":{"command":"git status"},"decision":{"action":"allow"}}`, http.StatusCreated)
	var asked struct{ ID string }
	body := s.do(s.token, "POST", "/v1/approvals", `{"agent":"a","tool":"exec","command":"git push","message":"publishes"}`, http.StatusCreated)
	if err := json.Unmarshal([]byte(body), &asked); err != nil {
		t.Fatal(err)
	}
	s.do(s.token, "POST", "/v1/approvals/"+asked.ID+"/resolve", `{"approved":true}`, http.StatusOK)
	s.do(s.token, "POST", "/v1/events/ticket", "", http.StatusOK)
	for path, says := range map[string]string{
		"/v1/approvals?status=approved":               asked.ID,
		"/v1/approvals/" + asked.ID:                   `"status":"approved"`,
		"/v1/audit/events":                            "git status",
		"/v1/audit/events/" + asked.ID:                "git push",
		"/v1/audit/dates":                             `"dates":["`,
		"/v1/audit/stats":                             `"total_events":3`,
		"/v1/audit/export?since=2000-01-01T00:00:00Z": "git status",
		"/v1/audit/verify":                            `"ok":true`,
		"/v1/status":                                  `"events":3`,
	} {
		if got := s.do(s.token, "GET", path, "", http.StatusOK); !strings.Contains(got, says) {
			t.Errorf("%s says\n%s\nwant %s", path, got, says)
		}
		s.do("", "GET", path, "", http.StatusUnauthorized)
	}
	for _, path := range []string{"/", "/dashboard", "/dashboard/"} {
		if got := s.do("", "GET", path, "", http.StatusOK); !strings.Contains(got, "<title>Rampart") {
			t.Errorf("%s is\n%s", path, got)
		}
	}
	post, err := http.NewRequest("POST", s.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := http.DefaultTransport.RoundTrip(post) // which, unlike a client, follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if got := refused.Header.Get("Allow"); refused.StatusCode != http.StatusMethodNotAllowed || got != "GET, HEAD" {
		t.Errorf("POST / is answered with %s, Allow %q", refused.Status, got)
	}
	s.do("", "GET", "/healthz", "", http.StatusOK)
	s.do(s.token, "GET", "/nothing", "", http.StatusNotFound)

	if at, err := daemon.Find(s.dir); err != nil || at != (daemon.Endpoint{URL: s.url, Token: s.token}) {
		t.Errorf("it is found at %s, %v, and listens on %s", at.URL, err, s.url)
	}
	s.stop()
	for _, resp := range streams {
		got, err := io.ReadAll(resp.Body)
		if err != nil || !strings.HasPrefix(string(got), "data: {\"type\":\"connected\"}\n") || !strings.Contains(string(got), "git status") {
			t.Errorf("the stream ended with %v after\n%s", err, got)
		}
		resp.Body.Close()
	}
	if got := files(t, s.dir, "audit"); len(got) != 3 {
		t.Errorf("the log has %d events, want 3", len(got))
	}
	again := start(t, s.dir)
	if again.token != s.token {
		t.Error("the second start made another token")
	}
	again.stop()
}

// TestDemo answers what the demo asks, and wants nothing of it in the log of
// what was done.
func TestDemo(t *testing.T) {
	s := start(t, t.TempDir())
	s.do(s.token, "POST", "/v1/audit/events", `{"agent":"a","tool":"exec","decision":{"action":"allow"}}`, http.StatusCreated)
	s.stop()
	before := files(t, s.dir, "audit")

	s = start(t, s.dir, "-demo")
	if at, err := daemon.Find(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an agent would record its calls in the demo's log: %s, %v", at.URL, err)
	}
	s.prints(`with a log of its own in ` + regexp.QuoteMeta(filepath.Join(s.dir, "demo")))
	s.do(s.token, "POST", s.prints(`^    curl .* http://[^/]+(/v1/approvals/\w+/resolve)$`), `{"approved":true}`, http.StatusOK)
	s.stop()
	if got := files(t, s.dir, "audit"); len(before) != 1 || !slices.Equal(got, before) {
		t.Errorf("the log was\n%s\nis\n%s", before, got)
	}
	if got := strings.Join(files(t, s.dir, "demo"), ""); !strings.Contains(got, `"action":"approved"`) {
		t.Errorf("the demo's log:\n%s", got)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, t.TempDir())
	address := strings.TrimPrefix(s.url, "http://")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-addr", address, "-dir", t.TempDir()}, 1, "another program listens on " + address},
		{[]string{"-addr", "127.0.0.1:0", "-dir", s.dir}, 1, fmt.Sprint(s.cmd.Process.Pid)},
		{[]string{"-dir", t.TempDir(), "now"}, 2, `unexpected argument "now"`},
		{[]string{"-keep", "90d"}, 2, "-keep"},
	} {
		cmd := exec.Command(binary, c.args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: code %d, want %d; it prints\n%s", c.args, got, c.code, out)
		}
	}
}
