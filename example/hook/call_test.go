package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// TestRecordedInputs wants each tool's call on record in Rampart's terms, with its
// arguments byte for byte. It also shows the line that rules are matched against.
func TestRecordedInputs(t *testing.T) {
	code := 137
	ran := func(code *int, ms int64, flags ...string) *rampart.Response {
		return &rampart.Response{ExitCode: code, DurationMS: ms, Flags: flags}
	}
	for name, c := range map[string]struct {
		tool     string
		request  string
		line     string // a rule has to match it
		response *rampart.Response
		message  string
	}{
		"bash": {tool: "exec", request: `{"command":"git status --short","description":"Show what has changed","timeout":120000.50,"run_in_background":false}`, line: "exec: git status --short"},
		"bash-unicode": {
			tool:    "exec",
			request: `{"command":"printf '\u001b]0;title\u0007` + "\u202e" + `txt.exe ünïcödé 🦀 \ud83e\udd80 \ud800 \u003c&> \u2028\r\n' # a\tb","description":"x` + "\x7f" + `","timeout":12345678901234567890}`,
			line:    "exec: printf '\x1b]0;title\a\u202etxt.exe ünïcödé 🦀 🦀 \uFFFD <&> \u2028\r\n' # a\tb",
		},
		"powershell":   {tool: "exec", request: `{"shell":"powershell","command":"Remove-Item -Recurse .\\dist","description":"Remove the build"}`, line: `exec: Remove-Item -Recurse .\dist`},
		"write":        {tool: "write", request: `{"path":"/home/dev/myapp/notes.md","content":"# Notes\n\n- <b>1.50</b>\n"}`, line: "write: /home/dev/myapp/notes.md"},
		"edit":         {tool: "edit", request: `{"replace_all":false,"path":"/home/dev/myapp/main.go","old_string":"\tx := 1\n","new_string":"\tx := 2\n"}`, line: "edit: /home/dev/myapp/main.go"},
		"notebook":     {tool: "edit", request: `{"path":"/home/dev/myapp/a.ipynb","cell_id":"3","new_source":"1"}`, line: "edit: /home/dev/myapp/a.ipynb"},
		"read":         {tool: "read", request: `{"path":"/home/dev/myapp/main.go","offset":10,"limit":50}`, line: "read: /home/dev/myapp/main.go"},
		"grep":         {tool: "search", request: `{"name":"Grep","arguments":{"pattern":"TODO\\s","path":"/home/dev/myapp","-i":true,"output_mode":"content"}}`, line: `search: Grep {"pattern":"TODO\\s","path":"/home/dev/myapp","-i":true,"output_mode":"content"}`},
		"webfetch":     {tool: "fetch", request: `{"url":"https://example.com/docs?q=1&r=2","prompt":"What is the default port?"}`, line: "fetch: https://example.com/docs?q=1&r=2"},
		"websearch":    {tool: "fetch", request: `{"query":"go sse client","allowed_domains":["pkg.go.dev"]}`, line: "fetch: go sse client"},
		"task":         {tool: "agent", request: `{"name":"Task","arguments":{"description":"Find the tests","prompt":"List every test of the parser.","subagent_type":"Explore"}}`, line: `agent: Task {"description":"Find the tests","prompt":"List every test of the parser.","subagent_type":"Explore"}`},
		"todo":         {tool: "todo", request: `{"name":"TodoWrite","arguments":{"todos":[{"content":"write the test","status":"in_progress","activeForm":"Writing the test"}]}}`, line: `todo: TodoWrite {"todos":[{"content":"write the test","status":"in_progress","activeForm":"Writing the test"}]}`},
		"mcp":          {tool: "mcp", request: `{"server":"github","name":"create_issue","arguments":{"owner":"example","repo":"demo","title":"It <fails>","labels":[],"weight":1.0}}`, line: `mcp: github create_issue {"owner":"example","repo":"demo","title":"It <fails>","labels":[],"weight":1.0}`},
		"mcp-no-input": {tool: "mcp", request: `{"server":"plugin_my-plugin_db","name":"list_tables","arguments":{}}`, line: "mcp: plugin_my-plugin_db list_tables {}"},
		"skill":        {tool: "other", request: `{"name":"Skill","arguments":{"skill":"review","args":"12"}}`, line: `other: Skill {"skill":"review","args":"12"}`},

		"ran-bash":        {tool: "exec", request: `{"command":"go test ./...","description":"Run the tests"}`, response: ran(nil, 4187)},
		"ran-interrupted": {tool: "exec", request: `{"command":"sleep 600"}`, response: ran(nil, 0, "interrupted")},
		"ran-write":       {tool: "write", request: `{"path":"/home/dev/myapp/notes.md","content":"x"}`, response: ran(nil, 12)},
		"ran-mcp":         {tool: "mcp", request: `{"server":"memory","name":"read_graph","arguments":{}}`},
		"failed-bash":     {tool: "exec", request: `{"command":"npm test"}`, response: ran(&code, 88, "failed")},
		"failed-fetch":    {tool: "fetch", request: `{"url":"https://example.invalid/","prompt":"x"}`, response: ran(nil, 0, "failed", "interrupted"), message: "getaddrinfo ENOTFOUND example.invalid"},
		"stop":            {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			site.hook(testdata(t, name)).want(t, 0, "")
			if c.tool == "" {
				if n := len(site.records()); n != 0 {
					t.Errorf("%d events on record, want none", n)
				}
				return
			}
			e := site.only()
			if e.Tool != c.tool || string(e.Request) != c.request {
				t.Errorf("on record is\n%s %s\nwant\n%s %s", e.Tool, e.Request, c.tool, c.request)
			}
			if diff := cmp.Diff(c.response, e.Response); diff != "" {
				t.Errorf("response (-want +got): %s", diff)
			}
			if e.Decision.Message != c.message {
				t.Errorf("message %q, want %q", e.Decision.Message, c.message)
			}
			if e.RunID != "5d3c1b9e-7f7a-4c55-9d0e-2f1f6a1c9b01" || !strings.HasPrefix(e.ToolCallID, "toolu_01") {
				t.Errorf("run %q, call %q", e.RunID, e.ToolCallID)
			}
			if c.line == "" {
				if e.Decision.Action != "ran" {
					t.Errorf("action %q, want ran", e.Decision.Action)
				}
				return
			}
			site.hook(testdata(t, name), "-deny", "^"+quoteMeta(c.line)+"$").want(t, 0, "deny")
		})
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != 22 {
		t.Errorf("%d inputs (%v), and 22 are looked at", len(files), err)
	}
}

// quoteMeta returns an expression for the text. A byte that is not UTF-8 can't
// stand in an expression.
func quoteMeta(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\x{%x}`, r)
	}
	return b.String()
}

// TestOddArguments wants arguments that no tool takes on record too, and wants
// them not to slip past a rule.
func TestOddArguments(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	omitted := func(s string) string {
		return fmt.Sprintf(`{"omitted_bytes":%d,"sha256":"%x"}`, len(s), sha256.Sum256([]byte(s)))
	}
	for _, c := range []struct{ name, tool, args, request string }{
		{"no command", "Bash", `{"cmd":"rm -rf /"}`, `{"cmd":"rm -rf /"}`},
		{"a command that is none", "Bash", `{"command":["rm","-rf","/"]}`, `{"command":["rm","-rf","/"]}`},
		{"a text", "Bash", `"rm -rf /"`, `{"name":"Bash","arguments":"rm -rf /"}`},
		{"a list", "Read", `[1.0]`, `{"name":"Read","arguments":[1.0]}`},
		{"both paths", "Write", `{"path":"a","file_path":"b"}`, `{"name":"Write","arguments":{"path":"a","file_path":"b"}}`},
		{"an escaped name", "Write", `{"\u0066ile_path":"b", "content":"{\"file_path\":1}"}`, `{"path":"b","content":"{\"file_path\":1}"}`},
		{"an empty object", "Write", `{ }`, `{}`},
		{"no MCP tool", "mcp__github", `{}`, `{"name":"mcp__github","arguments":{}}`},
		{"a name with marks", `<"a&b">`, `{}`, `{"name":"\u003c\"a\u0026b\"\u003e","arguments":{}}`},
		{"doubled names", "Bash", `{"command":"a","command":"b"}`, omitted(`{"command":"a","command":"b"}`)},
		{"too deep", "mcp__a__b", deep, omitted(`{"server":"a","name":"b","arguments":` + deep + `}`)},
		{"no UTF-8", "Bash", "{\"command\":\"a\xff\"}", omitted("{\"command\":\"a\xff\"}")},
		{"PowerShell that names its shell", "PowerShell", `{"shell":"x","command":"a"}`, `{"shell":"x","command":"a"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			name, err := json.Marshal(c.tool)
			if err != nil {
				t.Fatal(err)
			}
			input := fmt.Sprintf(`{"hook_event_name":"PreToolUse","tool_name":%s,"tool_input":%s}`, name, c.args)
			site.hook(input).want(t, 0, "")
			if got := string(site.only().Request); got != c.request {
				t.Errorf("on record is\n%s\nwant\n%s", got, c.request)
			}
			if strings.Contains(c.args, "rm") {
				site.hook(input, "-deny", `rm\b.*-rf`).want(t, 0, "deny")
			}
			if strings.Contains(c.request, "omitted") {
				site.hook(input, "-default", "ask").want(t, 0, "deny", "a person can't be shown the call")
			}
		})
	}
}

// TestDecoys wants rules to match, and people to be shown, what the tool will do,
// whatever else is in its arguments.
func TestDecoys(t *testing.T) {
	for _, c := range []struct{ name, tool, args, line, command string }{
		{"a command beside a path", "Read", `{"command":"ls","file_path":"/home/dev/.rampart/token"}`, "read: /home/dev/.rampart/token", ""},
		{"a path beside a path", "Write", `{"path":"notes.md","file_path":"/etc/passwd"}`, "write: /etc/passwd", ""},
		{"another tool's path", "NotebookEdit", `{"file_path":"notes.md","notebook_path":"/etc/passwd"}`, "edit: /etc/passwd", "/etc/passwd"},
		{"another tool's path, the other way", "Edit", `{"notebook_path":"notes.md","file_path":"/etc/passwd"}`, "edit: /etc/passwd", "/etc/passwd"},
		{"a path beside a URL", "WebFetch", `{"file_path":"notes.md","command":"ls","url":"http://evil.example"}`, "fetch: http://evil.example", ""},
		{"a path beside a command", "Bash", `{"path":"notes.md","command":"id"}`, "exec: id", "id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, rampart.SyncAlways)
			input := fmt.Sprintf(`{"hook_event_name":"PreToolUse","tool_name":%q,"tool_input":%s}`, c.tool, c.args)
			site.hook(input, "-deny", "^"+quoteMeta(c.line)+"$").want(t, 0, "deny")
			done := site.start(input, "-default", "ask")
			q := site.question()
			if q.Command != c.command || !strings.Contains(string(q.Request), c.line[strings.Index(c.line, ": ")+2:]) {
				t.Errorf("a person is shown %q, %s", q.Command, q.Request)
			}
			site.resolve(q.ID, rampart.Resolution{Status: rampart.Denied})
			site.end(done).want(t, 0, "deny")
		})
	}
	site := newSite(t, rampart.SyncAlways)
	site.hook(`{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls","command":"id"}}`, "-deny", "^exec: id$").want(t, 0, "deny")
}

// TestHuge wants a call on record that is too large for an event, with the digest
// of the file's text in place of the text.
func TestHuge(t *testing.T) {
	t.Parallel()
	site := newSite(t, rampart.SyncAlways)
	for _, size := range []int{900 << 10, 4 << 20} {
		content := strings.Repeat("é\"\n<", size/5)
		encoded, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		digest := fmt.Sprintf(`{"omitted_bytes":%d,"sha256":"%x"}`, len(content), sha256.Sum256([]byte(content)))
		for _, event := range []string{"PreToolUse", "PostToolUse"} {
			// Two members are large, and replacing one is enough.
			input := fmt.Sprintf(`{"hook_event_name":%q,"tool_name":"Edit","tool_input":{"file_path":"/a","old_string":%q,"new_string":%s,"n":1.0}}`,
				event, strings.Repeat("y", 100<<10), encoded)
			before := len(site.records())
			site.hook(input).want(t, 0, "")
			all := site.events()
			want := fmt.Sprintf(`{"path":"/a","old_string":%q,"new_string":%s,"n":1.0}`, strings.Repeat("y", 100<<10), digest)
			if got := string(all[len(all)-1].Request); len(all) != before+1 || got != want {
				t.Errorf("%d bytes: %d events more; on record are %d bytes, %.80s", size, len(all)-before, len(got), got)
			}
		}
		input := fmt.Sprintf(`{"hook_event_name":"PreToolUse","tool_name":"Write","tool_input":{"file_path":"/a","content":%s}}`, encoded)
		site.hook(input, "-ask", "^write: /a$", "-no-answer", "ask").want(t, 0, "deny", "a person can't be shown the call", "can be shown")
		if e := site.events(); e[len(e)-1].Decision.Action != "deny" || string(e[len(e)-1].Request) != `{"path":"/a","content":`+digest+`}` {
			t.Errorf("on record: %s %.80s", e[len(e)-1].Decision.Action, e[len(e)-1].Request)
		}
	}
	// Too many members, none of them large.
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"m%d":"x"`, i)
	}
	many := `{"command":"ls"` + b.String() + `}`
	site.hook(`{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":`+many+`}`).want(t, 0, "")
	e := site.events()
	if got, want := string(e[len(e)-1].Request), fmt.Sprintf(`{"omitted_bytes":%d,"sha256":"%x"}`, len(many), sha256.Sum256([]byte(many))); got != want {
		t.Errorf("on record is %.80s, want %s", got, want)
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("myapp/.git/HEAD", "ref: refs/heads/feature/x\n")
	write("myapp/cmd/tool/main.go", "")
	write("detached/.git/HEAD", "0123456789abcdef0123456789abcdef01234567\n")
	write("tree/.git", "gitdir: ../myapp/.git/worktrees/tree\n")
	write("myapp/.git/worktrees/tree/HEAD", "ref: refs/heads/other\n")
	write("broken/.git", "what is this?\n")
	write("long/.git/HEAD", "ref: refs/heads/"+strings.Repeat("x", 1<<20))
	write("zero/x", "")
	write("pipe/x", "")
	zero := os.Symlink("/dev/zero", filepath.Join(root, "zero", ".git")) == nil
	pipe := exec.Command("mkfifo", filepath.Join(root, "pipe", ".git")).Run() == nil
	if runtime.GOOS == "linux" && !(zero && pipe) {
		t.Fatal("no pipe and no device to test with")
	}
	site := newSite(t, rampart.SyncAlways)
	for _, c := range []struct {
		cwd, want string
		flags     []string
	}{
		{"myapp", "myapp/feature/x", nil},
		{"myapp/cmd/tool", "myapp/feature/x", nil},
		{"myapp", "mine", []string{"-session", "mine"}},
		{"detached", "detached", nil},
		{"tree", "tree/other", nil},
		{"broken", "broken", nil},
		{"gone", "gone", nil},
		{"long", "long/" + strings.Repeat("x", 195), nil},
		{"zero", "zero", nil},
		{"pipe", "pipe", nil},
	} {
		cwd, err := json.Marshal(filepath.Join(root, filepath.FromSlash(c.cwd)))
		if err != nil {
			t.Fatal(err)
		}
		site.hook(fmt.Sprintf(`{"hook_event_name":"PreToolUse","tool_name":"LS","cwd":%s}`, cwd), c.flags...).want(t, 0, "")
		e := site.events()
		if got := e[len(e)-1].Session; got != c.want {
			t.Errorf("in %s the session is %q, want %q", c.cwd, got, c.want)
		}
	}
	site.hook(`{"hook_event_name":"PreToolUse","tool_name":"LS"}`, "-token-file", site.write("admin", adminToken), "-agent", "other").want(t, 0, "")
	e := site.events()
	if last := e[len(e)-1]; last.Session != "" || last.Agent != "other" {
		t.Errorf("without cwd, as the admin: session %q, agent %q", last.Session, last.Agent)
	}
}

// TestRealToolCalls gives the hook real agents' calls in Claude Code's form, and
// wants all of them on record as they were.
func TestRealToolCalls(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "toolcalls.jsonl"))
	if err != nil {
		t.Skip("no real tool calls beside the checkout: ", err)
	}
	names := map[string]string{"exec": "Bash", "read": "Read", "write": "Write", "edit": "Edit", "fetch": "WebFetch"}
	site := newSite(t, rampart.SyncNever)
	var want []string
	n := 0
	for line := range bytes.Lines(data) {
		var c struct {
			Agent   string          `json:"agent"`
			RunID   string          `json:"run_id"`
			Tool    string          `json:"tool"`
			Request json.RawMessage `json:"request"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if n++; c.Agent != "claude-code" || n%17 != 0 {
			continue
		}
		name, args, request := names[c.Tool], []byte(c.Request), []byte(c.Request)
		if name == "" {
			var parts struct {
				Server, Name string
				Arguments    json.RawMessage
			}
			if err := json.Unmarshal(c.Request, &parts); err != nil {
				t.Fatal(err)
			}
			if name, args = parts.Name, parts.Arguments; parts.Server != "" {
				name = "mcp__" + parts.Server + "__" + parts.Name
			}
			// In the data, some have other members beside the arguments.
			if request = fmt.Appendf(nil, `{"name":%q,"arguments":%s}`, name, args); parts.Server != "" {
				request = c.Request
			}
			if name == "WebSearch" {
				request = args
			}
		} else {
			args = bytes.Replace(args, []byte(`"path":`), []byte(`"file_path":`), 1)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, request); err != nil {
			t.Fatal(err)
		}
		want = append(want, compact.String())
		for _, event := range []string{"PreToolUse", "PostToolUse"} {
			input := fmt.Sprintf(`{"session_id":%q,"cwd":"/home/dev/myapp","hook_event_name":%q,"tool_name":%q,"tool_input":%s,"tool_use_id":"toolu_%d"}`,
				c.RunID, event, name, args, n)
			site.run(input).want(t, 0, "")
		}
	}
	events := site.events()
	if len(want) < 300 || len(events) != 2*len(want) {
		t.Fatalf("%d events on record for %d calls", len(events), len(want))
	}
	for i, e := range events {
		if got := string(e.Request); got != want[i/2] {
			t.Fatalf("event %d is\n%s\nwant\n%s", i, got, want[i/2])
		}
		if i%2 == 1 && (e.ToolCallID != events[i-1].ToolCallID || e.Decision.Action != "ran") {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
}

// TestEnvironment runs the program without any flag.
func TestEnvironment(t *testing.T) {
	site := newSite(t, rampart.SyncAlways)
	if err := os.Mkdir(filepath.Join(site.dir, ".rampart"), 0o700); err != nil {
		t.Fatal(err)
	}
	site.write(filepath.Join(".rampart", "token"), adminToken+"\n")
	t.Setenv("HOME", site.dir)
	t.Setenv("USERPROFILE", site.dir)
	t.Setenv("RAMPART_URL", site.url)
	t.Setenv("CLAUDE_PROJECT_DIR", filepath.Join(site.dir, "elsewhere"))
	cmd := exec.Command(binary)
	cmd.Stdin = strings.NewReader(command("ls", "toolu_1"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	if e := site.only(); e.Agent != "claude-code" || e.Session != "elsewhere" || e.Decision.Action != "allow" {
		t.Errorf("on record: %+v", e)
	}
}
