package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
)

// Kinds of alerts.
const (
	kindDecision = "decision"   // an event with an action of -on
	kindPending  = "pending"    // an approval that waits for an answer
	kindEnded    = "ended"      // an approval was answered, or has expired
	kindWitness  = "witness"    // the log is not what it was
	kindOverflow = "not_posted" // counts alerts that found the queue full
)

// alert is printed as a line, and posted as an element of "alerts".
type alert struct {
	Kind       string    `json:"kind"`
	Time       time.Time `json:"time"`
	Action     string    `json:"action,omitempty"`
	Agent      string    `json:"agent,omitempty"`
	Session    string    `json:"session,omitempty"`
	RunID      string    `json:"run_id,omitempty"`
	Tool       string    `json:"tool,omitempty"`
	Command    string    `json:"command,omitempty"`
	Message    string    `json:"message,omitempty"`
	EventID    string    `json:"event_id,omitempty"`
	ApprovalID string    `json:"approval_id,omitempty"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	ResolvedBy string    `json:"resolved_by,omitempty"`
	NotPosted  int       `json:"not_posted,omitempty"`

	answer string // the shell command that approves it
}

// An alert keeps, and a line shows, at most so many characters of a name and of
// a text.
const (
	keptName, keptText   = 200, 2000
	shownName, shownText = 60, 240
)

func decisionAlert(e *rampart.AuditEvent) alert {
	return alert{
		Kind: kindDecision, Time: e.Timestamp, Action: e.Decision.Action, Agent: cut(e.Agent, keptName),
		Session: cut(e.Session, keptName), RunID: cut(e.RunID, keptName), Tool: cut(e.Tool, keptName),
		Command: cut(commandOf(e.Request), keptText), Message: cut(e.Decision.Message, keptText), EventID: e.ID,
	}
}

func pendingAlert(a *rampart.Approval, answer string) alert {
	return alert{
		Kind: kindPending, Time: a.CreatedAt, Action: "ask", Agent: cut(a.Agent, keptName),
		Session: cut(a.Session, keptName), RunID: cut(a.RunID, keptName), Tool: cut(a.Tool, keptName),
		Command: cut(cmp.Or(a.Command, string(a.Request)), keptText), Message: cut(a.Message, keptText), EventID: a.ID,
		ApprovalID: a.ID, ExpiresAt: a.ExpiresAt, answer: answer,
	}
}

// endedAlert is the alert for an event e that ended an approval.
func endedAlert(e *rampart.AuditEvent, m approvalMember, command string) alert {
	a := decisionAlert(e)
	a.Kind, a.Command, a.Message = kindEnded, command, cut(m.Reason, keptText)
	a.ApprovalID, a.ResolvedBy = cut(m.ID, keptName), cut(m.ResolvedBy, keptName)
	return a
}

// approvalMember is the member "approval" of an event, which the queue writes.
type approvalMember struct {
	ID         string                 `json:"id"`
	Status     rampart.ApprovalStatus `json:"status"`
	ResolvedBy string                 `json:"resolved_by"`
	Reason     string                 `json:"reason"`
}

// commandOf returns what a person is shown of a request: its command, or its
// path if it has no command, or all of it. Names are matched with their case:
// otherwise {"Command":"ls"} would hide what "command" says.
func commandOf(request json.RawMessage) string {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(request, &members)
	for _, name := range []string{"command", "path"} {
		var s string
		if value := members[name]; json.Unmarshal(value, &s) == nil && s != "" {
			return s
		} else if bytes.HasPrefix(value, []byte("[")) {
			return string(value)
		}
	}
	return string(request)
}

// line returns the alert as a person reads it. Text from an agent is quoted, or
// comes last, so that it can't pass for another part of the line.
func (a *alert) line(now time.Time) string {
	at := a.Time.Local().Format(time.DateTime)
	switch a.Kind {
	case kindWitness:
		return fmt.Sprintf("%s !!! THE AUDIT LOG IS NOT WHAT IT WAS !!! %s", at, visible(cut(a.Message, keptText)))
	case kindOverflow:
		return fmt.Sprintf("%s %d further alerts were not posted; the monitor has printed them", at, a.NotPosted)
	}
	var b strings.Builder
	action := a.Action
	if a.Kind == kindPending {
		action = "pending"
	}
	fmt.Fprintf(&b, "%s %-8s %s %s %s", at, word(action), word(cut(a.Agent, shownName)), word(cut(a.Session, shownName)), word(cut(a.Tool, shownName)))
	if a.Kind == kindEnded {
		fmt.Fprintf(&b, " approval %s", word(a.ApprovalID))
		if a.ResolvedBy != "" {
			fmt.Fprintf(&b, " by %s", word(cut(a.ResolvedBy, shownName)))
		}
	}
	if a.Message != "" {
		fmt.Fprintf(&b, " %q", cut(a.Message, shownText))
	}
	if a.Kind == kindPending {
		left := "its time is over"
		if d := a.ExpiresAt.Sub(now).Round(time.Second); d > 0 {
			left = d.String() + " left"
		}
		fmt.Fprintf(&b, " (%s)", left)
	}
	if a.Command != "" {
		b.WriteString(": " + visible(cut(a.Command, shownText)))
	}
	if a.answer != "" {
		b.WriteString("\n    " + a.answer)
	}
	return b.String()
}

// answerWith returns the shell command that approves the approval with that id.
func answerWith(url, tokenFile, id string) string {
	return fmt.Sprintf(`curl -H "Authorization: Bearer $(cat %s)" -H 'Content-Type: application/json' -d '{"approved":true}' %s`,
		shellQuote(tokenFile), shellQuote(strings.TrimSuffix(url, "/")+"/v1/approvals/"+visible(id)+"/resolve"))
}

// shellQuote makes s one word of a POSIX shell. A word that needs no quotes gets
// none.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@:", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
