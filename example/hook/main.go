// Hook is the program that Claude Code's hooks call. It puts every tool call on
// record, refuses calls that a rule denies, and asks a person about calls that a
// rule says to ask about. README.md says how to install it.
//
// It relies on what https://code.claude.com/docs/en/hooks said about Claude Code
// 2.1 in August 2026.
//
// It reads these members of the object on stdin:
//
//	hook_event_name   PreToolUse, PostToolUse, PostToolUseFailure; others are ignored
//	session_id        becomes run_id
//	tool_use_id       becomes tool_call_id; two of these hooks with one id ask one question
//	tool_name         becomes tool; mcp__SERVER__NAME for the tools of MCP servers
//	tool_input        becomes request
//	cwd               gives session its default, unless CLAUDE_PROJECT_DIR is set
//	duration_ms       optional, after the call
//	tool_response     after the call; only its member interrupted is used
//	error             after a call that failed; only its first line, "Exit code N" of a command
//	is_interrupt      optional, after a call that failed
//
// It uses these of a hook's answers:
//
//   - Exit 0 with nothing on stdout is no decision: Claude Code's own permission
//     rules and prompts apply, as they would without a hook.
//   - Exit 0 with hookSpecificOutput.permissionDecision: "deny" does not run the
//     call and shows permissionDecisionReason to Claude; "allow" skips Claude
//     Code's prompt, but not its deny and ask rules; "ask" shows the prompt.
//   - Exit 2 before a call does not run it, and shows stderr to Claude.
//   - Any other exit is an error that blocks nothing; the user sees the first
//     line of stderr. A hook that takes longer than its timeout blocks nothing
//     either, so that this one must always be faster. The timeout is 600 s (60 s
//     before 2.1.3), unless the settings say otherwise.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Exit codes, in Claude Code's terms. A panic exits with 2 as well.
const (
	exitDone  = 0
	exitError = 1 // the user is told, nothing is blocked
	exitBlock = 2 // the call is not run
)

type config struct {
	url       string
	tokenFile string
	agent     string
	session   string
	policy    policy
	grant     bool
	wait      time.Duration
	noAnswer  string
	fail      string
	timeout   time.Duration
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	complain := func(what string) { fmt.Fprintln(stderr, "rampart hook:", what) }
	cfg, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	var in input
	data, readErr := io.ReadAll(stdin)
	inputErr := cmp.Or(readErr, in.parse(data))
	if err != nil {
		complain(plain(err))
		return in.block() // the rules are unknown
	}
	h := hook{config: cfg, in: in, stdout: stdout, complain: complain}
	switch {
	case inputErr != nil:
		return h.broken(inputErr)
	case in.Event == preToolUse:
		return h.before()
	case in.Event == postToolUse, in.Event == postToolUseFailure:
		return h.after()
	}
	return exitDone
}

// parse reads the command line. When it returns flag.ErrHelp, it has printed the
// help to out.
func parse(args []string, out io.Writer) (config, error) {
	c := config{policy: policy{byDefault: "allow"}}
	fs := flag.NewFlagSet("hook", flag.ContinueOnError)
	var printed bytes.Buffer // the usage: printed only on demand, lest it hide the error
	fs.SetOutput(&printed)
	fs.StringVar(&c.url, "url", cmp.Or(os.Getenv("RAMPART_URL"), "http://127.0.0.1:9090"), "the daemon's `URL`; by default $RAMPART_URL, if set")
	fs.StringVar(&c.tokenFile, "token-file", "~/.rampart/token", "`file` that holds the token, an agent's or the admin's")
	fs.StringVar(&c.agent, "agent", "claude-code", "`name` on record; an agent's token has its own")
	fs.StringVar(&c.session, "session", "", "`session` on record (default the project's directory and branch, as in myapp/main)")
	fs.Func("deny", "do not run calls that match this `regexp`; repeatable", c.policy.add("deny"))
	fs.Func("ask", "ask a person about calls that match this `regexp`; repeatable", c.policy.add("ask"))
	fs.Func("allow", "let calls pass that match this `regexp`; repeatable", c.policy.add("allow"))
	fs.Func("suggest", "`text` for Claude when the -deny or -ask before it refused a call; repeatable", c.policy.suggest)
	fs.StringVar(&c.policy.byDefault, "default", c.policy.byDefault, "`action` on calls that match no rule: allow, watch, ask or deny")
	fs.BoolVar(&c.grant, "grant", false, "where an -allow matches, have Claude Code skip its own prompt")
	fs.DurationVar(&c.wait, "wait", 50*time.Second, "how long to wait for a person's answer; keep the hook's timeout in the settings 10s above it")
	fs.StringVar(&c.noAnswer, "no-answer", "deny", "`action` when no answer came: deny, or ask at Claude Code's own prompt")
	fs.StringVar(&c.fail, "fail", "closed", "`how` a call that can't be put on record ends: closed does not run it, open does")
	fs.DurationVar(&c.timeout, "timeout", 2*time.Second, "how long the daemon may take for what needs no person")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			out.Write(printed.Bytes())
		}
		return c, err
	}
	return c, c.check(fs.Args())
}

func (c *config) check(rest []string) error {
	oneOf := func(name, value string, words ...string) error {
		for _, w := range words {
			if value == w {
				return nil
			}
		}
		return fmt.Errorf("-%s %q: want %s", name, value, strings.Join(words, " or "))
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: every option is a flag, see -h", rest[0])
	case c.wait <= 0:
		return fmt.Errorf("-wait %v: must be more than zero", c.wait)
	case c.timeout <= 0:
		return fmt.Errorf("-timeout %v: must be more than zero", c.timeout)
	}
	return cmp.Or(
		oneOf("default", c.policy.byDefault, "allow", "watch", "ask", "deny"),
		oneOf("no-answer", c.noAnswer, "deny", "ask"),
		oneOf("fail", c.fail, "closed", "open"),
	)
}

// token reads the token from the file.
func (c *config) token() (string, error) {
	path := c.tokenFile
	if rest, ok := strings.CutPrefix(path, "~/"); ok { // no shell has expanded it
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("-token-file: %w", err)
		}
		path = filepath.Join(home, rest)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("-token-file: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("-token-file %s: want one word, the token alone", path)
	}
	return token, nil
}

const (
	preToolUse         = "PreToolUse"
	postToolUse        = "PostToolUse"
	postToolUseFailure = "PostToolUseFailure"
)

// input is the object that Claude Code writes to stdin.
type input struct {
	Event     string          `json:"hook_event_name"`
	SessionID string          `json:"session_id"`
	CWD       string          `json:"cwd"`
	ToolName  string          `json:"tool_name"`
	ToolInput json.RawMessage `json:"tool_input"`
	ToolUseID string          `json:"tool_use_id"`

	// After the call.
	DurationMS   *float64        `json:"duration_ms"`
	ToolResponse json.RawMessage `json:"tool_response"`
	Error        string          `json:"error"`
	IsInterrupt  bool            `json:"is_interrupt"`
}

func (in *input) parse(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("no input: Claude Code runs this program and says on stdin what is to be done; README.md says how to install it")
	}
	var kind struct {
		Event string `json:"hook_event_name"`
	}
	err := json.Unmarshal(data, &kind)
	switch in.Event = kind.Event; in.Event {
	case preToolUse, postToolUse, postToolUseFailure:
		err = json.Unmarshal(data, in)
		if err == nil && in.ToolName == "" {
			err = errors.New("it has no tool_name")
		}
	case "":
		err = cmp.Or(err, errors.New("it has no hook_event_name"))
	}
	if err != nil {
		return fmt.Errorf("the hook's input is not understood: %w", err)
	}
	return nil
}

// block returns the exit code that keeps a call from running. For other events 2
// means something else: at Stop, that Claude must go on.
func (in *input) block() int {
	if in.Event == preToolUse || in.Event == "" {
		return exitBlock
	}
	return exitError
}
