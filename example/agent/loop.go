package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rampartlog/rampart"
)

// task returns the calls of a model that has an honest task and one bad idea.
func task() io.Reader {
	return strings.NewReader(`{"tool":"write","request":{"path":"greet.sh","content":"echo hello from the scratch directory\n"}}
{"tool":"exec","request":{"command":"ls -l"}}
{"tool":"exec","request":{"command":"sh greet.sh"}}
{"tool":"exec","request":{"command":"rm -rf / --no-preserve-root"}}
{"tool":"read","request":{"path":"../token"}}
{"tool":"read","request":{"path":"greet.sh"}}
`)
}

// agent passes the calls that a model asks for to the gate, and answers the model.
type agent struct {
	gate  *rampart.Gate
	tools tools
	run   string
	out   io.Writer
}

// answer is what the model is told of a call.
type answer struct {
	Call        int      `json:"call"`
	Action      string   `json:"action"` // "ran", or the decision that kept the call from running
	Output      string   `json:"output,omitempty"`
	ExitCode    *int     `json:"exit_code,omitempty"`
	Error       string   `json:"error,omitempty"`
	Suggestions []string `json:"suggestions,omitempty"`
}

// work makes one call after the other. A call that is refused, or that fails, gets
// an answer like any other. If a call can't be recorded, work ends with the error:
// nothing may run unrecorded.
func (a *agent) work(ctx context.Context, calls io.Reader) error {
	lines := json.NewDecoder(calls)
	for n := 1; ; n++ {
		var call struct {
			Tool    string          `json:"tool"`
			Request json.RawMessage `json:"request"`
		}
		if err := lines.Decode(&call); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("call %d: want an object such as {\"tool\":\"exec\",\"request\":{\"command\":\"ls\"}}: %w", n, err)
		}
		var output string
		event, err := a.gate.Do(ctx, rampart.AuditEvent{
			Agent: "example-agent", Session: "scratch", RunID: a.run, ToolCallID: fmt.Sprintf("%s_%d", a.run, n),
			Tool: call.Tool, Request: call.Request,
		}, func(ctx context.Context, request json.RawMessage) (resp rampart.Response, err error) {
			output, resp, err = a.tools.call(ctx, call.Tool, request)
			return resp, err
		})
		told := answer{Call: n, Action: event.Decision.Action, Output: output, Suggestions: event.Decision.Suggestions}
		switch {
		case err == nil:
		case event.Decision.Action == "ran" && event.ID != "", errors.Is(err, rampart.ErrRefused):
			told.Error = err.Error()
		case errors.Is(err, rampart.ErrInvalid):
			told.Action, told.Error = "invalid", err.Error()
		default:
			return fmt.Errorf("call %d: %w", n, err)
		}
		if event.Response != nil {
			told.ExitCode = event.Response.ExitCode
		}
		if err := json.NewEncoder(a.out).Encode(told); err != nil {
			return err
		}
	}
}
