package rampart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rampartlog/rampart/internal/httpio"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
)

const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"

	// queryPage keeps what a page of the largest events takes in memory to
	// 100 MiB.
	queryPage = 100
)

// Record has the server make e durable, and returns the id that it was given;
// for an agent's token, under the token's own name. The rules are those of
// [AuditChain.Append]. After an error other than those of [Client] the event
// may be on the log or not: it has no other name than its id.
func (c *Client) Record(ctx context.Context, e AuditEvent) (id string, err error) {
	ids, err := c.RecordAll(ctx, []AuditEvent{e})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// RecordAll appends events in one request: they follow one another in the log
// and are stored all or not at all. At most 65536 events and 32 MiB.
func (c *Client) RecordAll(ctx context.Context, events []AuditEvent) (ids []string, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	var body bytes.Buffer
	for i := range events {
		line, err := events[i].AppendJSON(body.AvailableBuffer())
		if err != nil {
			if len(events) > 1 {
				err = fmt.Errorf("event %d: %w", i+1, err)
			}
			return nil, err
		}
		body.Write(line)
		body.WriteByte('\n')
	}
	if len(events) > ledger.MaxBatch || body.Len() > httpio.MaxLines {
		return nil, fmt.Errorf("%w: %d events of %d bytes in one request, at most %d and %d are taken; append them in parts", ErrInvalid, len(events), body.Len(), ledger.MaxBatch, httpio.MaxLines)
	}
	var answer struct {
		IDs []string `json:"ids"`
	}
	err = c.do(ctx, apiCall{method: http.MethodPost, path: "/v1/audit/events", contentType: ndjsonType, body: body.Bytes()}, &answer)
	if err == nil && len(answer.IDs) != len(events) {
		err = fmt.Errorf("rampart: the server gave %d ids to %d events", len(answer.IDs), len(events))
	}
	if err != nil {
		return nil, err
	}
	return answer.IDs, nil
}

// Query yields the stored lines of the events that q chooses, as
// [AuditChain.Query] does, page by page: in the order of the log it also yields
// what arrives meanwhile. The error comes last and once. The server's hashes are
// not checked: Events and Verify do.
func (c *Client) Query(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		params, err := queryParams(&q)
		for err == nil {
			var page struct {
				Events []json.RawMessage `json:"events"`
				Cursor string            `json:"next_cursor"`
			}
			if err = c.do(ctx, apiCall{method: http.MethodGet, path: "/v1/audit/events", query: params, most: maxPageBytes}, &page); err != nil {
				break
			}
			if len(page.Events) == 0 && page.Cursor != "" {
				err = errors.New("rampart: GET /v1/audit/events: a page without events says that more follow: is it a Rampart server's URL?")
				break
			}
			for _, line := range page.Events {
				if !yield(Record(line), nil) {
					return
				}
			}
			if page.Cursor == "" {
				return
			}
			params.Set("cursor", page.Cursor)
		}
		yield(nil, err)
	}
}

func queryParams(q *Query) (url.Values, error) {
	v := url.Values{
		"agent": q.Agent, "session": q.Session, "tool": q.Tool, "action": q.Action, "run_id": q.RunID,
		"limit": {strconv.Itoa(queryPage)},
	}
	for name, values := range v {
		for _, s := range values {
			if s == "" { // which the server takes for none
				return nil, fmt.Errorf("%w: query: an empty %s can't be asked for over HTTP", ErrInvalid, name)
			}
		}
	}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("after", q.After)
	set("before", q.Before)
	if !q.Since.IsZero() {
		set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	if q.Ascending {
		set("order", "asc")
	}
	return v, nil
}

// Get returns the stored line of one event.
func (c *Client) Get(ctx context.Context, id string) (Record, error) {
	var line json.RawMessage
	err := c.do(ctx, apiCall{method: http.MethodGet, path: "/v1/audit/events/" + url.PathEscape(id)}, &line)
	return Record(line), err
}

// ListApprovals returns the approvals that have the status; of those that
// ended, the newest.
func (c *Client) ListApprovals(ctx context.Context, status ApprovalStatus) ([]Approval, error) {
	var answer struct {
		Approvals []Approval `json:"approvals"`
	}
	err := c.do(ctx, apiCall{method: http.MethodGet, path: "/v1/approvals", query: url.Values{"status": {string(status)}}, most: maxApprovals}, &answer)
	return answer.Approvals, err
}

// RequestApproval asks for a person's yes or no, and returns once the question
// is durable. Of the approval ID, Status and ExpiresAt are set; WaitApproval
// returns the whole. With a ToolCallID it may be tried again: while that is
// pending for the same agent, it is the same approval, whatever else r says.
// Credential is the token's; a TTL counts in whole seconds, rounded up.
func (c *Client) RequestApproval(ctx context.Context, r ApprovalRequest) (Approval, error) {
	if r.Request == nil {
		r.Request = json.RawMessage("{}")
	}
	request, err := record.AppendObject(nil, r.Request)
	if err != nil {
		return Approval{}, fmt.Errorf("%w: request: %w", ErrInvalid, err)
	}
	body, err := stringsObject(
		"agent", r.Agent, "session", r.Session, "run_id", r.RunID, "tool_call_id", r.ToolCallID,
		"tool", r.Tool, "message", r.Message)
	if err != nil {
		return Approval{}, err
	}
	body = append(append(body[:len(body)-1], `,"request":`...), request...)
	policies := []byte(`,"matched_policies":[`)
	for i, p := range r.MatchedPolicies {
		if i > 0 {
			policies = append(policies, ',')
		}
		if policies, err = record.AppendString(policies, p); err != nil {
			return Approval{}, fmt.Errorf("%w: matched policies: %w", ErrInvalid, err)
		}
	}
	body = fmt.Appendf(append(body, policies...), `],"ttl_seconds":%d}`, int64(math.Ceil(r.TTL.Seconds())))
	var a Approval
	err = c.do(ctx, apiCall{method: http.MethodPost, path: "/v1/approvals", contentType: jsonType, body: body}, &a)
	if err == nil && a.ID == "" { // as when something on the way redirects a POST
		err = errors.New("rampart: POST /v1/approvals: the answer has no approval: is it a Rampart server's URL?")
	}
	return a, err
}

// WaitApproval returns the approval as soon as it is no longer pending. It goes
// on waiting while the server is restarted or out of reach; ctx ends it.
// Only an approval whose Status is Approved was approved, and then only the
// request that RequestSHA256 is of: see [RequestSHA256].
func (c *Client) WaitApproval(ctx context.Context, id string) (Approval, error) {
	r := apiCall{
		method: http.MethodGet, path: "/v1/approvals/" + url.PathEscape(id),
		query: url.Values{"wait": {maxWait.String()}}, limit: maxWait + callTimeout/2,
	}
	for between := (pauses{}); ; {
		var a Approval
		err := c.do(ctx, r, &a)
		switch {
		case err == nil && a.Status != Pending:
			return a, nil
		case err == nil:
			between = pauses{}
			continue
		case ctx.Err() != nil || !temporary(err):
			return Approval{}, err
		}
		err = between.pause(ctx, err, func(d time.Duration) {
			c.log.Warn("waiting for an approval: the server is out of reach", "approval", id, "error", err, "retry", d)
		})
		if err != nil {
			return Approval{}, err
		}
	}
}

// ResolveApproval answers an approval, and returns once the answer is durable.
// ErrNotPending: it was answered, or has expired. Credential is the token's.
func (c *Client) ResolveApproval(ctx context.Context, id string, r Resolution) error {
	if err := r.check(); err != nil {
		return err
	}
	body, err := stringsObject("resolved_by", r.ResolvedBy, "reason", r.Reason)
	if err != nil {
		return err
	}
	body = fmt.Appendf(body[:len(body)-1], `,"approved":%t}`, r.Status == Approved)
	var answer struct{}
	return c.do(ctx, apiCall{method: http.MethodPost, path: "/v1/approvals/" + url.PathEscape(id) + "/resolve", contentType: jsonType, body: body}, &answer)
}

// ResolveApprovals answers several approvals of one run in one durable write,
// as [Approvals.ResolveAll] does, and returns their ids.
func (c *Client) ResolveApprovals(ctx context.Context, r BulkResolution) (ids []string, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	action := "deny"
	if r.Status == Approved {
		action = "approve"
	}
	body, err := stringsObject("run_id", r.RunID, "action", action, "agent", r.Agent, "session", r.Session, "resolved_by", r.ResolvedBy, "reason", r.Reason)
	if err != nil {
		return nil, err
	}
	if r.IDs != nil {
		list, err := json.Marshal(r.IDs)
		if err != nil {
			return nil, err
		}
		body = append(append(append(body[:len(body)-1], `,"ids":`...), list...), '}')
	}
	var answer struct {
		IDs []string `json:"ids"`
	}
	err = c.do(ctx, apiCall{method: http.MethodPost, path: "/v1/approvals/bulk-resolve", contentType: jsonType, body: body}, &answer)
	return answer.IDs, err
}

// Verify has the server walk its whole log, and prove that the anchor, unless
// it is the zero value, lies on it. A fault in the log is a verdict. Only ctx
// limits the time that it takes.
func (c *Client) Verify(ctx context.Context, a Anchor) (Report, error) {
	var params url.Values
	if a != (Anchor{}) {
		params = url.Values{"id": {a.ID}, "hash": {a.Hash}}
	}
	var answer struct {
		OK       bool   `json:"ok"`
		Events   uint64 `json:"events"`
		FirstID  string `json:"first_id"`
		LastID   string `json:"last_id"`
		HeadHash string `json:"head_hash"`
		Pruned   Pruned `json:"pruned"`
		verifyFault
	}
	err := c.do(ctx, apiCall{method: http.MethodGet, path: "/v1/audit/verify", query: params, limit: -1}, &answer)
	if err != nil {
		return Report{}, err
	}
	report := Report{Verdict: VerdictOK, Pruned: answer.Pruned, Events: answer.Events, FirstID: answer.FirstID, LastID: answer.LastID, HeadHash: answer.HeadHash}
	if f := answer.verifyFault; !answer.OK {
		report.Verdict = f.Verdict
		report.Fault = &CorruptError{Segment: f.Segment, Line: f.Line, Offset: f.Offset, ID: f.ID, Expected: f.Expected, Found: f.Found}
	}
	return report, nil
}

// Status returns the server's figures.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, apiCall{method: http.MethodGet, path: "/v1/status"}, &s)
	return s, err
}
