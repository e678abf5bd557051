package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// sample is a sample of the user's specification as it stands there. Only the port
// differs when the daemon's own is taken.
func (d *daemon) sample(name string) string {
	d.t.Helper()
	_, port, _ := strings.Cut(d.address, ":")
	return strings.ReplaceAll(readFile(d.t, "samples", name), ":9090", ":"+port)
}

// play does what the specification speaks of: calls are allowed and denied, an
// approval comes up and is answered, and several are answered in bulk.
func (d *daemon) play() {
	d.t.Helper()
	d.append("git status", "allow")
	d.append("rm -rf /", "deny")
	id := d.ask("git push", "", 60)
	d.call("POST", approvalsPath+"/"+id+"/resolve", `{"approved":true}`)
	d.ask("git tag v1", "run_1", 60)
	d.ask("git tag v2", "run_1", 60)
	d.call("POST", approvalsPath+"/bulk-resolve", `{"run_id":"run_1","action":"deny"}`)
}

// played are the messages that play makes, as a client prints them: audit followed
// by the action, approvals and batch for the other messages, "" for not at all.
func played(audit, approvals, batch string) []string {
	lines := []string{
		audit + "allow",
		audit + "deny",
		audit + "ask", approvals,
		audit + "approved", approvals,
		audit + "ask", approvals,
		audit + "ask", approvals,
		batch, approvals,
	}
	return slices.DeleteFunc(lines, func(s string) bool { return s == "" })
}

// ends waits for as many lines as are wanted, and stops the daemon. It wants the
// program to end by itself, without an error, and to have printed just these lines.
func (d *daemon) ends(p *program, want []string) {
	d.t.Helper()
	p.prints(len(want))
	d.stop()
	if p.wait(); p.err != nil {
		d.t.Errorf("%s ended with %v\n%s", p.cmd, p.err, p.errors)
	}
	if diff := cmp.Diff(want, p.prints(len(want))); diff != "" {
		d.t.Errorf("%s printed %s", p.cmd, diff)
	}
}

// shell runs a sample for the shell, in the daemon's home.
func (d *daemon) shell(name string, env ...string) *program {
	d.t.Helper()
	need(d.t, "curl")
	return run(d.t, command{env: append(env, "HOME="+d.home)}, need(d.t, "bash"), "-c", d.sample(name))
}

// TestSamplesCurl runs both curl samples and wants the messages that stand under
// "Output". The specification shows a message of each kind there, and leaves out
// what clients need besides: the ids to resume from, and the approval's own event
// before its notice.
func TestSamplesCurl(t *testing.T) {
	shown := strings.Split(strings.TrimSpace(varying.ReplaceAllString(readFile(t, "samples", "output.txt"), `"$1":"…"`)), "\n")
	for _, name := range []string{"curl-bearer.sh", "curl-query.sh"} {
		t.Run(name, func(t *testing.T) {
			withBoth(t, func(t *testing.T, d *daemon) {
				p := d.shell(name)
				p.frames(1)
				d.append("git status", "allow")
				d.ask("git pull", "", 1) // nobody answers it
				p.frames(6)
				d.play()
				want := slices.Concat(
					[]string{shown[0], shown[1], "audit ask", shown[2], "audit expired", shown[2], shown[1]},
					played("audit ", shown[2], `data: {"type":"audit_batch","run_id":"run_1"}`)[1:],
				)
				frames := p.frames(len(want))
				d.stop()
				if p.wait(); p.err != nil {
					t.Errorf("curl ended with %v\n%s", p.err, p.errors)
				}
				var got []string
				for _, frame := range frames {
					data, rest, _ := strings.Cut(frame, "\n")
					got = append(got, inShort(t, data, shown))
					if strings.HasPrefix(rest, "id: ") != (data != shown[2]) {
						t.Errorf("ids belong to all messages but approvals: %s", frame)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("curl printed %s", diff)
				}
			})
		})
	}
}

// frames waits until curl has printed that many messages, and returns them.
func (p *program) frames(n int) []string {
	p.t.Helper()
	var frames []string
	p.output.until(p.t, "curl prints more", func(text string) bool {
		frames = strings.Split(text, "\n\n")
		frames = slices.DeleteFunc(frames[:len(frames)-1], func(f string) bool { return f == ": keepalive" })
		return len(frames) >= n || !p.running()
	})
	return frames
}

// varying are the values that the specification abbreviates.
var varying = regexp.MustCompile(`"(id|prev_hash|hash)":"[^"]*"`)

// inShort is a line in the form in which the specification shows it, if it is among
// shown, otherwise the kind of the line.
func inShort(t *testing.T, line string, shown []string) string {
	t.Helper()
	if s := varying.ReplaceAllString(line, `"$1":"…"`); slices.Contains(shown, s) || strings.Contains(s, "audit_batch") {
		return s
	}
	var m struct {
		Type  string
		Event struct{ Decision struct{ Action string } }
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &m); err != nil {
		t.Errorf("%v in %s", err, line)
	}
	return m.Type + " " + m.Event.Decision.Action
}

// TestSampleApprovals runs the shell loop; its TOKEN is that of an earlier sample.
func TestSampleApprovals(t *testing.T) {
	d := startAtDefault(t)
	p := d.shell("approvals.sh", "TOKEN="+d.token)
	d.subscribed(1)
	d.play()
	want := slices.Repeat([]string{"Approval queue changed — check dashboard"}, 5)
	d.ends(p, want)
}

// python runs Debian's Python, for which there is a package of requests. A terminal
// would show each line at once; into a pipe Python has to be told to.
func (d *daemon) python(program string) *program {
	d.t.Helper()
	python := need(d.t, "/usr/bin/python3")
	if exec.Command(python, "-c", "import requests").Run() != nil {
		lacks(d.t, "python3-requests")
	}
	return run(d.t, command{env: []string{"HOME=" + d.home, "PYTHONUNBUFFERED=1"}}, python, "-c", program)
}

func TestSamplePython(t *testing.T) {
	withBoth(t, func(t *testing.T, d *daemon) {
		p := d.python(d.sample("stream.py"))
		p.prints(1)
		d.play()
		d.ends(p, append([]string{"Connected to Rampart"}, played("exec: ", "Approval queue changed", "")...))
	})
}

// TestSampleMonitor runs the monitoring loop, which goes on from the response of
// the sample before it. The test adds the function that the loop calls.
func TestSampleMonitor(t *testing.T) {
	d := startAtDefault(t)
	opening, _, _ := strings.Cut(d.sample("stream.py"), "for line in")
	p := d.python(opening + `
def send_to_monitoring(event):
    print(event['request']['command'], event['decision']['action'])
` + d.sample("monitor.py"))
	d.subscribed(1)
	d.play()
	d.ends(p, []string{"rm -rf / deny"})
}

func TestSampleGo(t *testing.T) {
	d := startAtDefault(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(d.sample("client/main.go")), 0o600); err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(dir, "client")
	if out, err := exec.Command("go", "build", "-o", client, source).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := run(t, command{env: []string{"HOME=" + d.home}}, client)
	p.prints(1)
	d.play()
	want := []string{"Event: connected"}
	for _, line := range played("Event: audit ", "Event: approvals", "Event: audit_batch") {
		kind, _, _ := strings.Cut(line, "audit ")
		if kind != line {
			line = kind + "audit"
		}
		want = append(want, line)
	}
	d.ends(p, want)
}

// TestSamplesAreTheUsers compares the samples with the specification beside the
// checkout, in which the white space is not the user's own.
func TestSamplesAreTheUsers(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "..", "shared", "spec", "events-stream.txt"))
	if err != nil {
		t.Skip("no specification beside the checkout: ", err)
	}
	squeeze := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, s)
	}
	for _, name := range []string{
		"curl-bearer.sh", "curl-query.sh", "output.txt", "browser.js", "dashboard.js", "stream.py", "monitor.py", "client/main.go", "approvals.sh",
	} {
		if !strings.Contains(squeeze(string(spec)), squeeze(readFile(t, "samples", name))) {
			t.Errorf("%s is not what the specification says", name)
		}
	}
}
