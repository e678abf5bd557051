// The tests start the real daemon and speak to it over HTTP alone, as its users
// do. They measure no time: the bounds only end a test that hangs.
package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience ends a test that hangs; a busy machine needs far less.
const patience = time.Minute

// Tokens of the two agents that every daemon of the tests knows.
const (
	claudeToken = "claude-token-0123456789abcdef"
	codexToken  = "codex-token-0123456789abcdef"
)

var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rampart-daemon-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "rampart")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, fmt.Sprintf("-race=%t", raceEnabled), ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// daemon is a running rampart serve.
type daemon struct {
	t     *testing.T
	dir   string
	base  string // http://127.0.0.1:PORT
	token string // admin's
	out   *output
	cmd   *exec.Cmd
	done  chan struct{} // closed once it has ended
	err   error         // how it ended, once done
}

// start starts a daemon on a directory of its own, with the two agents' tokens.
func start(t *testing.T, args ...string) *daemon {
	t.Helper()
	return startIn(t, t.TempDir(), args...)
}

// startIn starts a daemon on dir. When the test ends it verifies the log, stops
// the daemon and searches all that it printed for tokens.
func startIn(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	tokens := writeFile(t, dir, "agents", "claude-code "+claudeToken+"\ncodex-cli "+codexToken+"\n", 0o600)
	d := launch(t, dir, append([]string{"-agent-token-file", tokens}, args...)...)
	var address string
	select {
	case address = <-d.out.address:
	case <-d.done:
		t.Fatalf("the daemon ended at once: %v\n%s", d.err, d.out)
	case <-time.After(patience):
		t.Fatalf("the daemon does not listen:\n%s", d.out)
	}
	d.base = "http://" + address
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	d.token = strings.TrimSpace(string(token))
	t.Cleanup(func() {
		if d.running() {
			if got := d.admin("GET", "/v1/audit/verify", "").object(); got["ok"] != true {
				t.Errorf("verify at the end of the test: %v", got)
			}
			d.stop()
		}
		d.checkOutput()
	})
	return d
}

// launch starts the daemon without waiting for anything.
func launch(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	return run(t, dir, exec.Command(binary, append([]string{"serve", "-addr", "127.0.0.1:0", "-dir", dir}, args...)...))
}

// verify starts rampart verify on the log in dir.
func verify(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	return run(t, dir, exec.Command(binary, append([]string{"verify", "-dir", dir}, args...)...))
}

// run is launch for a command that runs the binary on dir.
func run(t *testing.T, dir string, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: dir, out: newOutput(), done: make(chan struct{}), cmd: cmd}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	// The race detector would wait a second at each daemon's end.
	d.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(d.kill)
	return d
}

func (d *daemon) running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// kill ends the daemon as kill -9 does.
func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.done
}

// stop ends the daemon as an operator does, and wants a clean end.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if d.wait(); d.err != nil {
		d.t.Errorf("the daemon ended with %v\n%s", d.err, d.out)
	}
}

func (d *daemon) signal(s os.Signal) {
	d.t.Helper()
	if runtime.GOOS == "windows" {
		d.t.Skip("Windows has no SIGTERM")
	}
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) wait() {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(patience):
		d.t.Fatalf("the daemon does not end:\n%s", d.out)
	}
}

// checkOutput wants no token and no data race in anything that was printed.
func (d *daemon) checkOutput() {
	d.t.Helper()
	text := d.out.String()
	for _, secret := range []string{d.token, claudeToken, codexToken} {
		if strings.Contains(text, secret) {
			d.t.Errorf("the daemon printed a token:\n%s", text)
		}
	}
	if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic") {
		d.t.Errorf("the daemon printed:\n%s", text)
	}
}

func (d *daemon) segments() []string {
	d.t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.dir, "audit", "*.jsonl"))
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

// lines are the stored lines of the log, read from its files.
func (d *daemon) lines() []string {
	d.t.Helper()
	var all []string
	for _, s := range d.segments() {
		data, err := os.ReadFile(s)
		if err != nil {
			d.t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

func writeFile(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// output keeps what a daemon prints and finds the address in it.
type output struct {
	address chan string // sent to once

	mu      sync.Mutex
	buf     bytes.Buffer
	found   bool
	changed chan struct{} // closed by the next write
}

func newOutput() *output {
	return &output{address: make(chan string, 1), changed: make(chan struct{})}
}

var listening = regexp.MustCompile(`msg"?[=:]"?listening"?.*addr"?[=:]"?([^" ]+:[0-9]+)`)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	if m := listening.FindSubmatch(o.buf.Bytes()); m != nil && !o.found {
		o.found = true
		o.address <- string(m[1])
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// waitFor waits until what was printed matches.
func (o *output) waitFor(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		o.mu.Lock()
		m, changed := re.FindStringSubmatch(o.buf.String()), o.changed
		o.mu.Unlock()
		if m != nil {
			return m
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s never came:\n%s", pattern, o)
		}
	}
}

// httpClient keeps no connections, so that tests do not see each other's.
var httpClient = &http.Client{
	Timeout:   2 * patience,
	Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
}

// reply is an answer, read to its end.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do sends a request. headers are name, value, name, value …; a body is JSON
// unless they say otherwise.
func (d *daemon) do(token, method, path, body string, headers ...string) reply {
	d.t.Helper()
	resp, err := httpClient.Do(d.request(token, method, path, body, headers...))
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{t: d.t, status: resp.StatusCode, header: resp.Header, body: string(data)}
}

func (d *daemon) request(token, method, path, body string, headers ...string) *http.Request {
	d.t.Helper()
	req, err := http.NewRequest(method, d.base+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		if pair[0] == "Host" {
			req.Host = pair[1]
		}
		req.Header.Set(pair[0], pair[1])
	}
	return req
}

func (d *daemon) admin(method, path, body string, headers ...string) reply {
	d.t.Helper()
	return d.do(d.token, method, path, body, headers...)
}

// want checks the status and gives the answer back.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// into decodes the body.
func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
}

func (r reply) object() map[string]any {
	r.t.Helper()
	var v map[string]any
	r.into(&v)
	return v
}

// fault is the text of an error answer.
func (r reply) fault() string {
	r.t.Helper()
	text, _ := r.object()["error"].(string)
	if text == "" {
		r.t.Errorf("an error without text: %s", r.body)
	}
	return text
}

// append posts events as NDJSON and returns their ids.
func (d *daemon) append(token string, events ...string) []string {
	d.t.Helper()
	var got struct {
		IDs []string `json:"ids"`
	}
	d.do(token, "POST", "/v1/audit/events", strings.Join(events, "\n")+"\n",
		"Content-Type", "application/x-ndjson").want(http.StatusCreated).into(&got)
	if len(got.IDs) != len(events) {
		d.t.Fatalf("%d ids for %d events", len(got.IDs), len(events))
	}
	return got.IDs
}

// event is an event of agent's, with a command to tell it by.
func event(agent, command string) string {
	return fmt.Sprintf(`{"agent":%q,"session":"myapp/main","tool":"exec","request":{"command":%q},`+
		`"decision":{"action":"allow","matched_policies":["allow-git"],"evaluation_time_us":8,"message":"ok"}}`, agent, command)
}

// page is the answer of GET /v1/audit/events.
type page struct {
	Events     []json.RawMessage `json:"events"`
	NextOffset int               `json:"next_offset"`
	NextCursor string            `json:"next_cursor"`
	Date       string            `json:"date"`
}

// query returns the events of one page, oldest first unless the query says otherwise.
func (d *daemon) query(query string) page {
	d.t.Helper()
	var p page
	d.admin("GET", "/v1/audit/events?"+query, "").want(http.StatusOK).into(&p)
	return p
}

// commands are the request.command of lines, which name events in these tests.
func commands[T ~string | ~[]byte](t *testing.T, lines []T) []string {
	t.Helper()
	list := []string{}
	for _, line := range lines {
		list = append(list, string(parse(t, string(line)).Request.Command))
	}
	return list
}

// stored is what tests look at in a stored line.
type stored struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Agent     string    `json:"agent"`
	Session   string    `json:"session"`
	RunID     string    `json:"run_id"`
	Tool      string    `json:"tool"`
	Request   struct {
		Command command `json:"command"`
		Action  string  `json:"action"`
	} `json:"request"`
	Decision struct {
		Action string `json:"action"`
	} `json:"decision"`
	Approval map[string]any `json:"approval"`
	PrevHash string         `json:"prev_hash"`
	Hash     string         `json:"hash"`
}

// command is a command as most agents send it; any other form reads as "".
type command string

func (c *command) UnmarshalJSON(b []byte) error {
	if b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, (*string)(c))
}

func parse(t *testing.T, line string) stored {
	t.Helper()
	var s stored
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return s
}

// position is the stream's name for the place of a line.
func position(t *testing.T, line string) string {
	t.Helper()
	s := parse(t, line)
	return s.ID + "." + s.Hash[:16]
}

// until asks the daemon again and again until cond holds.
func (d *daemon) until(what string, cond func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: never", what)
		}
	}
}

// exitCode is -1 when the daemon was killed.
func (d *daemon) exitCode() int {
	var exit *exec.ExitError
	if errors.As(d.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
