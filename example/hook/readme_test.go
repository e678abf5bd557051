package main_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeSettings runs the hooks of the settings in README.md.
func TestReadmeSettings(t *testing.T) {
	block := regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindStringSubmatch(readme(t))
	if block == nil {
		t.Fatal("README.md has no settings")
	}
	type handler struct {
		Type          string   `json:"type"`
		Command       string   `json:"command"`
		Args          []string `json:"args"`
		Timeout       int      `json:"timeout"`
		OnFailure     string   `json:"onFailure"`
		StatusMessage string   `json:"statusMessage"`
	}
	var settings struct {
		Hooks map[string][]struct {
			Matcher string    `json:"matcher"`
			Hooks   []handler `json:"hooks"`
		} `json:"hooks"`
	}
	dec := json.NewDecoder(strings.NewReader(block[1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&settings); err != nil {
		t.Fatal(err)
	}
	site := newSite(t, rampart.SyncAlways)
	handlers := map[string]handler{}
	for event, matchers := range settings.Hooks {
		if len(matchers) != 1 || matchers[0].Matcher != "*" || len(matchers[0].Hooks) != 1 {
			t.Fatalf("%s: %+v", event, matchers)
		}
		h := matchers[0].Hooks[0]
		wait := 50 * time.Second
		if i := slices.Index(h.Args, "-wait"); i >= 0 {
			var err error
			if wait, err = time.ParseDuration(h.Args[i+1]); err != nil {
				t.Error(err)
			}
		}
		if event == "PreToolUse" && time.Duration(h.Timeout)*time.Second < wait+10*time.Second {
			t.Errorf("%s: a timeout of %d s for a wait of %v", event, h.Timeout, wait)
		}
		if h.Type != "command" || h.Command != "rampart-hook" {
			t.Errorf("%s: %+v", event, h)
		}
		// As installed, except for the address of the daemon.
		h.Args = slices.Clone(h.Args)
		for i := range h.Args {
			if i > 0 && h.Args[i-1] == "-token-file" {
				h.Args[i] = site.tokenFile
			}
		}
		handlers[event] = h
	}
	if len(handlers) != 3 {
		t.Errorf("hooks of %d events, want 3", len(handlers))
	}

	before := handlers["PreToolUse"].Args
	for line, want := range map[string]string{
		"ls -la":                     "",
		"rm -rf ./build":             "",
		"rm -rf /":                   "deny",
		"cd x && rm -r ~/x":          "deny",
		"cat ~/.rampart/token":       "deny",
		"vi ~/.claude/settings.json": "deny",
	} {
		site.hook(command(line, ""), before...).want(t, 0, want)
	}
	for _, name := range []string{"write", "read", "grep", "task"} {
		site.hook(testdata(t, name), before...).want(t, 0, "")
	}
	for _, input := range []string{command("cd x\ngit push", ""), testdata(t, "mcp")} {
		done := site.start(input, before...)
		site.resolve(site.question().ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"})
		site.end(done).want(t, 0, "allow", "ann")
	}
	site.hook(testdata(t, "ran-bash"), handlers["PostToolUse"].Args...).want(t, 0, "")
	site.hook(testdata(t, "failed-bash"), handlers["PostToolUseFailure"].Args...).want(t, 0, "")
}

// TestReadmeFlags wants the table of flags to be the program's.
func TestReadmeFlags(t *testing.T) {
	site := newSite(t, rampart.SyncAlways)
	help := site.hook("", "-h").stderr
	table := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`-[^|]*) \\| ([^|]*)\\|").FindAllStringSubmatch(readme(t), -1) {
		for _, flag := range regexp.MustCompile("`(-[a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
			table[flag[1]] = true
			shown := regexp.MustCompile(`(?m)^  ` + flag[1] + `\b.*\n\s*(.*)$`).FindStringSubmatch(help)
			if shown == nil {
				t.Errorf("there is no flag %s", flag[1])
				continue
			}
			value := strings.Trim(row[2], "` ")
			if value != "" && !strings.Contains(shown[1], "default "+value+")") && !strings.Contains(shown[1], `default "`+value+`")`) {
				t.Errorf("README.md has %s for %s, -h has %s", value, flag[1], shown[1])
			}
		}
	}
	for _, flag := range regexp.MustCompile(`(?m)^  (-[a-z-]+)`).FindAllStringSubmatch(help, -1) {
		if !table[flag[1]] {
			t.Errorf("README.md does not have %s", flag[1])
		}
	}
	if len(table) < 10 {
		t.Errorf("%d flags in the table", len(table))
	}
}
