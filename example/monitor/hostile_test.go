package main_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	monitor "github.com/rampartlog/rampart/example/monitor"
)

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		`plain "quoted" C:\dir\new`:  `plain "quoted" C:\dir\new`,
		"two\nlines\r\t":             `two\nlines\r\t`,
		"\x1b[2J\x9b2J\x00\x7f":      `\x1b[2J\x9b2J\x00\x7f`,
		"\u009b2J":                   `\u009b2J`,
		"rm \u202egnp.exe\u2066":     `rm \u202egnp.exe\u2066`,
		"a\u200bb\ufeff\u2028\u00a0": `a\u200bb\ufeff\u2028\u00a0`,
		"é 日本 😀":                     "é 日本 😀",
		"\xff\U000e0041":             `\xff\U000e0041`,
		"":                           "",
	} {
		if got := monitor.Visible(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{"ééééé", 5, "ééééé"},
		{"echo harmless; " + strings.Repeat(" ", 100) + "rm -rf /", 12, "echo har…(111 more)…rf /"},
	} {
		if got := monitor.Cut(c.s, c.n); got != c.want {
			t.Errorf("%q: %s, want %s", c.s, got, c.want)
		}
	}
}

// hostile has texts that an agent under attack may put into any of its strings.
var hostile = []string{
	"x\n2026-01-01 00:00:00 allow    root shop/main exec: ls",
	"\x1b[1A\x1b[2K\x1b]0;title\x07\u009b31m",
	"\u202edlrow\u202c \u2066olleh\u2069 \u200f",
	"<!channel> <!here> <@U123> <https://evil.example|click here> &lt;!everyone&gt; & @channel",
	"``` *bold* _it_ ~no~ `code` ``` :tada: > quote\n```\n<!channel>",
	`" "quoted": rm`,
	"x (5m0s left): ls",
	strings.Repeat("long ", 20_000),
	strings.Repeat("\u202e", 3000),
	strings.Repeat("&", 3000),
	"\ufffd \u0000",
}

func TestHostileStrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		p := start(t, d, r)
		n := 0
		for _, h := range hostile {
			e := event("deny", h)
			e.Agent, e.Session, e.Tool, e.RunID, e.Decision.Message = h, h, h, h, h
			d.append(e)
			n++
			if len(h) > 4096 {
				continue
			}
			a, err := d.r.Approvals.Request(t.Context(), rampart.ApprovalRequest{Agent: h, Session: h, Tool: h, Message: h, Request: e.Request})
			if err != nil {
				t.Fatal(err)
			}
			settle()
			if _, err := d.r.Approvals.Resolve(t.Context(), a.ID, rampart.Resolution{Status: rampart.Denied, ResolvedBy: h, Reason: h}); err != nil {
				t.Fatal(err)
			}
			settle()
			n += 2
		}
		settle()
		if got := p.lines(); len(got) != n {
			t.Errorf("%d lines, want %d", len(got), n)
		}
		wantSeen(t, "printed", p.out.String())
		for _, line := range p.lines() {
			if len(line) > 12_000 {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		alerts := 0
		for _, post := range r.got() {
			alerts += len(post.Alerts)
			wantSeen(t, "posted", post.Text)
			wantInert(t, post.Text)
		}
		if alerts != n {
			t.Errorf("%d alerts were posted, want %d", alerts, n)
		}
		p.stop()
	})
}

// wantSeen wants text without invisible characters, except for newlines.
func wantSeen(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && r != ' ' && !unicode.IsPrint(r) || r == utf8.RuneError && !utf8.ValidString(text) {
			t.Fatalf("%s %q in %.200q", what, r, text)
		}
	}
}

// wantInert wants a headline and one block of code, and nothing that Slack would
// take for markup.
func wantInert(t *testing.T, text string) {
	t.Helper()
	head, block, ok := strings.Cut(text, "\n```\n")
	block, closed := strings.CutSuffix(block, "```")
	if !ok || !closed || strings.ContainsAny(head, "<>&`*_~\n") || strings.ContainsAny(block, "<>`") {
		t.Errorf("posted %.500q", text)
	}
	rest := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(block)
	if strings.Contains(rest, "&") {
		t.Errorf("posted %.500q", text)
	}
}

// No field can look like another: before the last colon every text is quoted,
// unless it is plain.
func TestFieldsAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		p := start(t, d, nil)
		e := event("deny", `"fine": ls`)
		e.Agent, e.Session, e.Tool, e.Decision.Message = `a b`, ``, `exec "fine": ls`, `no"): x`
		d.append(e)
		moment()
		want := []string{`deny     "a b" - "exec \"fine\": ls" "no\"): x": "fine": ls`}
		if diff := cmp.Diff(want, p.lines()); diff != "" {
			t.Error(diff)
		}
		p.stop()
	})
}
