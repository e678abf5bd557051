package e2e_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// block is a fenced block of a page.
type block struct {
	language string
	word     string // the word after the language
	line     int    // of its fence
	text     string
}

// blocks finds the fenced blocks of a page, and the lines of code that is not fenced.
func blocks(page string) (found []block, unfenced []int) {
	var open *block
	indent, left, blank := "", "", false // left: the last line that begins at the margin
	n := 0
	for line := range strings.Lines(page) {
		n++
		text := strings.TrimLeft(line, " \t")
		info, fence := strings.CutPrefix(text, "```")
		switch {
		case open == nil && fence:
			language, word, _ := strings.Cut(strings.TrimSpace(info), " ")
			open, indent = &block{language: language, word: word, line: n}, line[:len(line)-len(text)]
		case open != nil && fence:
			found, open = append(found, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent)
		case blank && (line[0] == '\t' || strings.HasPrefix(line, "    ")) && !listItem.MatchString(left) && text != "\n":
			unfenced = append(unfenced, n)
		}
		if blank = text == "\n"; !blank && text == line {
			left = line
		}
	}
	return found, unfenced
}

var listItem = regexp.MustCompile(`^([-*+]|[0-9]+\.) `)

// TestDocs runs the shell blocks of every page, in their order, and checks the
// others with the programs that read such files.
//
//	```sh           runs, within a minute, in one shell with the page's others
//	```sh forever   runs until it has printed a line, and is interrupted
//	```sh norun     is only parsed: it needs root, another machine, or what a test of its own prepares
//
// The shell is that of the daemon's user, on the daemon's machine, in the
// checkout: the daemon is at its default address, its token in ~/.rampart/token.
func TestDocs(t *testing.T) {
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "../README.md", "../CONTRIBUTING.md", "../example/hook/README.md") {
		t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) {
			found, unfenced := blocks(readFile(t, path))
			for _, n := range unfenced {
				t.Errorf("line %d: a block that is indented is not checked: fence it, with a language", n)
			}
			var shell []block
			for _, b := range found {
				check, known := languages[b.language]
				switch {
				case b.language == "sh" && slices.Contains([]string{"", "forever", "norun"}, b.word):
					shell = append(shell, b)
				case !known || b.word != "" && b.language != "go": // the word of Go code may name its file
					t.Errorf("line %d: %q: no checker for such a block; they are in docs_languages_test.go", b.line, b.language+" "+b.word)
				case check != nil:
					t.Run(fmt.Sprintf("line %d %s", b.line, b.language), func(t *testing.T) { check(t, b.text) })
				}
			}
			if len(shell) > 0 {
				runShell(t, shell)
			}
		})
	}
}

// driver reads lines WORD FILE and runs the files in one shell. On its standard
// output it marks where each begins and has ended, between what they print.
const driver = `
while read -r word file; do
	case $word in
	forever)
		set -m # gives it a process group
		(
			ended=itself
			trap 'ended=interrupted' INT
			trap 'echo "$file ended: $ended"' EXIT
			echo "$file begins: $BASHPID"
			. "$file"
		) </dev/null &
		set +m
		wait $! || true
		;;
	*) . "$file" </dev/null ;;
	esac
	echo "$file is done"
done
`

var daemonStarts = regexp.MustCompile(`\./example/server|rampart serve`)

func runShell(t *testing.T, found []block) {
	bash := need(t, "bash")
	dir := t.TempDir()
	var runs []block
	for _, b := range found {
		path := filepath.Join(dir, strconv.Itoa(b.line))
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(bash, "-n", path).CombinedOutput(); err != nil {
			t.Errorf("line %d: %v\n%s", b.line, err, out)
		}
		if b.word != "norun" {
			runs = append(runs, b)
		}
	}
	if len(runs) == 0 || t.Failed() {
		return
	}
	need(t, "curl")
	d := startAtDefault(t)
	if d.address != defaultAddress {
		lacks(t, "free port "+defaultAddress)
	}
	d.append("git status", "allow")
	// A curl of these pages fails where its user would see an error.
	if err := os.WriteFile(filepath.Join(d.home, ".curlrc"), []byte("silent\nshow-error\nfail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	goEnv, err := exec.Command("go", "env", "GOPATH", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Split(string(goEnv), "\n")
	shell := run(t, command{dir: "..", input: true, env: []string{
		"HOME=" + d.home, "GOPATH=" + dirs[0], "GOMODCACHE=" + dirs[1], "GOCACHE=" + dirs[2],
	}}, bash, "-euo", "pipefail", "-c", driver)

	for _, b := range runs {
		path := filepath.Join(dir, strconv.Itoa(b.line))
		// Only one daemon can have the port and the log.
		own := b.word == "forever" && daemonStarts.MatchString(b.text)
		if own {
			d.stop()
		}
		fmt.Fprintln(shell.input, cmp.Or(b.word, "run"), path)
		if b.word == "forever" {
			interrupt(t, shell, path)
		}
		shell.output.until(t, fmt.Sprintf("the block at line %d ends", b.line), func(text string) bool {
			return strings.Contains(text, path+" is done\n") || !shell.running()
		})
		if !shell.running() {
			t.Fatalf("the block at line %d fails: %v\n%s%s%s", b.line, shell.err, b.text, shell.output, shell.errors)
		}
		if own {
			d.restart()
		}
	}
}

// interrupt waits for the first line of a block that never ends and presses
// Ctrl-C. The block must not have ended by itself.
func interrupt(t *testing.T, shell *program, path string) {
	t.Helper()
	first := regexp.MustCompile(regexp.QuoteMeta(path) + ` begins: (\d+)\n(.*)\n`)
	var m []string
	shell.output.until(t, path+" prints a line", func(text string) bool {
		m = first.FindStringSubmatch(text)
		return m != nil || !shell.running()
	})
	if m != nil && m[2] != path+" ended: itself" {
		group, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { killGroup(group) })
		// A block that has nothing more to do gets a moment to end by itself.
		if err := exec.Command(need(t, "bash"), "-c", ":").Run(); err != nil {
			t.Fatal(err)
		}
		interruptGroup(group)
		shell.output.until(t, path+" can be interrupted", func(text string) bool {
			return strings.Contains(text, path+" ended: ") || !shell.running()
		})
	}
	if strings.Contains(shell.output.String(), path+" ended: itself\n") {
		t.Fatalf("%s should run until it is interrupted, and ended by itself\n%s%s", readFile(t, path), shell.output, shell.errors)
	}
}
