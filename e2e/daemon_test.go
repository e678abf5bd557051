// The tests start the real daemon and let programs of others speak to it: the
// user's own samples, clients of Server-Sent Events, browsers and the shell. They
// measure no time: the bounds only end a test that hangs.
package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
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

// scratch holds what all tests use until they are over.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "rampart-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Tests that run in parallel wait more than they work.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		flag.Set("test.parallel", "4")
	}
	code := m.Run()
	stopBrowser()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// binary builds the daemon that people install, minimal the one to be read and
// copied.
var (
	binary  = built("../cmd/rampart")
	minimal = built("../example/server")
)

// built builds a program once, when it is first asked for.
func built(dir string) func() (path string, err error) {
	return sync.OnceValues(func() (string, error) {
		path := filepath.Join(scratch, filepath.Base(dir))
		if runtime.GOOS == "windows" {
			path += ".exe"
		}
		if out, err := exec.Command("go", "build", "-C", filepath.FromSlash(dir), "-o", path, ".").CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
		return path, nil
	})
}

const (
	defaultAddress = "127.0.0.1:9090"
	streamPath     = "/v1/events/stream"
	eventsPath     = "/v1/audit/events"
	approvalsPath  = "/v1/approvals"
)

// daemon is a running daemon that keeps its log where it does by default, in
// .rampart of its home.
type daemon struct {
	t       *testing.T
	home    string
	address string
	prefix  string // of its API, where a host has it elsewhere
	token   string // admin's
	args    []string
	minimal bool // it is example/server
	*program
}

// start starts a daemon in a home of its own, on a port of its own. When the
// test ends it verifies the log and stops the daemon.
func start(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, home: t.TempDir(), args: args}
	d.launchAnywhere()
	return d
}

// startAtDefault is start on the default port, or on another when that is taken.
func startAtDefault(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, home: t.TempDir(), args: args}
	d.launchAtDefault()
	return d
}

// withBoth runs a test with the daemon that people install and with the one to
// be read and copied.
func withBoth(t *testing.T, test func(*testing.T, *daemon)) {
	for name, minimal := range map[string]bool{"cmd/rampart": false, "example/server": true} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{t: t, home: t.TempDir(), minimal: minimal}
			d.launchAtDefault()
			test(t, d)
		})
	}
}

func (d *daemon) launchAnywhere() {
	d.t.Helper()
	for d.address == "" {
		// Below the ports that systems give to connections: while the daemon
		// is down nobody else gets its port.
		d.launch(fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
	}
}

func (d *daemon) launchAtDefault() {
	d.t.Helper()
	if d.launch(""); d.address == "" {
		d.launchAnywhere()
	}
}

// launch starts the daemon on address, the default one when empty. When that is
// taken, d.address stays empty.
func (d *daemon) launch(address string) {
	d.t.Helper()
	build, args := binary, []string{"serve"}
	if d.minimal {
		build, args = minimal, nil
	}
	path, err := build()
	if err != nil {
		d.t.Fatal(err)
	}
	if address != "" {
		args = append(args, "-addr", address)
	}
	args = append(args, d.args...)
	d.program = run(d.t, command{env: []string{"HOME=" + d.home}}, path, args...)
	d.errors.until(d.t, "the daemon listens", func(text string) bool {
		return strings.Contains(text, "msg=listening") || !d.running()
	})
	m := listening.FindStringSubmatch(d.errors.String())
	if m == nil {
		if d.wait(); !strings.Contains(d.errors.String(), "address already in use") {
			d.t.Fatalf("the daemon ended with %v:\n%s", d.err, d.errors)
		}
		return
	}
	d.address = m[1]
	d.token = strings.TrimSpace(readFile(d.t, d.home, ".rampart", "token"))
	d.t.Cleanup(d.finish)
}

// finish verifies the log and stops the daemon, if it still runs.
func (d *daemon) finish() {
	if !d.running() {
		return
	}
	var report struct{ OK bool }
	if body := d.call("GET", "/v1/audit/verify", ""); json.Unmarshal([]byte(body), &report) != nil || !report.OK {
		d.t.Errorf("verify at the end of the test: %s", body)
	}
	d.stop()
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// stop ends the daemon as an operator does, and wants a clean end.
func (d *daemon) stop() {
	d.t.Helper()
	if runtime.GOOS == "windows" {
		d.kill()
		return
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	if d.wait(); d.err != nil {
		d.t.Errorf("the daemon ended with %v\n%s", d.err, d.errors)
	}
}

// restart starts the daemon again, where it was.
func (d *daemon) restart() {
	d.t.Helper()
	address := d.address
	d.address = ""
	if d.launch(address); d.address == "" {
		d.t.Fatalf("%s was taken while the daemon was down", address)
	}
}

func (d *daemon) url(path string) string { return "http://" + d.address + d.prefix + path }

// httpClient keeps no connections, since a restart of the daemon cuts them.
var httpClient = &http.Client{Timeout: 2 * patience, Transport: &http.Transport{DisableKeepAlives: true}}

// send sends a request as the admin. Its error is that of the connection, or a
// status other than success.
func (d *daemon) send(method, path, body string) (string, error) {
	req, err := http.NewRequest(method, d.url(path), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	switch {
	case strings.Contains(body, "}\n"):
		req.Header.Set("Content-Type", "application/x-ndjson")
	case body != "":
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	return string(data), err
}

// call is send where nothing may go wrong.
func (d *daemon) call(method, path, body string) string {
	d.t.Helper()
	data, err := d.send(method, path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return data
}

// append records a call.
func (d *daemon) append(command, action string) {
	d.t.Helper()
	d.call("POST", eventsPath, event(command, action))
}

// event is the user's example of an event.
func event(command, action string) string {
	return fmt.Sprintf(`{"timestamp":"2026-03-03T10:15:30Z","agent":"claude-code","session":"myapp/main","tool":"exec","request":{"command":%q},`+
		`"decision":{"action":%q,"matched_policies":["allow-git"],"evaluation_time_us":8,"message":"git command allowed"}}`, command, action)
}

// ask opens an approval and returns its id.
func (d *daemon) ask(command, run string, seconds int) string {
	d.t.Helper()
	var a struct{ ID string }
	body := d.call("POST", approvalsPath, fmt.Sprintf(
		`{"agent":"claude-code","session":"myapp/main","run_id":%q,"tool":"exec","command":%q,"message":"publishes","ttl_seconds":%d}`, run, command, seconds))
	if err := json.Unmarshal([]byte(body), &a); err != nil || a.ID == "" {
		d.t.Fatalf("%s: %v", body, err)
	}
	return a.ID
}

// subscribed waits until that many streams are open.
func (d *daemon) subscribed(n int) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var status struct{ Subscribers int }
		if body := d.call("GET", "/v1/status", ""); json.Unmarshal([]byte(body), &status) != nil {
			d.t.Fatalf("GET /v1/status: %s", body)
		}
		if status.Subscribers == n {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%d streams are open, want %d", status.Subscribers, n)
		}
	}
}

// lines are the stored lines of the log, read from its files.
func (d *daemon) lines() []string {
	d.t.Helper()
	segments, err := filepath.Glob(filepath.Join(d.home, ".rampart", "audit", "*.jsonl"))
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(segments)
	var all []string
	for _, s := range segments {
		for line := range strings.Lines(readFile(d.t, s)) {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
