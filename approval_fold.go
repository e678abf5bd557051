package rampart

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// What the queue's own events say they are.
const (
	actionAsk      = "ask"
	actionResolved = "approval_resolved"
	actionExpired  = "approval_expired"
)

// entry is an approval and those who wait for it.
type entry struct {
	Approval
	done chan struct{} // closed when it has ended, after which nothing changes it
}

func byID(x, y *entry) int { return cmp.Compare(x.ID, y.ID) }

// size is what the entry takes in memory of what others chose.
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
	request := []string{"action", actionExpired, "approval_id", e.ID}
	if r.Status != Expired {
		request = []string{
			"action", actionResolved, "approval_id", e.ID, "resolution", string(r.Status),
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
	calls        map[call]*entry   // of them, those with a tool call's id
	pendingBytes int

	ended      map[string]*entry // by id, the newest keep of them
	order      []*entry          // ended, in the order of their endings
	keep       int
	endedBytes int
}

type call struct{ agent, toolCallID string }

func newFold(keep int) fold {
	return fold{pending: map[string]*entry{}, calls: map[call]*entry{}, ended: map[string]*entry{}, keep: keep}
}

// add takes in the next event of the log.
func (f *fold) add(r Record) error { return f.fold(r, true) }

// answer is add for one that may only end what is there.
func (f *fold) answer(r Record) error { return f.fold(r, false) }

func (f *fold) fold(r Record, open bool) error {
	event, err := r.Event()
	if err != nil || event.Approval == nil {
		return err
	}
	var id, status, expires string
	var q question
	var end Resolution
	err = record.Decode(event.Approval, map[string]any{
		"id": &id, "status": &status, "expires_at": &expires, "credential": &q.credential,
		"request_sha256": &q.requestSHA256, "resolved_by": &end.ResolvedBy, "reason": &end.Reason,
	})
	if err == nil {
		switch end.Status = ApprovalStatus(status); end.Status {
		case Pending:
			if q.expiresAt, err = parseTime(expires); err == nil && open {
				f.open(newEntry(&event, q))
			}
		case Approved, Denied, Expired:
			end.Credential = q.credential
			if e := f.pending[id]; e != nil {
				f.end(e, end, event.Timestamp)
			}
		default:
			// Reading on would leave pending what may have been denied.
			err = fmt.Errorf("status %q is not known to this version", status)
		}
	}
	if err != nil {
		return fmt.Errorf("event %s: approval: %w", event.ID, err)
	}
	return nil
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
