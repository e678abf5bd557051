package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	local "github.com/rampartlog/rampart/daemon"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// metric is the value of a line of GET /metrics, -1 when there is none.
func (d *daemon) metric(name string) float64 {
	d.t.Helper()
	for line := range strings.Lines(d.admin("GET", "/metrics", "").want(http.StatusOK).body) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

func (d *daemon) wantMetric(name string, want float64) {
	d.t.Helper()
	if got := d.metric(name); got != want {
		d.t.Errorf("%s is %v, want %v", name, got, want)
	}
}

func TestHealthz(t *testing.T) {
	d := start(t)
	got := d.do("", "GET", "/healthz", "").want(http.StatusOK)
	if !regexp.MustCompile(`^\{"status":"ok","mode":"record","uptime_seconds":[0-9.]+,"version":"[^"]+"\}\s*$`).MatchString(got.body) {
		t.Errorf("GET /healthz: %s", got.body)
	}
}

func TestStatus(t *testing.T) {
	d := start(t, "-sync", "interval")
	d.append(d.token, event("a", "one"))
	d.askFor("two")
	d.watch("")
	head := parse(t, d.lines()[1])
	got := d.admin("GET", "/v1/status", "").want(http.StatusOK).object()
	for name, want := range map[string]any{
		"mode": "record", "events": 2.0, "segments": 1.0, "sync": "interval", "subscribers": 1.0,
		"slowest_lag_events": 0.0, "pending_approvals": 1.0, "witness_mismatches": 0.0,
		"head":  fmt.Sprint(map[string]any{"id": head.ID, "hash": head.Hash}),
		"bytes": float64(len(strings.Join(d.lines(), "\n")) + 1),
	} {
		value := got[name]
		if name == "head" {
			value = fmt.Sprint(value)
		}
		if value != want {
			t.Errorf("%s: %v, want %v", name, value, want)
		}
	}
	for _, name := range []string{"version", "uptime_seconds"} {
		if got[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	d.admin("GET", "/v1/audit/verify", "")
	if d.admin("GET", "/v1/status", "").object()["last_verify"] == nil {
		t.Error("no last_verify after a verification")
	}
}

func TestMetrics(t *testing.T) {
	d := start(t)
	d.append(d.token,
		`{"agent":"a","tool":"t","request":{},"decision":{"action":"deny","matched_policies":["p","q"],"evaluation_time_us":8}}`,
		`{"agent":"a","tool":"t","request":{},"decision":{"action":"allow"}}`)
	d.append(d.token, event("a", "b"))
	w := d.watch("last_event_id=0")
	w.types("audit", "audit", "audit", "approvals")
	id := d.askFor("ls")
	d.resolve(id, `{"approved":true}`).want(http.StatusOK)
	d.askFor("pwd")
	w.types("audit", "approvals", "audit", "approvals", "audit", "approvals")
	// A message is counted after it was written, and may be read before that.
	d.until("the last message is counted", func() bool { return d.metric(`rampart_stream_events_sent_total{type="approvals"}`) >= 4 })
	for name, want := range map[string]float64{
		`rampart_decisions_total{action="deny",policy="p"}`:          1,
		`rampart_decisions_total{action="allow",policy="none"}`:      1,
		`rampart_decisions_total{action="allow",policy="allow-git"}`: 1,
		`rampart_decisions_total{action="ask",policy="none"}`:        2,
		`rampart_decisions_total{action="approved",policy="none"}`:   1,
		`rampart_eval_duration_seconds_bucket{le="1e-05"}`:           6,
		`rampart_eval_duration_seconds_count`:                        6,
		`rampart_pending_approvals`:                                  1,
		`rampart_stream_subscribers`:                                 1,
		`rampart_stream_opened_total`:                                1,
		`rampart_stream_events_sent_total{type="connected"}`:         1,
		`rampart_stream_events_sent_total{type="audit"}`:             6,
		`rampart_stream_events_sent_total{type="approvals"}`:         4,
		`rampart_stream_resumes_total{result="ok"}`:                  1,
		`rampart_stream_catch_up_events`:                             0,
		`rampart_witness_mismatches_total`:                           0,
		`rampart_audit_appended_total`:                               6,
		`rampart_audit_events`:                                       6,
		`rampart_audit_bytes`:                                        float64(len(strings.Join(d.lines(), "\n")) + 1),
		`rampart_approvals_created_total`:                            2,
		`rampart_approvals_resolved_total{outcome="approved"}`:       1,
		`rampart_approval_wait_seconds_count`:                        1,
	} {
		d.wantMetric(name, want)
	}
	if got := d.metric("rampart_uptime_seconds"); got <= 0 {
		t.Errorf("rampart_uptime_seconds %v", got)
	}
	if got := d.metric("rampart_audit_append_seconds_count"); got <= 0 {
		t.Errorf("rampart_audit_append_seconds_count %v", got)
	}
	w.resp.Body.Close()
	d.until("rampart_stream_closed_total", func() bool { return d.metric(`rampart_stream_closed_total{reason="client"}`) == 1 })
}

func TestMetricsOfTheLongestEvaluation(t *testing.T) {
	d := start(t)
	d.append(codexToken, `{"tool":"t","request":{},"decision":{"action":"allow","evaluation_time_us":9223372036854775807}}`)
	d.wantMetric("rampart_eval_duration_seconds_sum", 9223372036854.775807)
	d.wantMetric(`rampart_eval_duration_seconds_bucket{le="0.1"}`, 0)
}

func TestMetricsCountOnce(t *testing.T) {
	d := start(t)
	for i := range 5 {
		d.append(d.token, event("a", fmt.Sprint(i)))
		d.wantMetric(`rampart_decisions_total{action="allow",policy="allow-git"}`, float64(i+1))
	}
	d.stop()
	d = startIn(t, d.dir)
	d.append(d.token, event("a", "after a restart"))
	d.wantMetric(`rampart_decisions_total{action="allow",policy="allow-git"}`, 1)
}

func TestMetricsLabelsAreBounded(t *testing.T) {
	d := start(t)
	var events []string
	for i := range 300 {
		events = append(events, fmt.Sprintf(`{"agent":"a","tool":"t","request":{},"decision":{"action":"x%c","matched_policies":["p%d"]}}`, 'a'+i%26, i))
	}
	d.append(d.token, events...)
	d.wantMetric(`rampart_decisions_total{action="other",policy="other"}`, 100)
	if n := strings.Count(d.admin("GET", "/metrics", "").body, "rampart_decisions_total{"); n != 201 {
		t.Errorf("%d pairs", n)
	}
}

func TestMetricsLabelsAreShort(t *testing.T) {
	d := start(t)
	for _, size := range []int{256, 257, 500_000} {
		d.append(codexToken, `{"tool":"t","request":{},"decision":{"action":"allow","matched_policies":["`+strings.Repeat("p", size)+`"]}}`)
	}
	d.wantMetric(`rampart_decisions_total{action="allow",policy="`+strings.Repeat("p", 256)+`"}`, 1)
	d.wantMetric(`rampart_decisions_total{action="other",policy="other"}`, 2)
}

// TestMetricsOfAnyPolicyName: an event stays in the log for good, so an event that
// could not be counted would end all scraping.
func TestMetricsOfAnyPolicyName(t *testing.T) {
	d := start(t)
	for _, name := range []string{`\ud800p`, `a\u0000\n\"`} {
		d.append(codexToken, `{"tool":"t","request":{},"decision":{"action":"allow","matched_policies":["`+name+`"]}}`)
	}
	d.wantMetric("rampart_decisions_total{action=\"allow\",policy=\"\ufffdp\"}", 1)
	d.wantMetric("rampart_audit_events", 2)
}

func TestUnmatchedIs404(t *testing.T) {
	d := start(t)
	for _, path := range []string{"/v1/events", "/v1/nothing", "/nothing", "/v1/audit/events/a/b", "/v1/"} {
		got := d.admin("GET", path, "").want(http.StatusNotFound)
		if strings.TrimSpace(got.body) != `{"error":"not found"}` {
			t.Errorf("GET %s: %s", path, got.body)
		}
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no mode bits")
	}
	dir := filepath.Join(t.TempDir(), "fresh")
	d := launch(t, dir)
	d.out.waitFor(t, "listening")
	d.stop()
	for name, want := range map[string]os.FileMode{
		"":                                 0o700,
		"token":                            0o600,
		"audit":                            0o700,
		"audit/00000000000000000001.jsonl": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".token*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTokenIsMadeOnceAndNeverPrinted(t *testing.T) {
	d := start(t)
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(d.token) {
		t.Errorf("the token is not 256 bits in hex: %d characters", len(d.token))
	}
	d.stop()
	again := startIn(t, d.dir)
	if again.token != d.token {
		t.Error("the second start made another token")
	}
}

// TestGreetingCanBePasted runs the command that the daemon prints.
func TestGreetingCanBePasted(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	dir := filepath.Join(t.TempDir(), "it's here")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := startIn(t, dir)
	command := d.out.waitFor(t, `(?m)^ *(curl -N .*)$`)[1]
	cmd := exec.Command("sh", "-c", "exec "+command)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("data: {\"type\":\"connected\"}\n"))
	if _, err := io.ReadFull(out, first); err != nil || string(first) != "data: {\"type\":\"connected\"}\n" {
		t.Errorf("%s printed %q, %v", command, first, err)
	}
	d.stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("curl: %v", err)
	}
}

func TestTokenFilesOfOthersAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no mode bits")
	}
	dir := t.TempDir()
	secret := strings.Repeat("s", 40)
	path := writeFile(t, dir, "token", secret+"\n", 0o644)
	refused(t, launch(t, dir), secret, path, "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	agents := writeFile(t, dir, "agents", "a "+secret+"x\n", 0o640)
	refused(t, launch(t, dir, "-agent-token-file", agents), secret, agents, "chmod 600")
}

// refused wants the daemon to end with an error that says this, and never secret.
func refused(t *testing.T, d *daemon, secret string, says ...string) {
	t.Helper()
	d.wait()
	if code := d.exitCode(); code != 1 && code != 2 {
		t.Errorf("exit code %d\n%s", code, d.out)
	}
	text := d.out.String()
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("it does not say %q:\n%s", s, text)
		}
	}
	if secret != "" && strings.Contains(text, secret) {
		t.Errorf("it prints a token:\n%s", text)
	}
}

func TestAgentTokenFile(t *testing.T) {
	const secret = "secret-secret-secret"
	for name, c := range map[string]struct {
		content string
		says    string
	}{
		"one word":        {"# agents\n\n" + secret, "line 3"},
		"three words":     {"a b " + secret, "line 1"},
		"short":           {"a short", "16"},
		"admin":           {"admin " + secret, "admin"},
		"doubled name":    {"a " + secret + "\na " + secret + "2", "line 2"},
		"doubled token":   {"a " + secret + "\n# x\nb " + secret, "line 3"},
		"a line too long": {"a " + strings.Repeat("x", 70000), "agents"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, dir, "agents", c.content, 0o600)
			refused(t, launch(t, dir, "-agent-token-file", path), secret, path, c.says)
		})
	}
	t.Run("absent", func(t *testing.T) {
		dir := t.TempDir()
		refused(t, launch(t, dir, "-agent-token-file", dir+"/none"), "", dir+"/none")
	})
	t.Run("the admin's", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, dir, "token", secret, 0o600)
		path := writeFile(t, dir, "agents", "a "+secret, 0o600)
		refused(t, launch(t, dir, "-agent-token-file", path), secret, "-agent-token-file", "admin")
	})
	t.Run("characters that a header can't carry", func(t *testing.T) {
		dir := t.TempDir()
		wide := secret + "\u00e9"
		path := writeFile(t, dir, "agents", "a "+wide, 0o600)
		refused(t, launch(t, dir, "-agent-token-file", path), wide, "rampart: -agent-token-file: ", `agent "a" has characters`)
		admins := writeFile(t, dir, "token", wide, 0o600)
		refused(t, launch(t, dir), wide, "rampart: "+admins+": ", "admin token has characters")
	})
	t.Run("comments and blank lines", func(t *testing.T) {
		dir := t.TempDir()
		path := writeFile(t, dir, "agents", "# agents\n\n  a\t"+secret+"  \r\n", 0o600)
		d := launch(t, dir, "-agent-token-file", path)
		d.base = "http://" + d.out.waitFor(t, listening.String())[1]
		d.do(secret, "POST", eventsPath, event("a", "ls")).want(http.StatusCreated)
		d.stop()
	})
}

func TestBadFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-sync", "sometimes"}, {"-log-format", "xml"}, {"-approval-ttl", "0s"}, {"-approval-ttl", "721h"}, {"-approval-ttl", "soon"}, {"-allow-origin", "board.example"}, {"serve"}, {"-dir", ""}, {"-allow-host", ""}, {"-nonsense"}, {"-anchor", "x"},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		d := launch(t, dir, args...)
		refused(t, d, "", args[0])
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: it made the directory: %v", args, err)
		}
		if d.exitCode() != 2 {
			t.Errorf("%v: exit code %d, want 2", args, d.exitCode())
		}
	}
}

func TestSecondDaemonIsRefusedWithThePidOfTheFirst(t *testing.T) {
	d := start(t)
	refused(t, launch(t, d.dir), d.token, strconv.Itoa(d.cmd.Process.Pid))
	d.admin("GET", "/v1/status", "").want(http.StatusOK)
}

func TestTakenPortIsNamed(t *testing.T) {
	d := start(t)
	address := strings.TrimPrefix(d.base, "http://")
	refused(t, launch(t, t.TempDir(), "-addr", address), "", address, "-addr")
}

func TestDefaultAddressIsLoopback(t *testing.T) {
	out, err := exec.Command(binary, "serve", "-h").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte(`(default "127.0.0.1:9090")`)) || !bytes.Contains(out, []byte(`(default "~/.rampart")`)) {
		t.Errorf("-h prints\n%s", out)
	}
}

func TestBeyondLoopbackIsWarnedOf(t *testing.T) {
	d := launch(t, t.TempDir(), "-addr", "0.0.0.0:0", "-log-format", "json")
	d.out.waitFor(t, `"level":"WARN".*other machines`)
	d.stop()
}

func TestLogFormats(t *testing.T) {
	for format, want := range map[string]string{"text": `msg=listening`, "json": `"msg":"listening"`} {
		d := launch(t, t.TempDir(), "-log-format", format)
		d.out.waitFor(t, want)
		d.stop()
	}
}

// TestStopWithOpenConnections wants SIGTERM and Ctrl-C to end the daemon,
// whatever its peers do, and streams to end cleanly.
func TestStopWithOpenConnections(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			d := start(t)
			live := []*watcher{d.watch(""), d.watch("type=approvals"), d.watch("last_event_id=0")}
			id := d.askFor("ls")
			waited, asked := make(chan int, 1), make(chan struct{})
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
			})
			go func() {
				resp, err := httpClient.Do(d.request(d.token, "GET", "/v1/approvals/"+id+"?wait=60s", "").WithContext(ctx))
				if err != nil {
					waited <- 0
					return
				}
				resp.Body.Close()
				waited <- resp.StatusCode
			}()
			address := strings.TrimPrefix(d.base, "http://")
			for _, said := range []string{
				"",      // never spoke
				"GET /", // half a request line
				"POST /v1/audit/events HTTP/1.1\r\nHost: " + address + "\r\nAuthorization: Bearer " + d.token +
					"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", // half a body
				"GET /healthz HTTP/1.1\r\nHost: " + address + "\r\n\r\n", // idle after a request
			} {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, said); err != nil {
					t.Fatal(err)
				}
			}
			<-asked
			d.do("", "GET", "/healthz", "").want(http.StatusOK) // so all before have been accepted
			d.signal(signal)
			for _, w := range live {
				w.end()
			}
			if d.wait(); d.err != nil {
				t.Errorf("the daemon ended with %v\n%s", d.err, d.out)
			}
			if got := <-waited; got == 0 {
				t.Error("a wait for an approval got no answer")
			}
			d = startIn(t, d.dir)
			if got := len(d.lines()); got != 1 {
				t.Errorf("%d events after a restart, want 1", got)
			}
		})
	}
}

// TestDemo lets a newcomer see calls, a denial and an approval, and approves it.
func TestDemo(t *testing.T) {
	t.Parallel()
	d := start(t, "-demo")
	w := d.watch("last_event_id=0")
	id := ""
	seen := make(map[string]bool)
	for id == "" || !seen["deny"] {
		f := w.next()
		if f.Type != "audit" {
			continue
		}
		e := parse(t, string(f.Event))
		seen[e.Decision.Action] = true
		if e.Decision.Action == "ask" {
			id = e.ID
		}
	}
	d.out.waitFor(t, `/v1/approvals/`+id+`/resolve`)
	d.resolve(id, `{"approved":true,"resolved_by":"ann"}`).want(http.StatusOK)
	d.out.waitFor(t, `approval was answered.*approved`)
	command := d.approval(id).Command
	for {
		f := w.next()
		if f.Type != "audit" {
			continue
		}
		if e := parse(t, string(f.Event)); e.Decision.Action == "allow" && string(e.Request.Command) == command {
			return // the agent ran what it had asked for
		}
	}
}

// TestDemoLeavesTheLogAlone: made-up events never stand among real ones, even while
// the daemon of the same directory runs.
func TestDemoLeavesTheLogAlone(t *testing.T) {
	d := start(t)
	d.append(d.token, event("a", "real"))
	demo := launch(t, d.dir, "-demo")
	demo.out.waitFor(t, `a log of its own in `+regexp.QuoteMeta(filepath.Join(d.dir, "demo"))+`\.`)
	demo.base, demo.token = "http://"+demo.out.waitFor(t, listening.String())[1], d.token
	for w := demo.watch("last_event_id=0"); w.next().Type != "audit"; {
	}
	if at := strings.TrimSpace(string(readFile(t, filepath.Join(d.dir, "url")))); at != d.base {
		t.Errorf("who looks for the daemon is led to %s, and it listens on %s", at, d.base)
	}
	demo.stop()
	d.append(d.token, event("a", "real, too"))
	if got := commands(t, d.lines()); !slices.Equal(got, []string{"real", "real, too"}) {
		t.Errorf("the log holds %q", got)
	}
	if played, err := filepath.Glob(filepath.Join(d.dir, "demo", "*.jsonl")); len(played) != 1 || len(readFile(t, played[0])) == 0 {
		t.Errorf("the demo's log: %v, %v", played, err)
	}
}

// TestFound wants clients of the machine to find the daemon while it runs.
func TestFound(t *testing.T) {
	d := start(t)
	if at, err := local.Find(d.dir); err != nil || at != (local.Endpoint{URL: d.base, Token: d.token}) {
		t.Errorf("%s, %v; it listens on %s", at.URL, err, d.base)
	}
	d.stop()
	notFound := func(when string) {
		t.Helper()
		if at, err := local.Find(d.dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no daemon runs in "+d.dir) {
			t.Errorf("%s: %s, %v", when, at.URL, err)
		}
	}
	notFound("once it has stopped")
	demo := startIn(t, d.dir, "-demo") // in whose log no agent may record its calls
	notFound("while a demo runs")
	demo.stop()
}

// TestLocalhost reaches the daemon under each name of a loopback address.
func TestLocalhost(t *testing.T) {
	d := start(t)
	names := []string{"127.0.0.1", "localhost"}
	if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		ln.Close()
		names = append(names, "[::1]")
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(d.base, "http://"), ":")
	for _, name := range names {
		d.base = "http://" + name + ":" + port
		d.admin("GET", "/v1/status", "").want(http.StatusOK)
	}
}

// TestDocumentedMetrics wants every metric that docs/operations.md names to be there.
func TestDocumentedMetrics(t *testing.T) {
	d := start(t)
	d.resolve(d.askFor("ls"), `{"approved":true}`)
	served := d.admin("GET", "/metrics", "").want(http.StatusOK).body
	named := regexp.MustCompile(`\brampart_\w+`).FindAllString(string(readFile(t, "../../docs/operations.md")), -1)
	for _, name := range named {
		if !strings.Contains(served, "\n"+name) {
			t.Errorf("docs/operations.md names %s, which is not there", name)
		}
	}
	if len(named) < 10 {
		t.Errorf("found %d names", len(named))
	}
}

// TestDocumentedFlags wants the tables in docs/operations.md to have exactly the
// flags of the verbs.
func TestDocumentedFlags(t *testing.T) {
	names := func(pattern string, text []byte) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			found = append(found, string(m[1]))
		}
		slices.Sort(found)
		return found
	}
	page := readFile(t, "../../docs/operations.md")
	for verb, least := range map[string]int{"serve": 10, "verify": 2} {
		help, err := exec.Command(binary, "help", verb).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		table := regexp.MustCompile("(?ms)^`rampart " + verb + "`.*?\n\n(\\|.*?)\n\n").Find(page)
		want := names(`(?m)^  -([a-z-]+)`, help)
		if got := names("(?m)^\\| `-([a-z-]+)` \\|", table); !slices.Equal(got, want) || len(want) < least {
			t.Errorf("%s: documented %v, there are %v", verb, got, want)
		}
	}
}
