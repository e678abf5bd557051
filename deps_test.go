package rampart_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const module = "github.com/rampartlog/rampart"

// TestDependencies keeps what an import of the module's packages pulls in to what
// docs/dependencies.md names.
func TestDependencies(t *testing.T) {
	root := []string{"github.com/oklog/ulid/v2"}
	client := append([]string{"github.com/r3labs/sse/v2", "golang.org/x/net", "gopkg.in/cenkalti/backoff.v1"}, root...)
	for dir, allowed := range map[string][]string{".": root, "./client": client} {
		used := make(map[string]bool)
		for _, p := range imports(t, "-deps", dir) {
			i := slices.IndexFunc(allowed, func(m string) bool { return within(p, m) })
			if i >= 0 {
				used[allowed[i]] = true
			} else if !within(p, module) {
				t.Errorf("import of %s pulls in %s: every host inherits it; do without, or give the reason in docs/dependencies.md and name it here", dir, p)
			}
		}
		for _, m := range allowed {
			if !used[m] {
				t.Errorf("%s is allowed for %s and not used: strike it here and in docs/dependencies.md", m, dir)
			}
		}
	}
}

// TestImportsRunDown keeps the order of the internal packages, ground first. Each
// may import the packages in its row, which stand in rows above, and no other of
// ours.
func TestImportsRunDown(t *testing.T) {
	order := []struct{ name, may string }{
		{"vfs", ""},
		{"framelog", ""},
		{"failure", ""},
		{"tally", ""},
		{"record", ""},
		{"segment", "record"},
		{"sse", "record"},
		{"ledger", "failure tally record segment vfs"},
		{"bus", "failure record sse framelog ledger"},
		{"httpio", "failure record"},
		{"guard", "failure httpio"},
		{"stream", "failure tally record sse framelog ledger bus httpio"},

		// Only tests import these.
		{"formattest", ""},
		{"heaptest", ""},
		{"logtest", ""},
		{"pipetest", ""},
		{"vfs/vfstest", "vfs"},
	}
	placed := map[string]string{}
	for _, p := range order {
		for _, m := range strings.Fields(p.may) {
			if _, above := placed[m]; !above {
				t.Errorf("internal/%s may import internal/%s, which does not stand above it", p.name, m)
			}
		}
		placed[p.name] = p.may
	}
	const internal = module + "/internal/"
	for _, path := range list(t, "{{.ImportPath}}", "./internal/...") {
		name := strings.TrimPrefix(path, internal)
		may, ok := placed[name]
		if !ok {
			t.Errorf("internal/%s has no place in the order of packages: give it one here", name)
			continue
		}
		for _, p := range imports(t, "./internal/"+name) {
			if below, ours := strings.CutPrefix(p, internal); ours && !slices.Contains(strings.Fields(may), below) {
				t.Errorf("internal/%s imports internal/%s: imports run downward; give it what it needs as an argument", name, below)
			}
		}
	}
}

// never says what a package may not import, and why.
var never = []struct {
	name   string
	why    string
	forbid []string
}{
	{"internal/record", "it is pure: bytes in, bytes out", []string{"os", "net", "time", "sync", "log", "encoding/json", module}},
	{"internal/failure", "it is the errors that packages share", []string{"os", "net", "time", "sync", "log", "encoding", module}},
	{"internal/tally", "it counts, and knows nothing of what", []string{"os", "net", "log", "encoding", module}},
	{"internal/segment", "it opens files through vfs alone", []string{"os", "syscall", "net", module}},
	{"internal/vfs", "it is the operating system's files and knows nothing of ours", []string{"net", "encoding/json", module}},
	{"internal/vfs/vfstest", "it stands in for a disk", []string{"net", module}},
	{"internal/framelog", "it is a log of bytes in memory", []string{"net", "encoding/json", module}},
	{"internal/sse", "it is a format", []string{"net/http", "encoding/json", module}},
	{"internal/ledger", "it is the log on disk, and opens files through vfs alone", []string{"os", "syscall", "net", module}},
	{"internal/bus", "it is frames in memory", []string{"os", "net", module}},
	{"internal/stream", "it answers from the bus, and knows no token and no route", []string{"os", "crypto", module}},
	{"internal/httpio", "it carries bodies and answers, and knows no route and no log", []string{"os", "syscall", "crypto", "github.com/oklog", module}},
	{"internal/guard", "it lets requests in, and does not look at what they ask", []string{"os", "syscall", "log", "encoding/json", "github.com/oklog", module}},
	{"client", "it knows a server by its answers, not by its files", append(inModule("dashboard", "internal/vfs", "internal/segment", "internal/framelog", "internal/bus", "internal/stream", "internal/guard", "internal/httpio"), "os")},
	{"dashboard", "it serves files, and finds the API from the browser", []string{"os", "golang.org", "gopkg.in", "github.com"}},
}

// TestInternalImports keeps each internal package, the client and the page's
// package to its one job.
func TestInternalImports(t *testing.T) {
	for _, c := range never {
		for _, p := range imports(t, "./"+c.name) {
			for _, f := range c.forbid {
				// The internal packages may use each other, and nothing else of the module.
				if within(p, f) && !(f == module && within(p, module+"/internal")) {
					t.Errorf("%s imports %s: %s", c.name, p, c.why)
				}
			}
		}
	}
}

func inModule(dirs ...string) (paths []string) {
	for _, d := range dirs {
		paths = append(paths, module+"/"+d)
	}
	return paths
}

// TestDaemonImports keeps what serves and finds a daemon to the library alone,
// since clients use it as well.
func TestDaemonImports(t *testing.T) {
	for _, p := range imports(t, "./daemon") {
		if strings.Contains(p, ".") && p != module {
			t.Errorf("daemon imports %s: it may import %s and Go's own packages", p, module)
		}
	}
}

// TestDocsArchitecture compares the table of docs/architecture.md with the import
// graph: each package has a row, below those of the packages that it imports, with
// exactly its imports of ours and what it never imports.
func TestDocsArchitecture(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([^`]+)`|the root")
	names := func(cell string) (out []string) {
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			out = append(out, m[1]) // "" is the root
		}
		slices.Sort(out)
		return out
	}
	above := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| (.+?) \|(.*?)\|(.*?)\|$`).FindAllStringSubmatch(string(text), -1)[2:] {
		name := names(row[1])[0]
		var ours, forbidden []string
		for _, p := range imports(t, "./"+name) {
			if within(p, module) {
				ours = append(ours, strings.TrimPrefix(strings.TrimPrefix(p, module), "/"))
			}
		}
		slices.Sort(ours)
		for _, c := range never {
			if c.name == name {
				forbidden = slices.DeleteFunc(slices.Clone(c.forbid), func(f string) bool { return within(f, module) })
			}
		}
		slices.Sort(forbidden)
		if diff := cmp.Diff(ours, names(row[3]), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: its imports (-graph +table):\n%s", row[1], diff)
		}
		if diff := cmp.Diff(forbidden, names(row[4]), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: what it never imports (-this test +table):\n%s", row[1], diff)
		}
		for _, o := range ours {
			if !above[o] {
				t.Errorf("%s imports %q, which does not stand above it", row[1], o)
			}
		}
		above[name] = true
	}
	for _, path := range list(t, "{{.ImportPath}}", "./...") {
		if name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/"); !above[name] {
			t.Errorf("%s has no row", path)
		}
	}
}

// imports lists packages outside the standard library with -deps, and all
// direct imports without.
func imports(t *testing.T, args ...string) []string {
	t.Helper()
	if args[0] == "-deps" {
		return list(t, `{{if not .Standard}}{{.ImportPath}}{{end}}`, args...)
	}
	return list(t, `{{range .Imports}}{{.}} {{end}}`, args...)
}

// list is what go list says of packages.
func list(t *testing.T, format string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-f", format}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	return strings.Fields(string(out))
}

// within reports whether package p is path or below it.
func within(p, path string) bool { return p == path || strings.HasPrefix(p, path+"/") }
