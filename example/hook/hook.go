package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// hook answers one call of Claude Code.
type hook struct {
	config
	in       input
	stdout   io.Writer
	complain func(string)
}

// before decides whether the call may run.
func (h *hook) before() int {
	began := time.Now()
	c := newCall(h.in.ToolName, h.in.ToolInput)
	v := h.policy.decide(c.line)
	e := h.event(c)
	e.Decision = rampart.Decision{
		Action: v.action, MatchedPolicies: v.matched(), EvaluationTimeUS: time.Since(began).Microseconds(),
		Message: v.message(), Suggestions: v.suggestions(),
	}
	switch v.action {
	case "deny":
		return h.deny(e)
	case "ask":
		return h.ask(e)
	}
	if err := h.record(e); err != nil {
		return h.broken(err)
	}
	if h.grant && v.rule != nil {
		return h.answer("allow", e.Decision.Message)
	}
	return exitDone
}

// after records the outcome of the call. Nothing can undo the call any more.
func (h *hook) after() int {
	e := h.event(newCall(h.in.ToolName, h.in.ToolInput))
	e.Decision = rampart.Decision{Action: "ran"}
	var r rampart.Response
	var response struct {
		Interrupted bool `json:"interrupted"`
	}
	_ = json.Unmarshal(h.in.ToolResponse, &response) // tools answer in different forms
	if h.in.Event == postToolUseFailure {
		r.Flags = append(r.Flags, "failed")
		first, _, _ := strings.Cut(h.in.Error, "\n")
		var code int
		if n, _ := fmt.Sscanf(first, "Exit code %d", &code); n == 1 {
			r.ExitCode = &code
		} else {
			e.Decision.Message = fmt.Sprintf("%.200s", first)
		}
	}
	if response.Interrupted || h.in.IsInterrupt {
		r.Flags = append(r.Flags, "interrupted")
	}
	if ms := h.in.DurationMS; ms != nil {
		r.DurationMS = int64(*ms)
	}
	if h.in.DurationMS != nil || r.Flags != nil {
		e.Response = &r
	}
	if err := h.record(e); err != nil {
		return h.broken(err)
	}
	return exitDone
}

func (h *hook) event(c call) rampart.AuditEvent {
	return rampart.AuditEvent{
		Agent: h.agent, Session: cmp.Or(h.session, defaultSession(h.in.CWD)),
		RunID: h.in.SessionID, ToolCallID: h.in.ToolUseID, Tool: c.tool, Request: c.request,
	}
}

func (h *hook) client() (*client.Client, error) {
	token, err := h.token()
	if err != nil {
		return nil, err
	}
	return client.New(h.url, &client.Options{Token: token})
}

// record puts e on record. If the log does not take the request, e has the
// request's digest in its place.
func (h *hook) record(e rampart.AuditEvent) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	whole := e.Request
	e.Request = shrink(whole)
	err = h.send(c, e)
	if errors.Is(err, rampart.ErrInvalid) {
		e.Request = digest(whole)
		err = h.send(c, e)
	}
	return err
}

func (h *hook) send(c *client.Client, e rampart.AuditEvent) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	_, err := c.Record(ctx, e)
	return h.explain(err)
}

// explain adds to an error of the daemon what to do about it.
func (h *hook) explain(err error) error {
	var unreachable *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %v", h.url, h.timeout)
	case errors.Is(err, rampart.ErrUnauthorized):
		return fmt.Errorf("%w; it is that of -token-file %s, which the daemon must know: an agent's is a line of its own -agent-token-file, read at its start", err, h.tokenFile)
	case errors.As(err, &unreachable):
		return fmt.Errorf("%w; is the daemon running? -url says where", err)
	}
	return err
}

// deny refuses the call, also when that can't be recorded.
func (h *hook) deny(e rampart.AuditEvent) int {
	e.Decision.Action = "deny"
	if err := h.record(e); err != nil {
		h.complain("denied, and not on record: " + plain(err))
	}
	return h.refuse(e, "Denied: "+e.Decision.Message)
}

// ask holds the call until a person has answered.
func (h *hook) ask(e rampart.AuditEvent) int {
	c, a, err := h.request(e)
	switch {
	case errors.Is(err, rampart.ErrInvalid):
		e.Decision.Message += "; a person can't be shown the call: " + plain(err)
		return h.deny(e)
	case err != nil:
		return h.unanswered(e, err)
	}
	// The daemon ends the approval after h.wait, so that it does not stay open when
	// nobody waits for it any more. The rest of the time is for the daemon to answer
	// that it has expired.
	ctx, cancel := context.WithTimeout(context.Background(), h.wait+time.Second+h.timeout)
	defer cancel()
	a, err = c.WaitApproval(ctx, a.ID)
	switch {
	case err != nil && ctx.Err() == nil:
		return h.unanswered(e, h.explain(err))
	case err != nil, a.Status != rampart.Approved && a.Status != rampart.Denied:
		return h.unanswered(e, fmt.Errorf("nobody answered within %v", h.wait))
	case a.Status == rampart.Denied:
		reason := "Denied by " + a.ResolvedBy
		if a.Reason != "" {
			reason += ": " + a.Reason
		}
		return h.refuse(e, reason)
	}
	if sum, err := rampart.RequestSHA256(e.Request); err != nil || sum != a.RequestSHA256 || a.Tool != e.Tool {
		e.Decision.Message += "; what was approved under this tool_use_id is another call"
		return h.deny(e)
	}
	return h.answer("allow", "Approved by "+a.ResolvedBy)
}

// request asks a person. ErrInvalid: the call can't be shown to one.
func (h *hook) request(e rampart.AuditEvent) (*client.Client, rampart.Approval, error) {
	if len(e.Request) > maxRequest {
		return nil, rampart.Approval{}, fmt.Errorf("%w: it has %d bytes, and %d can be shown", rampart.ErrInvalid, len(e.Request), maxRequest)
	}
	c, err := h.client()
	if err != nil {
		return nil, rampart.Approval{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	a, err := c.RequestApproval(ctx, rampart.ApprovalRequest{
		Agent: e.Agent, Session: e.Session, RunID: e.RunID, ToolCallID: e.ToolCallID, Tool: e.Tool, Request: e.Request,
		Message: e.Decision.Message, MatchedPolicies: e.Decision.MatchedPolicies, TTL: h.wait,
	})
	return c, a, h.explain(err)
}

// unanswered ends a call to which nobody said yes or no.
func (h *hook) unanswered(e rampart.AuditEvent, why error) int {
	reason := e.Decision.Message + "; " + plain(why)
	if h.noAnswer == "ask" {
		return h.answer("ask", reason)
	}
	return h.refuse(e, "Denied: "+reason)
}

// refuse answers deny, and tells Claude what it can do instead.
func (h *hook) refuse(e rampart.AuditEvent, reason string) int {
	if s := e.Decision.Suggestions; len(s) > 0 {
		reason += "\nInstead: " + strings.Join(s, "; ")
	}
	return h.answer("deny", reason)
}

// answer tells Claude Code the decision.
func (h *hook) answer(decision, reason string) int {
	type output struct {
		Event    string `json:"hookEventName"`
		Decision string `json:"permissionDecision"`
		Reason   string `json:"permissionDecisionReason"`
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // people read it
	err := enc.Encode(map[string]output{"hookSpecificOutput": {preToolUse, decision, reason}})
	if err == nil {
		_, err = h.stdout.Write(line.Bytes())
	}
	if err != nil {
		h.complain(fmt.Sprintf("%s: %s; the answer could not be written: %v", decision, reason, err))
		return exitBlock
	}
	return exitDone
}

// broken ends a call that could not be recorded, as -fail says.
func (h *hook) broken(err error) int {
	if code := h.in.block(); code == exitBlock && h.fail == "closed" {
		h.complain("not on record, and therefore not run: " + plain(err))
		return code
	}
	h.complain("not on record: " + plain(err))
	return exitError
}

// plain returns the error's text without the package's name.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "rampart: ") }
