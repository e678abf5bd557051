package rampart

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

// The action in the request of an event that ends an approval.
const (
	requestResolved = "approval_resolved"
	requestExpired  = "approval_expired"
)

// entry is an approval and those who wait for it.
type entry struct {
	Approval
	done chan struct{} // closed when it has ended, after which nothing changes it
}

func byID(x, y *entry) int { return cmp.Compare(x.ID, y.ID) }

// size is how many bytes the entry's strings have, which callers chose.
func (e *entry) size() int {
	return len(e.Tool) + len(e.Command) + len(e.Request) + len(e.Agent) + len(e.Session) + len(e.RunID) + len(e.Message) +
		len(e.ResolvedBy) + len(e.ToolCallID) + len(e.Credential) + len(e.Reason)
}

// question is the approval member of the event that opens an approval.
type question struct {
	expiresAt                 time.Time
	credential, requestSHA256 string
}

func (q *question) encode() (json.RawMessage, error) {
	return stringsObject(
		"status", string(Pending), "expires_at", q.expiresAt.Format(time.RFC3339Nano),
		"credential", q.credential, "request_sha256", q.requestSHA256,
	)
}

// stringsObject is the JSON object of those names and values.
func stringsObject(pairs ...string) (json.RawMessage, error) {
	out, err := record.AppendStrings(nil, pairs...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return out, nil
}

// newEntry is the approval that the event e opens.
func newEntry(e *AuditEvent, q question) *entry {
	return &entry{done: make(chan struct{}), Approval: Approval{
		ID: e.ID, Tool: e.Tool, Command: commandOf(e.Request), Request: e.Request,
		Agent: e.Agent, Session: e.Session, RunID: e.RunID, ToolCallID: e.ToolCallID,
		Message: e.Decision.Message, Status: Pending, CreatedAt: e.Timestamp,
		ExpiresAt: q.expiresAt, Credential: q.credential, RequestSHA256: q.requestSHA256,
	}}
}

// commandOf finds what a person reads of a request.
func commandOf(request []byte) string {
	var command, path string
	_ = record.Members(request, func(name string, value []byte, _ int) error {
		switch name {
		case "command":
			command, _ = record.Words(value)
		case "path":
			path, _ = record.String(value)
		}
		return nil
	})
	return cmp.Or(command, path)
}

// ending is the event that ends e with r.
func ending(e *entry, r Resolution, at time.Time) (AuditEvent, error) {
	out := AuditEvent{
		Timestamp: at, Agent: e.Agent, Session: e.Session, RunID: e.RunID, ToolCallID: e.ToolCallID, Tool: e.Tool,
		Decision: Decision{Action: string(r.Status)},
	}
	member := []string{"id", e.ID, "status", string(r.Status), "resolved_by", r.ResolvedBy, "credential", r.Credential}
	request := []string{"action", requestExpired, "approval_id", e.ID}
	if r.Status != Expired {
		request = []string{
			"action", requestResolved, "approval_id", e.ID, "resolution", string(r.Status),
			"resolved_by", r.ResolvedBy, "credential", r.Credential,
		}
		if r.Reason != "" {
			member = append(member, "reason", r.Reason)
			request = append(request, "reason", r.Reason)
		}
		request = append(request, "request_sha256", e.RequestSHA256)
	}
	var err error
	if out.Request, err = stringsObject(request...); err == nil {
		out.Approval, err = stringsObject(member...)
	}
	return out, err
}

// fold is what the approval members of a log add up to.
type fold struct {
	pending      map[string]*entry // by id
	calls        map[call]*entry   // the pending ones that have a tool call's id
	pendingBytes int

	closed bool // nothing is opened any more

	ended      map[string]*entry // by id, the newest keep of them
	order      []*entry          // ended, in the order of their endings
	keep       int
	endedBytes int
}

type call struct{ agent, toolCallID string }

func newFold(keep int) fold {
	return fold{pending: map[string]*entry{}, calls: map[call]*entry{}, ended: map[string]*entry{}, keep: keep}
}

// replay takes in the events of the log that q chooses, up to number upto.
func (f *fold) replay(ctx context.Context, c *AuditChain, q ledger.Query, upto uint64) error {
	var bad error
	err := c.ledger.Scan(ctx, &q, func(seq uint64, line []byte, _ *record.Fields) bool {
		if seq > upto || f.closed && len(f.pending) == 0 {
			return false
		}
		var l *approvalLine
		if l, bad = decodeApproval(line); bad != nil {
			return false
		}
		f.add(l)
		return true
	})
	return cmp.Or(bad, public(err))
}

// unanswered lists the approvals that were requested before an id, and had not
// ended before it.
func (c *AuditChain) unanswered(ctx context.Context, before string) ([]string, error) {
	open := newFold(1)
	err := open.replay(ctx, c, ledger.Query{Before: before, Ascending: true, Approval: true}, math.MaxUint64)
	return slices.Collect(maps.Keys(open.pending)), err
}

// approvalLine is a line with an approval member, decoded.
type approvalLine struct {
	event    AuditEvent
	id       string // of the approval that the line ends
	question question
	end      Resolution // its Status is Pending in a line that opens an approval
}

// decodeApproval decodes a line; nil if it has no approval member.
func decodeApproval(r Record) (*approvalLine, error) {
	event, err := r.Event()
	if err != nil || event.Approval == nil {
		return nil, err
	}
	l := &approvalLine{event: event}
	var status, expires string
	err = record.Decode(event.Approval, map[string]any{
		"id": &l.id, "status": &status, "expires_at": &expires, "credential": &l.question.credential,
		"request_sha256": &l.question.requestSHA256, "resolved_by": &l.end.ResolvedBy, "reason": &l.end.Reason,
	})
	if err == nil {
		switch l.end.Status = ApprovalStatus(status); l.end.Status {
		case Pending:
			l.question.expiresAt, err = parseTime(expires)
		case Approved, Denied, Expired:
			l.end.Credential = l.question.credential
		default:
			// Reading on would leave pending what may have been denied.
			err = fmt.Errorf("status %q is not known to this version", status)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("event %s: approval: %w", event.ID, err)
	}
	return l, nil
}

// add folds the next line of the log. It returns the entry that the line opened
// or ended, or nil if it did neither.
func (f *fold) add(l *approvalLine) *entry {
	if l.end.Status == Pending {
		if f.closed {
			return nil
		}
		e := newEntry(&l.event, l.question)
		f.open(e)
		return e
	}
	e := f.pending[l.id]
	if e != nil {
		f.end(e, l.end, l.event.Timestamp)
	}
	return e
}

func (f *fold) open(e *entry) {
	f.pending[e.ID] = e
	f.pendingBytes += e.size()
	if e.ToolCallID != "" {
		f.calls[call{e.Agent, e.ToolCallID}] = e
	}
}

// end ends the pending e and wakes those who wait for it.
func (f *fold) end(e *entry, r Resolution, at time.Time) {
	delete(f.pending, e.ID)
	f.pendingBytes -= e.size()
	if c := (call{e.Agent, e.ToolCallID}); f.calls[c] == e {
		delete(f.calls, c)
	}
	e.Status, e.ResolvedAt, e.ResolvedBy, e.Reason = r.Status, at, r.ResolvedBy, r.Reason
	f.ended[e.ID] = e
	f.order = append(f.order, e)
	f.endedBytes += e.size()
	for len(f.order) > f.keep || f.endedBytes > maxEndedBytes {
		old := f.order[0]
		f.order[0] = nil
		f.order = f.order[1:]
		delete(f.ended, old.ID)
		f.endedBytes -= old.size()
	}
	close(e.done)
}
