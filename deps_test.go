package rampart_test

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rampartlog/rampart"

// TestDependencies keeps what a host inherits to what docs/dependencies.md names.
func TestDependencies(t *testing.T) {
	allowed := []string{
		"github.com/oklog/ulid/v2",
		"github.com/r3labs/sse/v2",
		"golang.org/x/net",
		"gopkg.in/cenkalti/backoff.v1",
	}
	used := make(map[string]bool)
	for _, p := range imports(t, "-deps", ".") {
		i := slices.IndexFunc(allowed, func(m string) bool { return within(p, m) })
		if i >= 0 {
			used[allowed[i]] = true
		} else if !within(p, module) {
			t.Errorf("import %q pulls in %s: every host inherits it; do without, or give the reason in docs/dependencies.md and name it here", module, p)
		}
	}
	for _, m := range allowed {
		if !used[m] {
			t.Errorf("%s is allowed and not used: strike it here and in docs/dependencies.md", m)
		}
	}
}

// TestInternalImports keeps each internal package, and the page's, to its one job.
func TestInternalImports(t *testing.T) {
	for _, c := range []struct {
		name   string
		why    string
		forbid []string
	}{
		{"internal/record", "it is pure: bytes in, bytes out", []string{"os", "net", "time", "sync", "log", module}},
		{"internal/segment", "it opens files through vfs alone", []string{"os", "syscall", "net", module}},
		{"internal/vfs", "it is the operating system's files and knows nothing of ours", []string{"net", "encoding/json", module}},
		{"internal/vfs/vfstest", "it stands in for a disk", []string{"net", module}},
		{"internal/framelog", "it is a log of bytes in memory", []string{"net", "encoding/json", module}},
		{"internal/sse", "it is a format", []string{"net/http", "encoding/json", module}},
		{"dashboard", "it serves files, and finds the API from the browser", []string{"os", "golang.org", "gopkg.in", "github.com"}},
	} {
		for _, p := range imports(t, "./"+c.name) {
			for _, f := range c.forbid {
				// The internal packages may use each other, never what is above them.
				if within(p, f) && !(f == module && within(p, module+"/internal")) {
					t.Errorf("%s imports %s: %s", c.name, p, c.why)
				}
			}
		}
	}
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

// imports lists packages outside the standard library with -deps, and all
// direct imports without.
func imports(t *testing.T, args ...string) []string {
	t.Helper()
	format := `{{if not .Standard}}{{.ImportPath}}{{end}}`
	if args[0] != "-deps" {
		format = `{{range .Imports}}{{.}} {{end}}`
	}
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
