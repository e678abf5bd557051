package e2e_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// languages are those of fenced blocks besides sh, and how a block is checked: by
// the program that is to read it.
var languages = map[string]func(t *testing.T, text string){
	"text":      nil, // for people
	"go":        nil, // docs_test.go of the library compiles it
	"json":      checkJSON,
	"nginx":     checkNginx,
	"caddyfile": checkCaddyfile,
	"yaml":      checkPrometheus,
	"ini":       checkUnit,
}

// checkJSON takes one value, or one on each line.
func checkJSON(t *testing.T, text string) {
	d := json.NewDecoder(strings.NewReader(text))
	for {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// check runs a checker in a directory of its own and wants it to succeed.
func check(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return string(out)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	nginxListen = regexp.MustCompile(`(\blisten\s+)([^\s;]+)`)
	nginxCert   = regexp.MustCompile(`(\bssl_certificate(?:_key)?\s+)[^\s;]+`)
	notWord     = regexp.MustCompile(`\W`)
)

// nginxPlaces are for files that are root's unless a configuration says otherwise.
const nginxPlaces = `
access_log off;
client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
`

// checkNginx takes a whole configuration, the inside of its http, or the inside of
// a server. nginx gets sockets in place of ports, since even a check opens them, and
// a certificate.
func checkNginx(t *testing.T, text string) {
	nginx := need(t, "nginx")
	// Not t.TempDir, whose paths are too long for a socket.
	dir, err := os.MkdirTemp("", "nginx-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if !strings.Contains(text, "server {") {
		text = "server {\nlisten 80;\n" + text + "}\n"
	}
	if !strings.Contains(text, "http {") {
		text = "events {}\nhttp {\n" + text + "}\n"
	}
	text = strings.Replace(text, "http {", "http {"+nginxPlaces, 1)
	text = nginxListen.ReplaceAllStringFunc(text, func(s string) string {
		m := nginxListen.FindStringSubmatch(s)
		return m[1] + "unix:" + filepath.Join(dir, notWord.ReplaceAllString(m[2], "_"))
	})
	text = nginxCert.ReplaceAllString(text, "${1}"+certificate(t, dir))
	check(t, dir, nginx, "-t", "-p", dir, "-e", "stderr", "-g", "pid nginx.pid;", "-c", write(t, filepath.Join(dir, "nginx.conf"), text))
}

// certificate makes a file with a certificate and its key.
func certificate(t *testing.T, dir string) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	c := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "certificate.pem"), string(append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)))
}

func checkCaddyfile(t *testing.T, text string) {
	caddy, dir := need(t, "caddy"), t.TempDir()
	check(t, dir, caddy, "validate", "--adapter", "caddyfile", "--config", write(t, filepath.Join(dir, "Caddyfile"), text))
}

// checkPrometheus takes rules, and Prometheus' own configuration.
func checkPrometheus(t *testing.T, text string) {
	promtool, dir := need(t, "promtool"), t.TempDir()
	path := write(t, filepath.Join(dir, "prometheus.yml"), text)
	if regexp.MustCompile(`(?m)^groups:`).MatchString(text) {
		check(t, dir, promtool, "check", "rules", path)
	} else {
		check(t, dir, promtool, "check", "config", "--syntax-only", path)
	}
}

var (
	unitName = regexp.MustCompile(`^# \S*?([^\s/]+\.(?:service|socket|timer|path))\n`)
	unitExec = regexp.MustCompile(`(?m)^(Exec\w+=[-@:+!|]*)/\S+`)
)

// checkUnit takes a unit of systemd, a service unless a comment in its first line
// names its file. It puts a program that exists in place of the one that the unit
// runs.
func checkUnit(t *testing.T, text string) {
	analyze, dir := need(t, "systemd-analyze"), t.TempDir()
	name := "rampart.service"
	if m := unitName.FindStringSubmatch(text); m != nil {
		name = m[1]
	}
	text = unitExec.ReplaceAllString(text, "${1}/bin/true")
	out := check(t, dir, analyze, "verify", "--man=no", "--recursive-errors=no", write(t, filepath.Join(dir, name), text))
	if out != "" && !t.Failed() { // systemd only warns of what it ignores
		t.Error(out)
	}
}
