package rampart_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rampartlog/rampart"
)

// pages are the documents that tell readers how things are.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, path := range append(paths, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(data)
	}
	return texts
}

// blocks are the fenced blocks of a language.
func blocks(text, language string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// TestDocsGo wants each Go block to be the body of an Example, which compiles, a
// program that passes vet, or a part of the file that its first line names.
func TestDocsGo(t *testing.T) {
	examples := exampleBodies(t)
	for path, text := range pages(t) {
		for _, m := range regexp.MustCompile("(?ms)^```go ([^\n]+)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
			if src, err := os.ReadFile(m[1]); err != nil || !strings.Contains(flush(string(src)), flush(m[2])) {
				t.Errorf("%s: this is not in %s (%v):\n%s", path, m[1], err, m[2])
			}
		}
		for i, block := range blocks(text, "go") {
			if !examples[block] {
				t.Run(fmt.Sprint(path, " block ", i+1), func(t *testing.T) { vet(t, block) })
			}
		}
	}
}

// flush removes the indentation from text.
func flush(text string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(text, "") }

// exampleBodies are the texts between the braces of this package's Examples.
func exampleBodies(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(map[string]bool)
	for _, path := range files {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Example") {
				body := src[fset.Position(fn.Body.Lbrace).Offset+2 : fset.Position(fn.Body.Rbrace).Offset]
				if body, err = format.Source(body); err != nil {
					t.Fatal(err)
				}
				bodies[regexp.MustCompile(`(?m)^\t`).ReplaceAllString(string(body), "")] = true
			}
		}
	}
	return bodies
}

// vet compiles a program within this module, so that it sees the package as it is.
func vet(t *testing.T, program string) {
	t.Helper()
	// A directory that is none of the module's: other tests read those at the same time.
	if err := os.MkdirAll(".cache", 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(".cache", "docs-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", "./"+dir).CombinedOutput(); err != nil {
		t.Errorf("it does not compile as the body of an Example or by itself: %v\n%s\n%s", err, out, program)
	}
}

// TestDocsFormat checks the worked example of docs/format.md by the recipe beside
// it, and as a log.
func TestDocsFormat(t *testing.T) {
	text := pages(t)["docs/format.md"]
	found := blocks(text, "json")
	if len(found) != 1 {
		t.Fatalf("%d examples, want 1", len(found))
	}
	hash := regexp.MustCompile(`,"hash":"([0-9a-f]{64})"\}$`)
	for i, line := range strings.Split(strings.TrimSuffix(found[0], "\n"), "\n") {
		sum := sha256.Sum256([]byte(hash.ReplaceAllString(line, "}")))
		want := hex.EncodeToString(sum[:])
		if m := hash.FindStringSubmatch(line); m == nil || m[1] != want {
			t.Errorf("line %d does not end in its hash, %s", i+1, want)
		}
		if i == 0 && !strings.Contains(text, "prints `"+want+"`") {
			t.Errorf("the recipe prints %s", want)
		}
	}
	const segment = "00000000000000000001.jsonl"
	if !strings.Contains(text, segment) {
		t.Errorf("%s is not named", segment)
	}
	report, err := rampart.VerifyChain(t.Context(), fstest.MapFS{segment: {Data: []byte(found[0])}})
	if err != nil || !report.OK() || report.Events != 2 {
		t.Errorf("as a log: %+v, %v", report, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, segment), []byte(found[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	chain, err := rampart.OpenAuditChain(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := chain.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, segment)); err != nil || !bytes.Equal(data, []byte(found[0])) {
		t.Errorf("opened and closed it is\n%s%v", data, err)
	}
}

// TestDocsPruning runs the commands of docs/format.md that check a pruned log.
func TestDocsPruning(t *testing.T) {
	for _, name := range []string{"sh", "sed", "tr", "sha256sum", "grep", "head"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	recipe := blocks(pages(t)["docs/format.md"], "sh norun")[0]
	dir := t.TempDir()
	c := openChain(t, filepath.Join(dir, "audit"), rampart.AuditOptions{}.WithSegmentSize(3000))
	appendN(t, c, 20)
	prune(t, c, soon())
	appendN(t, c, 20)
	r := verified(t, c)
	var statement string
	for _, line := range all(t, c, rampart.Query{Filter: rampart.Filter{Tool: []string{"prune"}}}) {
		statement = rampart.Record(line).Hash()
	}
	cmd := exec.Command("sh", "-euc", recipe)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("%s  -\n1\n\"last_hash\":\"%s\"\n\"prev_hash\":\"%[2]s\"\n", statement, r.Pruned.LastHash)
	if string(out) != want || err != nil {
		t.Errorf("%s\nprints (%v)\n%s\nwant\n%s", recipe, err, out, want)
	}
}

// TestDocsLinks wants every relative link to lead somewhere.
func TestDocsLinks(t *testing.T) {
	for path, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestDocsDependencies wants the list of dependencies to be that of go.mod, and
// to name what the other modules require themselves.
func TestDocsDependencies(t *testing.T) {
	text := pages(t)["docs/dependencies.md"]
	for _, path := range []string{"go.mod", "bench/go.mod", "e2e/go.mod", "cmd/rampart/go.mod", "example/mounted/go.mod", "tools/go.mod"} {
		mod, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+) v\S+( // indirect)?$`).FindAllStringSubmatch(string(mod), -1) {
			inherited := path == "go.mod" || m[2] == ""
			if inherited && m[1] != module && !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("docs/dependencies.md does not name %s of %s", m[1], path)
			}
		}
	}
}

// TestDocsClaims wants the tests that docs name to exist, and each case of
// docs/durability.md to name one.
func TestDocsClaims(t *testing.T) {
	declared := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(src), -1) {
				declared[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	texts := pages(t)
	for path, text := range texts {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !declared[m[1]] {
				t.Errorf("%s: there is no %s", path, m[1])
			}
		}
	}
	cases := regexp.MustCompile(`(?ms)^\*\*(\d+)\. .*?\n\n`).FindAllStringSubmatch(texts["docs/durability.md"], -1)
	for i, c := range cases {
		if c[1] != fmt.Sprint(i+1) || !named.MatchString(c[0]) {
			t.Errorf("docs/durability.md: case %s, the %d. in order, names %d tests", c[1], i+1, len(named.FindAllString(c[0], -1)))
		}
	}
	if len(cases) == 0 {
		t.Error("docs/durability.md has no numbered cases")
	}
}
