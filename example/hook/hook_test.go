package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// Each decision is on record, and Claude Code's own permissions are not widened
// unless -grant asks for it.
func TestDecisions(t *testing.T) {
	rules := []string{
		"-allow", "^exec: git status$", "-allow", "push",
		"-ask", "push",
		"-deny", `rm\s+-rf`, "-suggest", "rm -r ./build", "-suggest", "ask for it", "-deny", "--force",
	}
	s := func(s ...string) []string { return s }
	for _, c := range []struct {
		name     string
		command  string
		flags    []string
		action   string // on record
		policies []string
		decision string // that Claude Code is told
	}{
		{"no rule", "ls", nil, "allow", nil, ""},
		{"no rule, watched", "ls", s("-default", "watch"), "watch", nil, ""},
		{"no rule, denied", "ls", s("-default", "deny"), "deny", nil, "deny"},
		{"allow", "git status", nil, "allow", s("allow ^exec: git status$"), ""},
		{"allow, by default denied", "git status", s("-default", "deny"), "allow", s("allow ^exec: git status$"), ""},
		{"anchored", "git status; rm x", s("-default", "deny"), "deny", nil, "deny"},
		{"granted", "git status", s("-grant"), "allow", s("allow ^exec: git status$"), "allow"},
		{"not granted", "ls", s("-grant"), "allow", nil, ""},
		{"deny", "sudo rm -rf /", nil, "deny", s(`deny rm\s+-rf`), "deny"},
		{"deny over lines", "cd x\nrm\t-rf /", nil, "deny", s(`deny rm\s+-rf`), "deny"},
		{"deny before ask and allow", "git push --force", nil, "deny", s("deny --force"), "deny"},
		{"the first deny", "rm -rf --force", nil, "deny", s(`deny rm\s+-rf`), "deny"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			o := site.hook(command(c.command, "toolu_1"), append(rules, c.flags...)...)
			o.want(t, 0, c.decision)
			e := site.only()
			if e.Decision.EvaluationTimeUS < 0 || e.Decision.EvaluationTimeUS > patience.Microseconds() {
				t.Errorf("decided in %d µs", e.Decision.EvaluationTimeUS)
			}
			want := rampart.AuditEvent{
				Agent: "claude-code", Session: "myapp", RunID: "s1", ToolCallID: "toolu_1", Tool: "exec", Request: e.Request,
				Decision: rampart.Decision{Action: c.action, MatchedPolicies: append([]string{}, c.policies...)},
			}
			got := e
			got.ID, got.Timestamp, got.PrevHash, got.Hash = "", want.Timestamp, "", ""
			got.Decision.EvaluationTimeUS, got.Decision.Message, got.Decision.Suggestions = 0, "", nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("on record (-want +got): %s", diff)
			}
			if c.decision == "deny" && o.reason != "Denied: "+e.Decision.Message && len(e.Decision.Suggestions) == 0 {
				t.Errorf("Claude is told %q, on record is %q", o.reason, e.Decision.Message)
			}
			if c.name == "deny" {
				if want := "Denied: the rule -deny 'rm\\s+-rf' matches\nInstead: rm -r ./build; ask for it"; o.reason != want {
					t.Errorf("Claude is told %q, want %q", o.reason, want)
				}
				if diff := cmp.Diff(s("rm -r ./build", "ask for it"), e.Decision.Suggestions); diff != "" {
					t.Errorf("suggestions: %s", diff)
				}
			}
		})
	}
}

func TestAsk(t *testing.T) {
	yes := rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"}
	no := rampart.Resolution{Status: rampart.Denied, ResolvedBy: "ann", Reason: "not on a Friday"}
	for _, c := range []struct {
		name     string
		answer   rampart.Resolution
		flags    []string
		decision string
		words    []string
	}{
		{"approved", yes, nil, "allow", []string{"ann"}},
		{"denied", no, []string{"-suggest", "wait for Monday"}, "deny", []string{"ann", "not on a Friday", "wait for Monday"}},
		{"denied for good", no, []string{"-no-answer", "ask", "-fail", "open"}, "deny", []string{"ann"}},
		{"by default", yes, []string{"-ask", "^never$", "-default", "ask"}, "allow", []string{"ann"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			flags := []string{"-ask", "^exec: git push"}
			if c.name == "by default" {
				flags = nil
			}
			done := site.start(command("git push", "toolu_1"), append(flags, c.flags...)...)
			q := site.question()
			want := rampart.Approval{
				ID: q.ID, Tool: "exec", Command: "git push", Request: []byte(`{"command":"git push"}`),
				Agent: "claude-code", Session: "myapp", RunID: "s1", ToolCallID: "toolu_1", Credential: "claude-code",
				Message: q.Message, Status: rampart.Pending, CreatedAt: q.CreatedAt, ExpiresAt: q.ExpiresAt, RequestSHA256: q.RequestSHA256,
			}
			if diff := cmp.Diff(want, q); diff != "" {
				t.Errorf("the question (-want +got): %s", diff)
			}
			if wait := q.ExpiresAt.Sub(q.CreatedAt).Seconds(); wait != 50 {
				t.Errorf("it is open for %v s", wait)
			}
			site.resolve(q.ID, c.answer)
			site.end(done).want(t, 0, c.decision, c.words...)
			if got := actions(site); !cmp.Equal(got, []string{"ask", string(c.answer.Status)}) {
				t.Errorf("on record: %v", got)
			}
		})
	}
}

func actions(s *site) (all []string) {
	for _, e := range s.events() {
		all = append(all, e.Decision.Action)
	}
	return all
}

func TestNobodyAnswers(t *testing.T) {
	for _, c := range []struct{ noAnswer, decision string }{{"deny", "deny"}, {"ask", "ask"}} {
		t.Run(c.noAnswer, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			o := site.hook(command("git push", "toolu_1"), "-ask", "push", "-wait", "1s", "-no-answer", c.noAnswer, "-fail", "open")
			o.want(t, 0, c.decision, "nobody answered within 1s")
			if got := actions(site); !cmp.Equal(got, []string{"ask", "expired"}) {
				t.Errorf("on record: %v", got)
			}
		})
	}
}

// A yes that does not reach the program counts as none.
func TestServerGoneWhileWaiting(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	done := site.start(command("git push", "toolu_1"), "-ask", "push", "-wait", "1s", "-timeout", "3s")
	q := site.question()
	r := site.r
	site.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	// The request that is waiting must not bring the answer.
	if err := r.Approvals.Close(); err != nil {
		t.Fatal(err)
	}
	site.end(done).want(t, 0, "deny")
	if q.Status != rampart.Pending {
		t.Errorf("%+v", q)
	}
}

func TestServerRestartsWhileWaiting(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	done := site.start(command("git push", "toolu_1"), "-ask", "push")
	q := site.question()
	site.close()
	site.open(rampart.SyncAlways)
	site.resolve(q.ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"})
	site.end(done).want(t, 0, "allow", "ann")
}

// A hook whose token is no longer taken stops waiting: waiting on would not help.
func TestTokenWithdrawnWhileWaiting(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	done := site.start(command("git push", "toolu_1"), "-ask", "push")
	site.question()
	site.close()
	site.openLog(rampart.SyncAlways) // the old token, served for a moment longer, would let it go on waiting
	site.serve(site.r.Handler(&rampart.Auth{AdminToken: adminToken}))
	site.end(done).want(t, 0, "deny", "-token-file "+site.tokenFile)
}

// The same hook in two settings files asks once, and only the call that was
// approved under an id runs under it.
func TestOneQuestionForOneCall(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	first := site.start(command("git push", "toolu_1"), "-ask", "push")
	q := site.question()
	again := site.start(command("git push", "toolu_1"), "-ask", "push")
	if other := site.question(); other.ID != q.ID {
		t.Errorf("the same call is asked about twice: %s, %s", q.ID, other.ID)
	}
	forged := site.start(command("git push --force", "toolu_1"), "-ask", "push")
	site.question()
	site.resolve(q.ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"})
	site.end(first).want(t, 0, "allow", "ann")
	site.end(again).want(t, 0, "allow", "ann")
	site.end(forged).want(t, 0, "deny", "another call")
	if got := actions(site); !cmp.Equal(got, []string{"ask", "approved", "deny"}) {
		t.Errorf("on record: %v", got)
	}
}

// A yes to reading a file is no yes to writing it.
func TestApprovedForAnotherTool(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	call := func(tool string) string {
		return fmt.Sprintf(`{"hook_event_name":"PreToolUse","tool_name":%q,"tool_input":{"file_path":"/a"},"tool_use_id":"toolu_1"}`, tool)
	}
	read := site.start(call("Read"), "-default", "ask")
	q := site.question()
	write := site.start(call("Write"), "-default", "ask")
	site.question()
	site.resolve(q.ID, rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"})
	site.end(read).want(t, 0, "allow", "ann")
	site.end(write).want(t, 0, "deny", "another call")
}

// A call that is not on record runs with -fail open, and otherwise not.
func TestNotOnRecord(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() {
		close(release)
		hangs.Close()
	})
	full := newSite(t, rampart.SyncAlways)
	failed := newSite(t, rampart.SyncAlways)
	if err := failed.r.Chain.Close(); err != nil {
		t.Fatal(err)
	}
	wrong := full.write("wrong", "wrong-token-0123456789abcdef\n")
	empty := full.write("empty", "\n")
	agents := full.write("agents", "claude-code wrong-token-0123456789abcdef\n")
	ls, push := command("ls", "toolu_1"), command("git push", "toolu_1")
	for _, c := range []struct {
		name  string
		site  *site
		flags []string
		words string
	}{
		{"daemon down", full, []string{"-url", gone.URL}, "is the daemon running?"},
		{"daemon hangs", full, []string{"-url", hangs.URL, "-timeout", "50ms"}, "gave no answer within 50ms"},
		{"log takes nothing", failed, nil, "closed"},
		{"wrong token", full, []string{"-token-file", wrong}, wrong},
		{"no token file", full, []string{"-token-file", filepath.Join(full.dir, "none")}, "-token-file"},
		{"empty token file", full, []string{"-token-file", empty}, "the token alone"},
		{"token file of the daemon", full, []string{"-token-file", agents}, "the token alone"},
		{"no URL", full, []string{"-url", "localhost:9090"}, "http://HOST:PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := c.site.hook(ls, c.flags...)
			closed.want(t, 2, "", c.words, "not run")
			if strings.Count(closed.stderr, "\n") != 1 {
				t.Errorf("Claude Code shows one line, and this is\n%s", closed.stderr)
			}
			open := append(c.flags, "-fail", "open")
			c.site.hook(ls, open...).want(t, 1, "", c.words, "not on record")

			// Whatever -fail says, a call that a rule denies is denied, and a call
			// that needs a person's yes does not run without it.
			o := c.site.hook(ls, append(open, "-deny", "ls")...)
			o.want(t, 0, "deny", "-deny 'ls'")
			if !strings.Contains(o.stderr, "not on record") {
				t.Errorf("stderr: %s", o.stderr)
			}
			c.site.hook(push, append(open, "-ask", "push")...).want(t, 0, "deny", "-ask 'push'")
			if c.name != "no URL" {
				c.site.hook(push, append(open, "-ask", "push", "-no-answer", "ask")...).want(t, 0, "ask", "-ask 'push'")
			}

			// After the call there is nothing to hold back.
			for _, ran := range []string{"ran-bash", "failed-bash"} {
				c.site.hook(testdata(t, ran), c.flags...).want(t, 1, "", c.words, "not on record:")
			}
		})
	}
	if n := len(full.records()); n != 0 {
		t.Errorf("%d events on record, want none", n)
	}
}

func TestBadInput(t *testing.T) {
	site := newSite(t, rampart.SyncAlways)
	for _, c := range []struct{ name, input, words string }{
		{"nothing", "", "README.md"},
		{"blank", " \n", "README.md"},
		{"garbage", "\x00\xff{", "not understood"},
		{"cut off", command("ls", "toolu_1")[:60], "not understood"},
		{"two objects", command("ls", "toolu_1") + "{}", "not understood"},
		{"a list", "[]", "not understood"},
		{"no event", `{"tool_name":"Bash"}`, "hook_event_name"},
		{"no tool", `{"hook_event_name":"PreToolUse","tool_input":{}}`, "tool_name"},
		{"no name", `{"hook_event_name":"PreToolUse","tool_name":7}`, "not understood"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site.hook(c.input).want(t, 2, "", c.words)
			site.hook(c.input, "-fail", "open").want(t, 1, "", c.words)
		})
	}
	site.hook(testdata(t, "stop")).want(t, 0, "")
	// Other events may have members of the same names; they mean something else.
	site.hook(`{"hook_event_name":"StopFailure","error":{"type":"x"},"tool_name":1}`).want(t, 0, "")
	site.hook(`{"hook_event_name":"PostToolUse","tool_name":"Bash","duration_ms":"1"}`).want(t, 1, "", "not understood")
	if n := len(site.records()); n != 0 {
		t.Errorf("%d events on record, want none", n)
	}
}

func TestBadFlags(t *testing.T) {
	site := newSite(t, rampart.SyncAlways)
	for _, c := range []struct {
		flags []string
		words string
	}{
		{[]string{"-deny", "("}, "missing closing )"},
		{[]string{"-ask", ""}, "-default"},
		{[]string{"-allow", "a\xff"}, "invalid UTF-8"},
		{[]string{"-suggest", "x"}, "-deny or -ask"},
		{[]string{"-allow", "x", "-suggest", "x"}, "-deny or -ask"},
		{[]string{"-default", "maybe"}, "-default"},
		{[]string{"-no-answer", "allow"}, "-no-answer"},
		{[]string{"-fail", "Open"}, "-fail"},
		{[]string{"-wait", "0s"}, "-wait"},
		{[]string{"-wait", "soon"}, "-wait"},
		{[]string{"-timeout", "-1s"}, "-timeout"},
		{[]string{"-nonsense"}, "-nonsense"},
		{[]string{"rest"}, "rest"},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			o := site.hook(command("ls", "toolu_1"), append([]string{"-fail", "open"}, c.flags...)...)
			o.want(t, 2, "", c.words)
			if strings.Count(o.stderr, "\n") != 1 {
				t.Errorf("Claude Code shows one line, and this is\n%s", o.stderr)
			}
			// After a call, exit code 2 would be shown to Claude; at Stop it would keep
			// Claude from stopping.
			site.hook(testdata(t, "ran-bash"), c.flags...).want(t, 1, "", c.words)
			site.hook(testdata(t, "stop"), c.flags...).want(t, 1, "", c.words)
			site.hook(`{"hook_event_name":"Stop","tool_name":1}`, c.flags...).want(t, 1, "", c.words)
			site.hook("garbage", c.flags...).want(t, 2, "", c.words)
		})
	}
	if o := site.hook("", "-h"); o.exit != 0 || !strings.Contains(o.stderr, "-no-answer") {
		t.Errorf("-h: %+v", o)
	}
}
