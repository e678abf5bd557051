package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rampartlog/rampart/client"
)

// patience ends a test that hangs; a busy machine needs far less.
const patience = time.Minute

// program is a running binary and the lines that it prints on both outputs.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	said  output
	ended chan error
}

func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	binary := filepath.Join(dir, filepath.Base(pkg)+".exe")
	if out, err := exec.Command("go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "no required module provides package") { // GOWORK=off: the server is another module
			t.Skipf("go build %s: %s", pkg, out)
		}
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

func execute(t *testing.T, home, binary string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(binary, args...), lines: make(chan string, 1000), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), "HOME="+home, "USERPROFILE="+home)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(io.TeeReader(r, &p.said)); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	go func() {
		err := p.cmd.Wait()
		w.Close()
		p.ended <- err
	}()
	t.Cleanup(func() {
		if p.cmd.Process.Kill() == nil {
			<-p.ended
		}
	})
	return p
}

// wait waits for a line that the expression matches, and returns the match and its
// groups.
func (p *program) wait(expression string) []string {
	p.t.Helper()
	re := regexp.MustCompile(expression)
	limit := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-limit:
			p.t.Fatalf("no line is like %s:\n%s", expression, &p.said)
		}
	}
}

// stop ends the program by SIGTERM, and wants a clean end.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("%s ended with %v:\n%s", p.cmd.Path, err, &p.said)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s does not end:\n%s", p.cmd.Path, &p.said)
	}
}

// TestBinaries is a user's first minute: the daemon's and the monitor's binaries,
// and a webhook over a network.
func TestBinaries(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs two programs")
	}
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	dir := t.TempDir()
	server := build(t, dir, "github.com/rampartlog/rampart/example/server")
	monitor := build(t, dir, "github.com/rampartlog/rampart/example/monitor")

	texts := make(chan string, 100)
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		texts <- body.Text
	}))
	defer hook.Close()
	certificate := filepath.Join(dir, "hook.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	if err := os.WriteFile(certificate, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", certificate)
	hookFile := filepath.Join(dir, "hook")
	if err := os.WriteFile(hookFile, []byte(hook.URL+"/services/"+hookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	d := execute(t, dir, server, "-addr", "127.0.0.1:0", "-demo")
	address := d.wait(`listening addr=(\S+)`)[1]
	m := execute(t, dir, monitor, "-url", "http://"+address, "-webhook-file", hookFile, "-state", "~/state")
	m.wait(`pending  claude-code shop/main exec "rewrites published history" \(.* left\): git push --force origin main$`)
	answer := m.wait(`^    (curl .*/v1/approvals/(\w+)/resolve)$`)
	m.wait(`deny     claude-code shop/main exec "deletes the whole file system": rm -rf / --no-preserve-root$`)
	if _, err := exec.LookPath("curl"); err == nil {
		if out, err := exec.Command("sh", "-c", answer[1]).CombinedOutput(); err != nil || !bytes.Contains(out, []byte(`"status":"approved"`)) {
			t.Fatalf("%s: %v\n%s", answer[1], err, out)
		}
		m.wait(`approved claude-code shop/main exec approval ` + answer[2] + ` by admin: git push --force origin main$`)
	}
	m.stop()

	posted := ""
	for len(texts) > 0 {
		posted += <-texts
	}
	for _, want := range []string{"Rampart: 1 pending\n", "rm -rf / --no-preserve-root\n", answer[2] + "/resolve\n"} {
		if !strings.Contains(posted, want) {
			t.Errorf("no %q was posted:\n%s", want, posted)
		}
	}
	for _, secret := range strings.Split(hookSecret, "/") {
		if strings.Contains(m.said.String(), secret) {
			t.Errorf("the monitor said a secret:\n%s", &m.said)
		}
	}

	// One event while neither runs, and one while only the daemon does.
	d.stop()
	d = execute(t, dir, server, "-addr", "127.0.0.1:0")
	address = d.wait(`listening addr=(\S+)`)[1]
	token, err := os.ReadFile(filepath.Join(dir, ".rampart", "token"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+address, &client.Options{Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Record(t.Context(), event("deny", "unseen")); err != nil {
		t.Fatal(err)
	}
	m = execute(t, dir, monitor, "-url", "http://"+address, "-state", "~/state")
	m.wait(`deny     claude-code shop/main exec "not here": unseen$`)
	m.stop()

	wrong := filepath.Join(dir, "wrong")
	if err := os.WriteFile(wrong, []byte("not-the-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = execute(t, dir, monitor, "-url", "http://"+address, "-token-file", wrong)
	m.wait(`^monitor: unauthorized: .*401.*-token-file`)
	if err := <-m.ended; m.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("a wrong token: %v", err)
	}
	d.stop()
}
