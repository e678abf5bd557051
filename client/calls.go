package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/record"
)

const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"

	// What POST /v1/audit/events takes in one request.
	maxEvents = 65536
	maxLines  = 32 << 20 // bytes

	pageSize = 100              // events; the largest have 1 MiB each
	maxWait  = 60 * time.Second // that the server lets a request wait for an approval
)

// Record appends e to the server's log, and returns the id that the log gave it
// once e is durable there. With an agent's token, e gets that agent's name. The
// rules for e are those of [rampart.AuditChain.Append]. After any error
// but those that [Client] names, e may or may not be on the log; the caller cannot
// tell which.
func (c *Client) Record(ctx context.Context, e rampart.AuditEvent) (id string, err error) {
	ids, err := c.RecordAll(ctx, []rampart.AuditEvent{e})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// RecordAll is Record for several events in one request, and returns their ids
// in the order of events. The events follow one another in the log, and either
// all are stored or none. A request takes 65536 events and 32 MiB at most.
func (c *Client) RecordAll(ctx context.Context, events []rampart.AuditEvent) (ids []string, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	var body []byte
	for i := range events {
		if body, err = events[i].AppendJSON(body); err != nil {
			if len(events) > 1 {
				err = fmt.Errorf("%w: event %d: %s", rampart.ErrInvalid, i+1, strings.TrimPrefix(err.Error(), rampart.ErrInvalid.Error()+": "))
			}
			return nil, err
		}
		body = append(body, '\n')
	}
	if len(events) > maxEvents || len(body) > maxLines {
		return nil, fmt.Errorf("%w: %d events of %d bytes in one request, at most %d and %d are taken; record them in parts", rampart.ErrInvalid, len(events), len(body), maxEvents, maxLines)
	}
	var answer struct {
		IDs []string `json:"ids"`
	}
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/audit/events", contentType: ndjsonType, body: body}, &answer)
	if err == nil && len(answer.IDs) != len(events) {
		err = fmt.Errorf("rampart: the server gave %d ids to %d events", len(answer.IDs), len(events))
	}
	if err != nil {
		return nil, err
	}
	return answer.IDs, nil
}

// Query yields the stored lines of the events that q selects, as
// [rampart.AuditChain.Query] does. It asks page by page; when q is Ascending, it
// also yields events that are recorded meanwhile. The error comes last and once.
// Query does not check the hashes of the lines: Events and Verify do.
func (c *Client) Query(ctx context.Context, q rampart.Query) iter.Seq2[rampart.Record, error] {
	return func(yield func(rampart.Record, error) bool) {
		params, err := queryParams(&q)
		for err == nil {
			var page struct {
				Events []json.RawMessage `json:"events"`
				Cursor string            `json:"next_cursor"`
			}
			if err = c.do(ctx, call{method: http.MethodGet, path: "/v1/audit/events", query: params, maxAnswer: maxPageBytes}, &page); err != nil {
				break
			}
			if len(page.Events) == 0 && page.Cursor != "" {
				err = errors.New("rampart: GET /v1/audit/events: a page without events says that more follow: is it a Rampart server's URL?")
				break
			}
			for _, line := range page.Events {
				if !yield(rampart.Record(line), nil) {
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

func queryParams(q *rampart.Query) (url.Values, error) {
	v := url.Values{
		"agent": q.Agent, "session": q.Session, "tool": q.Tool, "action": q.Action, "run_id": q.RunID,
		"limit": {strconv.Itoa(pageSize)},
	}
	for name, values := range v {
		for _, s := range values {
			if s == "" { // the server ignores an empty parameter, and would yield too much
				return nil, fmt.Errorf("%w: query: an empty %s can't be asked for over HTTP", rampart.ErrInvalid, name)
			}
		}
	}
	if q.After != "" {
		v.Set("after", q.After)
	}
	if q.Before != "" {
		v.Set("before", q.Before)
	}
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	if q.Ascending {
		v.Set("order", "asc")
	}
	return v, nil
}

func setTime(v url.Values, name string, t time.Time) {
	if !t.IsZero() {
		v.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// Get returns the stored line of one event.
func (c *Client) Get(ctx context.Context, id string) (rampart.Record, error) {
	var line json.RawMessage
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/audit/events/" + url.PathEscape(id)}, &line)
	return rampart.Record(line), err
}

// Totals counts the events that q selects, as [rampart.AuditChain.Totals] does.
func (c *Client) Totals(ctx context.Context, q rampart.TotalsQuery) (rampart.Totals, error) {
	params := url.Values{}
	setTime(params, "from", q.Since)
	setTime(params, "to", q.Until)
	if q.Every != 0 {
		params.Set("interval", q.Every.String())
	}
	var totals rampart.Totals
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/audit/stats", query: params, maxAnswer: maxPageBytes}, &totals)
	return totals, err
}

// Dates lists the UTC days on which there are events, by their timestamps, as
// YYYY-MM-DD and newest first.
func (c *Client) Dates(ctx context.Context) ([]string, error) {
	var answer struct {
		Dates []string `json:"dates"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/audit/dates"}, &answer)
	return answer.Dates, err
}

// ListApprovals returns the approvals that have the status, in the order of
// their requests; of the ended ones, those that the server keeps in memory. It
// takes no [rampart.ApprovalFilter], since the server selects by status alone.
func (c *Client) ListApprovals(ctx context.Context, status rampart.ApprovalStatus) ([]rampart.Approval, error) {
	var answer struct {
		Approvals []rampart.Approval `json:"approvals"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/approvals", query: url.Values{"status": {string(status)}}, maxAnswer: maxApprovals}, &answer)
	return answer.Approvals, err
}

// GetApproval returns an approval as it stands. An agent's token reaches only
// the approvals that were requested with it; of others it gets ErrNotFound. The
// server does not tell an approval's ToolCallID and Credential.
func (c *Client) GetApproval(ctx context.Context, id string) (rampart.Approval, error) {
	var a rampart.Approval
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/approvals/" + url.PathEscape(id)}, &a)
	return a, err
}

// RequestApproval asks for a person's yes or no, and returns once the question
// is durable. The approval that it returns has an ID, a Status and an ExpiresAt;
// GetApproval and WaitApproval return all of it. A request with a ToolCallID may
// be tried again: as long as an approval of the same agent with that ToolCallID
// is pending, that approval is returned, whatever else r says. The approval's
// Credential is the token's name. A TTL counts in whole seconds, rounded up.
func (c *Client) RequestApproval(ctx context.Context, r rampart.ApprovalRequest) (rampart.Approval, error) {
	if r.TTL < 0 { // a part of a second would become 0, which is the server's default
		return rampart.Approval{}, fmt.Errorf("%w: a TTL of %v is negative", rampart.ErrInvalid, r.TTL)
	}
	if r.Request == nil {
		r.Request = json.RawMessage("{}")
	}
	request, err := record.AppendObject(nil, r.Request)
	if err != nil {
		return rampart.Approval{}, fmt.Errorf("%w: request: %w", rampart.ErrInvalid, err)
	}
	body, err := stringsObject("agent", r.Agent, "session", r.Session, "run_id", r.RunID,
		"tool_call_id", r.ToolCallID, "tool", r.Tool, "message", r.Message)
	if err != nil {
		return rampart.Approval{}, err
	}
	if body, err = withStrings(body, "matched_policies", r.MatchedPolicies); err != nil {
		return rampart.Approval{}, err
	}
	body = with(body, "request", request)
	body = with(body, "ttl_seconds", strconv.AppendInt(nil, int64(math.Ceil(r.TTL.Seconds())), 10))
	var a rampart.Approval
	err = c.post(ctx, "/v1/approvals", body, &a)
	if err == nil && a.ID == "" { // a redirect turns a POST into a GET
		err = errors.New("rampart: POST /v1/approvals: the answer has no approval: is it a Rampart server's URL?")
	}
	return a, err
}

// WaitApproval returns the approval as soon as it is no longer pending. It goes
// on waiting while the server is restarted or out of reach, until ctx is done.
// Only an approval whose Status is Approved was approved, and then only the
// request whose digest it has: compare its RequestSHA256 with
// [rampart.RequestSHA256] of what you are about to run.
func (c *Client) WaitApproval(ctx context.Context, id string) (rampart.Approval, error) {
	r := call{
		method: http.MethodGet, path: "/v1/approvals/" + url.PathEscape(id),
		query: url.Values{"wait": {maxWait.String()}}, timeout: maxWait + callTimeout/2,
	}
	for retry := (backoff{}); ; {
		var a rampart.Approval
		err := c.do(ctx, r, &a)
		switch {
		case err == nil && a.Status != rampart.Pending:
			return a, nil
		case err == nil:
			retry = backoff{}
			continue
		case ctx.Err() != nil || !temporary(err):
			return rampart.Approval{}, err
		}
		err = retry.pause(ctx, err, func(d time.Duration) {
			c.log.Warn("waiting for an approval: the server is out of reach", "approval", id, "error", err, "retry", d)
		})
		if err != nil {
			return rampart.Approval{}, err
		}
	}
}

// ResolveApproval answers an approval, and returns once the answer is durable.
// The approval that it returns has the ID and the new Status, and nothing else;
// GetApproval returns all of it. r.Credential is the token's name, whatever r
// says. ErrNotPending: the approval was answered before, or has expired.
func (c *Client) ResolveApproval(ctx context.Context, id string, r rampart.Resolution) (rampart.Approval, error) {
	if err := checkStatus(&r); err != nil {
		return rampart.Approval{}, err
	}
	body, err := stringsObject("resolved_by", cmp.Or(r.ResolvedBy, r.Credential), "reason", r.Reason)
	if err != nil {
		return rampart.Approval{}, err
	}
	body = with(body, "approved", strconv.AppendBool(nil, r.Status == rampart.Approved))
	path := "/v1/approvals/" + url.PathEscape(id) + "/resolve"
	var a rampart.Approval
	err = c.post(ctx, path, body, &a)
	if err == nil && (a.ID != id || a.Status != r.Status) {
		err = fmt.Errorf("rampart: POST %s: the answer does not say that the approval was %s: is it a Rampart server's URL?", path, r.Status)
	}
	return a, err
}

// ResolveApprovals answers several approvals of one run in one durable write,
// as [rampart.Approvals.ResolveAll] does, and returns their ids.
func (c *Client) ResolveApprovals(ctx context.Context, r rampart.BulkResolution) (ids []string, err error) {
	if err := checkStatus(&r.Resolution); err != nil {
		return nil, err
	}
	action := "deny"
	if r.Status == rampart.Approved {
		action = "approve"
	}
	body, err := stringsObject("run_id", r.RunID, "action", action, "agent", r.Agent, "session", r.Session,
		"resolved_by", cmp.Or(r.ResolvedBy, r.Credential), "reason", r.Reason)
	if err != nil {
		return nil, err
	}
	if r.IDs != nil { // an empty list is refused, a missing one means all of the run
		if body, err = withStrings(body, "ids", r.IDs); err != nil {
			return nil, err
		}
	}
	var answer struct {
		IDs []string `json:"ids"`
	}
	err = c.post(ctx, "/v1/approvals/bulk-resolve", body, &answer)
	return answer.IDs, err
}

func checkStatus(r *rampart.Resolution) error {
	if r.Status != rampart.Approved && r.Status != rampart.Denied {
		return fmt.Errorf("%w: a resolution's status is approved or denied, not %q", rampart.ErrInvalid, r.Status)
	}
	return nil
}

// Verify has the server check every line of its log, and that the event of the
// anchor is on it, unless a is the zero value. A fault in the log is no error:
// the report's Verdict and Fault tell it. Verify takes as long as the server
// does; only ctx limits it.
func (c *Client) Verify(ctx context.Context, a rampart.Anchor) (rampart.Report, error) {
	var params url.Values
	if a != (rampart.Anchor{}) {
		params = url.Values{"id": {a.ID}, "hash": {a.Hash}}
	}
	var v struct {
		OK       bool           `json:"ok"`
		Events   uint64         `json:"events"`
		FirstID  string         `json:"first_id"`
		LastID   string         `json:"last_id"`
		HeadHash string         `json:"head_hash"`
		Pruned   rampart.Pruned `json:"pruned"`

		// Given when OK is false.
		Verdict  rampart.Verdict `json:"verdict"`
		Segment  string          `json:"segment"`
		Line     int             `json:"line"`
		Offset   int64           `json:"offset"`
		ID       string          `json:"id"`
		Expected string          `json:"expected"`
		Found    string          `json:"found"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v1/audit/verify", query: params, timeout: -1}, &v); err != nil {
		return rampart.Report{}, err
	}
	report := rampart.Report{Verdict: rampart.VerdictOK, Pruned: v.Pruned, Events: v.Events, FirstID: v.FirstID, LastID: v.LastID, HeadHash: v.HeadHash}
	if !v.OK {
		report.Verdict = v.Verdict
		report.Fault = &rampart.CorruptError{Segment: v.Segment, Line: v.Line, Offset: v.Offset, ID: v.ID, Expected: v.Expected, Found: v.Found}
	}
	return report, nil
}

// Status returns the server's figures.
func (c *Client) Status(ctx context.Context) (rampart.Status, error) {
	var s rampart.Status
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/status"}, &s)
	return s, err
}

// post sends the JSON object body and decodes the answer into out.
func (c *Client) post(ctx context.Context, path string, body []byte, out any) error {
	return c.do(ctx, call{method: http.MethodPost, path: path, contentType: jsonType, body: body}, out)
}

// Bodies are encoded as the log encodes them: encoding/json would change strings
// that are not UTF-8, and the bytes of a request, whose digest a person approves.

func stringsObject(pairs ...string) ([]byte, error) {
	body, err := record.AppendStrings(nil, pairs...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rampart.ErrInvalid, err)
	}
	return body, nil
}

// with adds a member to an object.
func with(object []byte, name string, value []byte) []byte {
	return fmt.Appendf(object[:len(object)-1], `,"%s":%s}`, name, value)
}

func withStrings(object []byte, name string, values []string) ([]byte, error) {
	list := []byte{'['}
	for i, s := range values {
		if i > 0 {
			list = append(list, ',')
		}
		var err error
		if list, err = record.AppendString(list, s); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", rampart.ErrInvalid, name, err)
		}
	}
	return with(object, name, append(list, ']')), nil
}
