package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const site = "agents.example.com" // the name in the blocks of docs/embedding.md

// proxy is a real proxy in front of the program. It has the configuration of
// docs/embedding.md, with sockets in place of ports.
type proxy struct {
	language string // of its block in the document
	ready    string // it logs this once it listens
	start    func(t *testing.T, dir, config string) *exec.Cmd
	edit     func(dir, upstream string) []string // returns changes to the block: old, new, old, new …
}

var proxies = map[string]proxy{
	"nginx": {
		language: "nginx",
		ready:    `getrlimit`,
		start: func(t *testing.T, dir, config string) *exec.Cmd {
			// One process, so that ending it ends all.
			main := fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr notice;
events {}
http {
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
%[2]s
}`, dir, config)
			return exec.Command(tool(t, "nginx"), "-e", "stderr", "-p", dir, "-c", write(t, dir, "nginx.conf", main))
		},
		edit: func(dir, upstream string) []string {
			return []string{
				"listen 443 ", "listen unix:" + filepath.Join(dir, "socket") + " ",
				"/etc/ssl/" + site + ".pem", filepath.Join(dir, "cert"),
				"/etc/ssl/" + site + ".key", filepath.Join(dir, "key"),
				"/var/log/nginx/" + site + ".log", filepath.Join(dir, "access"),
				"127.0.0.1:8080", upstream,
			}
		},
	},
	"caddy": {
		language: "caddyfile",
		ready:    `serving initial configuration`,
		start: func(t *testing.T, dir, config string) *exec.Cmd {
			main := "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n" + config
			cmd := exec.Command(tool(t, "caddy"), "run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", main))
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
			return cmd
		},
		edit: func(dir, upstream string) []string {
			return []string{
				site + " {", fmt.Sprintf("https://%[2]s {\n\tbind unix/%[1]s/socket\n\ttls %[1]s/cert %[1]s/key", dir, site),
				"/var/log/caddy/" + site + ".log", filepath.Join(dir, "access"),
				"127.0.0.1:8080", upstream,
			}
		},
	},
}

// block returns the document's only fenced block in that language.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%d blocks of %s, want 1", len(found), language)
	}
	return string(found[0][1])
}

// replace fails unless each old text stands in text exactly once.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("%q stands %d times in\n%s", pairs[i], n, text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func write(t *testing.T, dir, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// behind puts a proxy between the app and its client, over HTTP/2 and TLS. It
// makes the changes in more to the proxy's block, and returns the directory of the
// access log.
func (a *app) behind(p proxy, more ...string) (dir string) {
	t := a.t
	t.Helper()
	dir = t.TempDir()
	certificate, key := selfSignedPEM(t, site)
	write(t, dir, "cert", string(certificate))
	write(t, dir, "key", string(key))
	edits := append(p.edit(dir, strings.TrimPrefix(a.url, "http://")), more...)

	var said output
	cmd := p.start(t, dir, replace(t, block(t, p.language), edits...))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", &said)
		}
	})
	said.waitFor(t, p.ready)

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	a.url = "http://" + site
	a.overTLS(pool, func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "socket"))
	})
	return dir
}

// TestProxies sends through proxies everything that they are known to break.
func TestProxies(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			tool(t, name)
			a := onLoopback(t, options{host: site, heartbeat: time.Hour}) // so that no heartbeat pushes a message out
			direct := *a
			dir := a.behind(p)
			ann := a.login("ann")

			w := a.watch(ann, streamPath, "Accept-Encoding", "gzip")
			if enc := w.resp.Header.Get("Content-Encoding"); w.resp.ProtoMajor != 2 || enc != "" {
				t.Errorf("the stream is %s, %q", w.resp.Proto, enc)
			}
			first := a.record("first")
			if e := w.event(); e.ID != first {
				t.Errorf("live: %+v", e)
			}
			position := w.id
			w.resp.Body.Close()
			a.logs.waitFor(t, `path=/v1/events/stream status=200`) // the program noticed that its client left
			a.record("second")
			w = a.watch(ann, streamPath, "Last-Event-ID", position)
			if e := w.event(); e.Request.Command != "second" {
				t.Errorf("resumed: %+v", e)
			}
			if m := w.next(); m.Type != "approvals" {
				t.Errorf("resumed: %+v", m)
			}

			// A request larger than nginx takes by default, and an answer larger than its buffers.
			line := fmt.Sprintf(call, strings.Repeat("x", 4000)) + "\n"
			a.do(claude, "POST", "/v1/audit/events", strings.Repeat(line, 2000), "Content-Type", "application/x-ndjson").want(http.StatusCreated)
			const export = "/v1/audit/export?from=2000-01-01"
			got, want := a.do(ann, "GET", export, "").want(http.StatusOK), direct.do(ann, "GET", export, "").want(http.StatusOK)
			if got.body != want.body || strings.Count(got.body, "\n") != 2002 {
				t.Errorf("%d bytes through the proxy, %d without", len(got.body), len(want.body))
			}

			// The program gets the name that pages know the site by.
			id := a.ask()
			resolve := "/v1/approvals/" + id + "/resolve"
			a.do(ann, "POST", resolve, `{"approved":true}`, "Origin", "https://evil.example").want(http.StatusForbidden)
			a.do(ann, "POST", resolve, `{"approved":true}`, "Origin", "https://"+site).want(http.StatusOK)

			var ticket struct{ Token string }
			a.do(ann, "POST", "/v1/events/ticket", "").want(http.StatusOK).into(&ticket)
			a.secrets = append(a.secrets, ticket.Token)
			a.watch(nobody, streamPath+"?type=approvals&token="+ticket.Token).resp.Body.Close()

			// When the program ends, streams end cleanly and are not broken off.
			last := a.watch(ann, streamPath)
			a.stop()
			last.ends()
			text, err := os.ReadFile(filepath.Join(dir, "access"))
			if err != nil || !bytes.Contains(text, []byte("/v1/events/stream")) {
				t.Errorf("the proxy's access log: %v\n%s", err, text)
			}
			for _, s := range a.secrets {
				if bytes.Contains(text, []byte(s)) {
					t.Errorf("a secret is in the proxy's access log:\n%s", text)
				}
			}
		})
	}
}

// docs/embedding.md says what other settings do.
func TestProxiesSetOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		proxy    string
		old, new string
		encoding string // Content-Encoding of the stream
		large    int    // status of a request of 2 MB
	}{
		"nginx gzip":         {"nginx", "proxy_read_timeout 75s;", "proxy_read_timeout 75s; gzip on; gzip_types *; gzip_proxied any;", "gzip", 201},
		"nginx default body": {"nginx", "client_max_body_size 32m;", "", "", 413},
		"caddy encode":       {"caddy", "reverse_proxy", "encode gzip\n\treverse_proxy", "", 201},
	} {
		t.Run(name, func(t *testing.T) {
			tool(t, c.proxy)
			a := onLoopback(t, options{host: site, heartbeat: time.Hour})
			a.behind(proxies[c.proxy], c.old, c.new)
			resp := a.open(a.login("ann"), "GET", streamPath, "", "Accept-Encoding", "gzip")
			if got := resp.Header.Get("Content-Encoding"); got != c.encoding {
				t.Fatalf("Content-Encoding %q, want %q", got, c.encoding)
			}
			if c.encoding == "gzip" {
				late := time.AfterFunc(patience, func() { resp.Body.Close() })
				z, err := gzip.NewReader(resp.Body)
				if late.Stop(); err != nil {
					t.Fatal(err)
				}
				resp.Body = struct {
					io.Reader
					io.Closer
				}{z, resp.Body}
			}
			w := newWatcher(t, resp)
			if id := a.record("ls"); w.event().ID != id {
				t.Errorf("got %+v, want event %s", w.last, id)
			}
			line := fmt.Sprintf(call, strings.Repeat("x", 4000)) + "\n"
			if got := a.do(claude, "POST", "/v1/audit/events", strings.Repeat(line, 500), "Content-Type", "application/x-ndjson"); got.status != c.large {
				t.Errorf("2 MB of events: %d, want %d", got.status, c.large)
			}
		})
	}
}

// An answer that the program breaks off is broken off for the client too. Over
// HTTP/1.0, which nginx speaks by default, it would look whole.
func TestNginxPassesOnThatAnAnswerBrokeOff(t *testing.T) {
	tool(t, "nginx")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "the first line of many")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer backend.Close()
	for version, whole := range map[string]bool{"1.1": false, "1.0": true} {
		a := &app{t: t, url: backend.URL}
		a.behind(proxies["nginx"], "proxy_http_version 1.1", "proxy_http_version "+version)
		resp := a.open(nobody, "GET", "/", "")
		if body, err := io.ReadAll(resp.Body); (err == nil) != whole || len(body) == 0 {
			t.Errorf("HTTP/%s: %q, %v", version, body, err)
		}
	}
}

// nginx ends an answer that is silent for proxy_read_timeout; heartbeats keep the
// stream from being silent. A machine that stalls for that long proves nothing, so
// that the test tries again.
func TestHeartbeatKeepsTheProxysConnection(t *testing.T) {
	tool(t, "nginx")
	const limit = time.Second
	// beats returns how many heartbeats came before the stream was cut off, at most
	// most.
	beats := func(t *testing.T, heartbeat time.Duration, most int) (n int) {
		a := onLoopback(t, options{host: site, heartbeat: heartbeat})
		a.behind(proxies["nginx"], "proxy_read_timeout 75s", "proxy_read_timeout 1s")
		w := a.watch(a.login("ann"), streamPath)
		for ; n < most; n++ {
			if _, err := w.frame(); err != nil {
				break
			}
		}
		return n
	}
	t.Run("without", func(t *testing.T) {
		if n := beats(t, time.Hour, 1); n > 0 {
			t.Error("something came, and it should have been cut off in silence")
		}
	})
	t.Run("with", func(t *testing.T) {
		const often, most = limit / 20, 40 // twice the limit
		for range 10 {
			if beats(t, often, most) == most {
				return
			}
		}
		t.Skip("this machine stalls too much")
	})
}
