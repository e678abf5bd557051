package rampart

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// maxFault bounds what an outcome repeats of a tool's error, in bytes.
const maxFault = 4 << 10

// Recorder is where a [Gate] records and asks: the [Rampart] of this process, see
// [Rampart.Recorder], or the client of a daemon that several agents share.
type Recorder interface {
	// Record makes e durable and returns the id that it was given.
	Record(ctx context.Context, e AuditEvent) (id string, err error)
	// RequestApproval asks a person, see [Approvals.Request].
	RequestApproval(ctx context.Context, r ApprovalRequest) (Approval, error)
	// WaitApproval returns the approval once it has ended.
	WaitApproval(ctx context.Context, id string) (Approval, error)
}

// Recorder returns the Recorder of a [Gate] in this process.
func (r *Rampart) Recorder() Recorder { return recorder{r} }

type recorder struct{ r *Rampart }

func (l recorder) Record(ctx context.Context, e AuditEvent) (id string, err error) {
	saved, err := l.r.Chain.Append(ctx, e)
	return saved.ID, err
}

func (l recorder) RequestApproval(ctx context.Context, q ApprovalRequest) (Approval, error) {
	return l.r.Approvals.Request(ctx, q)
}

func (l recorder) WaitApproval(ctx context.Context, id string) (Approval, error) {
	return l.r.Approvals.Wait(ctx, id)
}

// RequestSHA256 returns the [Approval.RequestSHA256] of that request: the SHA-256,
// in hex, of the object without insignificant white space, of {} for nil. Compare
// it with the approval's before you run anything. ErrInvalid: request is not an
// object that an event can have.
func RequestSHA256(request json.RawMessage) (string, error) {
	_, digest, err := storedRequest(request)
	return digest, err
}

// storedRequest returns the request as the log stores it, and its digest.
func storedRequest(request json.RawMessage) (stored json.RawMessage, digest string, err error) {
	if request == nil {
		request = json.RawMessage("{}")
	}
	if stored, err = record.AppendObject(nil, request); err != nil {
		return nil, "", fmt.Errorf("%w: request: %w", ErrInvalid, err)
	}
	sum := sha256.Sum256(stored)
	return stored, hex.EncodeToString(sum[:]), nil
}

// Gate stands between an agent's call of a tool and the tool: it asks the
// host's policy, then, where that says so, a person; it records what was
// decided, and runs the call only then. Recorder and Policy are required. A Gate's
// methods may be called concurrently. Do not change or copy a Gate after its first
// call.
type Gate struct {
	Recorder Recorder

	// Policy is the host's own. Its Decision's Action is allow, watch, ask or
	// deny; anything else, the zero value too, and an error deny the call. The gate
	// measures EvaluationTimeUS if it is zero. The call has no decision yet, and
	// Policy may keep its Request.
	Policy func(ctx context.Context, call AuditEvent) (Decision, error)

	TTL time.Duration // how long a person has for an answer; as [ApprovalRequest].TTL

	asking sync.Map // agents and ToolCallIDs of the calls that wait for an answer
}

// Do lets call through or refuses it, in this order:
//
//  1. Policy decides.
//  2. If it says ask, a person is asked, and the answer takes its place.
//  3. The decision goes on record, on disk.
//  4. If it lets the call through, run runs it.
//  5. The outcome goes on record, on disk, whatever ctx says.
//
// So nothing runs that is not on record, and a crash in between leaves the
// decision there. run is given the request in its stored form, which was recorded
// and, for ask, approved: the gate compares its digest and the tool with the
// approval.
//
// Do returns the event that was recorded last, with its ID. If the call ran, that
// is the outcome: its action is [ActionRan], and its request names the event of
// the decision, {"action":"call_ran","event_id":…}. If a person denied the call,
// or nobody answered, it is the approval's event.
//
// The call needs an Agent and a Tool. A client whose token is an agent's records
// that agent's name, whatever the call says. Two calls of one agent at the same
// time need different ToolCallIDs, or none: while one waits for its answer the
// other is denied, and if each has a gate of its own, one yes runs both.
//
// The duration is measured when run leaves it zero. An error of run becomes the
// flag error and the message. A panic of run goes on after the flag panic was
// recorded. ctx is passed on, and limits the wait for an answer; an approval that
// nobody waits for any more stays until it expires, and runs nothing.
//
// When the call did not run: ErrRefused, with the reason in its text and in the
// event's Decision, for the agent to read; or the Recorder's error, and a zero
// event. When it ran: run's own error, and that of recording the outcome.
func (g *Gate) Do(ctx context.Context, call AuditEvent, run func(ctx context.Context, request json.RawMessage) (Response, error)) (AuditEvent, error) {
	if g.Recorder == nil || g.Policy == nil || run == nil {
		return AuditEvent{}, fmt.Errorf("%w: a gate needs a Recorder, a Policy and something to run", ErrInvalid)
	}
	call.Decision, call.Response = Decision{Action: ActionAllow}, nil
	checked := call
	if _, err := encodeOne(&checked); err != nil { // before a policy sees it
		return AuditEvent{}, err
	}
	request := checked.Request
	call.Timestamp = checked.Timestamp
	call.Decision = Decision{}
	var err error
	if call.Decision, err = g.decide(ctx, call, request); err != nil {
		return AuditEvent{}, err
	}
	call.Request = request
	if call.Decision.Action == ActionAsk {
		if err := g.ask(ctx, &call); err != nil {
			return AuditEvent{}, err
		}
	}
	if a := call.Decision.Action; a == ActionDenied || a == ActionExpired { // the queue has recorded that
		return call, refused(&call.Decision)
	}
	if call.ID, err = g.Recorder.Record(ctx, call); err != nil {
		return AuditEvent{}, err
	}
	if call.Decision.Action == ActionDeny {
		return call, refused(&call.Decision)
	}
	return g.run(ctx, call, request, run)
}

// decide asks the policy. A call that the policy does not clearly let through is
// denied.
func (g *Gate) decide(ctx context.Context, call AuditEvent, request []byte) (Decision, error) {
	call.Request = bytes.Clone(request)
	began := time.Now()
	d, err := g.Policy(ctx, call)
	d.EvaluationTimeUS = cmp.Or(d.EvaluationTimeUS, time.Since(began).Microseconds())
	if err != nil {
		if ctx.Err() != nil {
			return d, ctx.Err()
		}
		d.Action, d.Message = ActionDeny, fault("the policy failed: ", err)
	}
	switch d.Action {
	case ActionAllow, ActionWatch, ActionAsk, ActionDeny:
	default:
		d.Message = fmt.Sprintf("the policy said %.70q; allow, watch, ask and deny are known", d.Action)
		d.Action = ActionDeny
	}
	return d, nil
}

// ask waits for a person's answer and puts it in the place of the decision.
func (g *Gate) ask(ctx context.Context, call *AuditEvent) error {
	digest, err := RequestSHA256(call.Request)
	if err != nil {
		return err
	}
	d := &call.Decision
	if call.ToolCallID != "" {
		id := [2]string{call.Agent, call.ToolCallID}
		if _, other := g.asking.LoadOrStore(id, true); other { // one yes is not for two runs
			d.Action, d.Message = ActionDeny, "another call with the same tool_call_id waits for its answer"
			return nil
		}
		defer g.asking.Delete(id)
	}
	a, err := g.Recorder.RequestApproval(ctx, ApprovalRequest{
		Agent: call.Agent, Session: call.Session, RunID: call.RunID, ToolCallID: call.ToolCallID,
		Tool: call.Tool, Request: call.Request, Message: d.Message, MatchedPolicies: d.MatchedPolicies,
		TTL: g.TTL, Credential: call.Agent,
	})
	switch {
	case errors.Is(err, ErrLimit):
		d.Action, d.Message = ActionDeny, fault("nobody could be asked: ", err)
		return nil
	case err != nil:
		return err
	}
	if a, err = g.Recorder.WaitApproval(ctx, a.ID); err != nil {
		return err
	}
	// A call with the ToolCallID of an earlier one gets that one's approval.
	same := a.RequestSHA256 == digest && a.Tool == call.Tool
	switch {
	case a.Status == Approved && same:
		d.Action, d.Message = ActionAllow, "approved by "+a.ResolvedBy
	case a.Status == Approved:
		d.Action, d.Message = ActionDeny, "what was approved is another call with the same tool_call_id"
	case a.Status == Denied:
		call.ID, d.Action, d.Message = a.ID, ActionDenied, "denied by "+a.ResolvedBy
	default:
		call.ID, d.Action, d.Message = a.ID, ActionExpired, "nobody answered in time"
	}
	if a.Reason != "" {
		d.Message += ": " + a.Reason
	}
	return nil
}

// run runs a call that has been let through and records what came of it.
func (g *Gate) run(ctx context.Context, decided AuditEvent, request json.RawMessage, run func(context.Context, json.RawMessage) (Response, error)) (AuditEvent, error) {
	outcome := decided
	outcome.ID = ""
	outcome.Request = json.RawMessage(`{"action":"call_ran","event_id":"` + decided.ID + `"}`)
	outcome.Decision = Decision{Action: ActionRan}

	began := time.Now()
	outcome.Timestamp = began
	conclude := func(resp Response, message string, flags ...string) error {
		resp.DurationMS = cmp.Or(resp.DurationMS, time.Since(began).Milliseconds())
		resp.Flags = append(resp.Flags[:len(resp.Flags):len(resp.Flags)], flags...)
		outcome.Response, outcome.Decision.Message = &resp, message
		var err error
		if outcome.ID, err = g.Recorder.Record(context.WithoutCancel(ctx), outcome); err != nil {
			return fmt.Errorf("the call ran, and its outcome could not be recorded: %w", err)
		}
		return nil
	}
	returned := false
	defer func() {
		if !returned {
			_ = conclude(Response{}, "", "panic") // the panic goes on, and nobody else can be told
		}
	}()
	resp, err := run(ctx, request)
	if returned = true; err != nil {
		err = errors.Join(err, conclude(resp, fault("", err), "error"))
	} else {
		err = conclude(resp, "")
	}
	return outcome, err
}

func refused(d *Decision) error {
	if d.Message == "" {
		return fmt.Errorf("%w: %s", ErrRefused, d.Action)
	}
	return fmt.Errorf("%w: %s: %s", ErrRefused, d.Action, d.Message)
}

// fault is a message about err that an event can hold.
func fault(prefix string, err error) string {
	s := strings.ToValidUTF8(prefix+err.Error(), "\ufffd")
	if len(s) > maxFault {
		s = strings.ToValidUTF8(s[:maxFault], "") + "…"
	}
	return s
}
