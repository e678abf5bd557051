package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const library = "github.com/rampartlog/rampart"

// TestInstall installs the modules here as everybody installs published ones:
// outside of the checkout and of go.work, through a module proxy.
func TestInstall(t *testing.T) {
	p := publish(t)
	rampart := filepath.Join(p.bin, "rampart")
	p.run(t, t.TempDir(), "install", library+"/cmd/rampart@"+p.version)

	t.Run("rampart", func(t *testing.T) {
		if out, err := exec.Command(rampart, "-version").Output(); string(out) != p.version+"\n" || err != nil {
			t.Errorf("rampart -version prints %s, %v; want %s", out, err, p.version)
		}
		d := run(t, command{dir: t.TempDir()}, rampart, "serve", "-addr", "127.0.0.1:0", "-dir", "home")
		if got := get(t, "http://"+d.says(listening)+"/healthz"); !strings.Contains(got, `"version":"`+p.version+`"`) {
			t.Errorf("healthz: %s", got)
		}
		d.interrupt()
	})
	t.Run("example/mounted", func(t *testing.T) {
		p.run(t, t.TempDir(), "install", library+"/example/mounted@"+p.version)
	})
	// The program under "In your own program", word for word.
	t.Run("README.md", func(t *testing.T) {
		dir := t.TempDir()
		p.run(t, dir, "mod", "init", "example.com/agent")
		p.run(t, dir, "get", library+"@latest")
		p.run(t, dir, "get", library+"/dashboard@latest", library+"/daemon@latest")
		if err := os.WriteFile(filepath.Join(dir, "main.go"), readmeProgram(t), 0o600); err != nil {
			t.Fatal(err)
		}
		p.run(t, dir, "vet", ".")
		p.run(t, dir, "build", "-o", "agent.exe", ".") // a name that runs everywhere
		agent := run(t, command{dir: dir, env: []string{"RAMPART_TOKEN=choose-one"}}, filepath.Join(dir, "agent.exe"))
		base := agent.says(regexp.MustCompile(`open (http://\S+)/dashboard/`))
		if page := get(t, base+"/dashboard/"); !strings.Contains(page, "<title>Rampart") {
			t.Errorf("the dashboard is %s", page)
		}
		d := &daemon{t: t, address: strings.TrimPrefix(base, "http://"), token: "choose-one"}
		d.resolve(d.asked(), true, "ann")
		if got := agent.says(regexp.MustCompile(`here it would run: (.*)\n`)); got != `{"command":"git push --force"}` {
			t.Errorf("it would run %s", got)
		}
		agent.interrupt()
		verify := exec.Command(rampart, "verify", "-dir", "audit")
		verify.Dir = dir
		if out, err := verify.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok: ") {
			t.Errorf("verify: %v\n%s", err, out)
		}
	})
}

// readmeProgram is the program in README.md, with the imports that an editor would
// add, and on another port when its own is taken.
func readmeProgram(t *testing.T) []byte {
	t.Helper()
	_, section, _ := strings.Cut(readFile(t, "..", "README.md"), "\n## In your own program\n")
	found, _ := blocks(section)
	if len(found) == 0 || found[0].language != "go" {
		t.Fatal("README.md has no program of your own")
	}
	body := found[0].text
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "9091"))
		if err != nil {
			body = strings.ReplaceAll(body, ":9091", ":0")
			continue
		}
		ln.Close()
	}
	program := "package main\n\nfunc main() {\n" + body + "}\n"
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", program, 0)
	if err != nil {
		t.Fatal(err)
	}
	var imports strings.Builder
	for name, path := range map[string]string{
		"context": "context", "json": "encoding/json", "log": "log", "http": "net/http", "os": "os", "signal": "os/signal",
		"rampart": library, "daemon": library + "/daemon", "dashboard": library + "/dashboard",
	} {
		for _, used := range f.Unresolved {
			if used.Name == name {
				fmt.Fprintf(&imports, "import %q\n", path)
				break
			}
		}
	}
	return []byte(strings.Replace(program, "\n\n", "\n\n"+imports.String()+"\n", 1))
}

// asked waits for an approval that nobody has answered, and returns its id.
func (d *daemon) asked() string {
	d.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var list struct{ Approvals []struct{ ID string } }
		body := d.call("GET", approvalsPath, "")
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			d.t.Fatalf("%v in %s", err, body)
		}
		if len(list.Approvals) > 0 {
			return list.Approvals[0].ID
		}
	}
	d.t.Fatal("nobody asks")
	return ""
}

// says waits until the program has written something that matches re to its
// standard error, and returns that.
func (p *program) says(re *regexp.Regexp) string {
	p.t.Helper()
	var m []string
	p.errors.until(p.t, re.String(), func(text string) bool {
		m = re.FindStringSubmatch(text)
		return m != nil || !p.running()
	})
	if m == nil {
		p.t.Fatalf("%s ended with %v:\n%s%s", p.cmd, p.err, p.output, p.errors)
	}
	return m[1]
}

// interrupt presses Ctrl-C and wants a clean end.
func (p *program) interrupt() {
	p.t.Helper()
	if runtime.GOOS == "windows" {
		p.kill()
		return
	}
	interruptGroup(p.cmd.Process.Pid)
	if p.wait(); p.err != nil {
		p.t.Errorf("%s ended with %v:\n%s%s", p.cmd, p.err, p.output, p.errors)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := httpClient.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// published is a module proxy in files, and a Go that finds these modules nowhere
// else.
type published struct {
	version string
	bin     string // where go install installs
	env     []string
	proxies []string // in the order in which they are asked
}

// publish puts the modules of go.work into a proxy, at the version that they
// require of each other.
func publish(t *testing.T) *published {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	type in struct{ path, dir string }
	var modules []in
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Dir string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, in{m.Path, m.Dir})
	}
	if len(modules) < 4 {
		t.Fatalf("go.work joins %v", modules)
	}
	p := &published{version: required(t)}
	proxy := t.TempDir()
	for _, m := range modules {
		text := readFile(t, m.dir, "go.mod")
		f, err := modfile.Parse("go.mod", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Replace) > 0 {
			t.Errorf("%s has a replace: nobody can install it with go install", m.path)
		}
		for _, r := range f.Require {
			if strings.HasPrefix(r.Mod.Path+"/", library+"/") && r.Mod.Version != p.version {
				t.Errorf("%s requires %s, another module %s", m.path, r.Mod, p.version)
			}
		}
		dir := filepath.Join(proxy, filepath.FromSlash(m.path), "@v")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		if err := zip.Create(&archive, module.Version{Path: m.path, Version: p.version}, moduleFiles(t, m.dir)); err != nil {
			t.Errorf("%s can't be published: %v", m.path, err)
		}
		for name, content := range map[string]string{
			"list":              p.version + "\n",
			p.version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, p.version),
			p.version + ".mod":  text,
			p.version + ".zip":  archive.String(),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}

	known, err := exec.Command("go", "env", "-json", "GOMODCACHE", "GOCACHE", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	var dirs struct{ GOMODCACHE, GOCACHE, GOPROXY string }
	if err := json.Unmarshal(known, &dirs); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	p.bin = filepath.Join(path, "bin")
	p.proxies = []string{fileURL(proxy), fileURL(filepath.Join(dirs.GOMODCACHE, "cache", "download")), dirs.GOPROXY}
	p.env = append(os.Environ(), "GOENV=off", "GOWORK=off", "GOPATH="+path, "GOMODCACHE="+filepath.Join(path, "mod"), "GOBIN="+p.bin,
		"GOCACHE="+dirs.GOCACHE, "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB=", "GOTOOLCHAIN=local",
		"GOSUMDB=off",                   // the checksum database knows nothing of these modules
		"GOFLAGS=-modcacherw -trimpath", // the module cache can be removed, and the build cache counts though paths differ each time
	)
	return p
}

// required is the version of the library that cmd/rampart requires.
func required(t *testing.T) string {
	t.Helper()
	f, err := modfile.Parse("go.mod", []byte(readFile(t, "..", "cmd", "rampart", "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(f.Require, func(r *modfile.Require) bool { return r.Mod.Path == library })
	if i < 0 || f.Require[i].Mod.Version == "v0.0.0" {
		t.Fatalf("cmd/rampart requires no version of %s that can be published", library)
	}
	return f.Require[i].Mod.Version
}

// run runs Go in dir. Go uses the network only for a module that no cache of this
// machine has.
func (p *published) run(t *testing.T, dir string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for _, n := range []int{2, 3} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(p.env, "GOPROXY="+strings.Join(p.proxies[:n], ","))
		if out, err = cmd.CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
}

func fileURL(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // it begins with a drive
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// moduleFiles are the files of a module that are kept under version control, by
// the rules of .gitignore.
func moduleFiles(t *testing.T, root string) (files []zip.File) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			if slices.Contains([]string{".git", ".cache", "node_modules"}, d.Name()) || path != root && other == nil {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if ext := filepath.Ext(path); ext != ".test" && ext != ".prof" && ext != ".out" {
			files = append(files, moduleFile{filepath.ToSlash(rel), path})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

type moduleFile struct{ name, path string }

func (f moduleFile) Path() string                 { return f.name }
func (f moduleFile) Lstat() (os.FileInfo, error)  { return os.Lstat(f.path) }
func (f moduleFile) Open() (io.ReadCloser, error) { return os.Open(f.path) }
