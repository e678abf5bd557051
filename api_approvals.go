package rampart

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/guard"
	"github.com/rampartlog/rampart/internal/httpio"
	"github.com/rampartlog/rampart/internal/record"
)

const maxWait = 60 * time.Second

// runGroup is a run with two or more pending approvals.
type runGroup struct {
	Agent    string     `json:"agent"`
	Session  string     `json:"session"`
	RunID    string     `json:"run_id"`
	Count    int        `json:"count"`
	Earliest time.Time  `json:"earliest_created_at"`
	Items    []Approval `json:"items"`
}

func (a *api) getApprovals(w http.ResponseWriter, r *http.Request, _ guard.Credential) error {
	q := httpio.NewParams(r)
	if q.Err != nil {
		return q.Err
	}
	pending := a.Approvals.List(ApprovalFilter{})
	list := pending
	switch status := ApprovalStatus(q.Get("status")); status {
	case "", Pending:
	case Approved, Denied, Expired:
		list = a.Approvals.List(ApprovalFilter{Status: status})
	default:
		return httpio.BadParameter("status", "is one of pending, approved, denied, expired")
	}
	return httpio.WriteJSON(w, http.StatusOK, struct {
		Approvals []Approval `json:"approvals"`
		RunGroups []runGroup `json:"run_groups"`
		GrantTTL  int        `json:"run_grant_ttl_ms"`
	}{list, groupRuns(pending), 0})
}

func groupRuns(pending []Approval) []runGroup {
	type key struct{ agent, session, runID string }
	groups := map[key]*runGroup{}
	for _, p := range pending {
		if p.RunID == "" {
			continue
		}
		k := key{p.Agent, p.Session, p.RunID}
		if groups[k] == nil {
			groups[k] = &runGroup{Agent: p.Agent, Session: p.Session, RunID: p.RunID, Earliest: p.CreatedAt}
		}
		groups[k].Items = append(groups[k].Items, p)
	}
	out := []runGroup{}
	for _, g := range groups {
		if g.Count = len(g.Items); g.Count > 1 {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(x, y runGroup) int { return cmp.Compare(x.Items[0].ID, y.Items[0].ID) })
	return out
}

func (a *api) postApproval(w http.ResponseWriter, r *http.Request, c guard.Credential) error {
	q := ApprovalRequest{Credential: c.Name}
	var command, path *string
	var ttl int64
	var request []byte
	targets := map[string]any{
		"tool": &q.Tool, "agent": &q.Agent, "message": &q.Message, "command": &command, "request": &request, "path": &path,
		"session": &q.Session, "run_id": &q.RunID, "tool_call_id": &q.ToolCallID, "ttl_seconds": &ttl,
		"matched_policies": &q.MatchedPolicies,
	}
	if err := httpio.ReadObject(w, r, targets); err != nil {
		return err
	}
	if c.Scope == guard.Agent {
		q.Agent = c.Name
	}
	// The queue refuses any TTL out of range; clamped here, the product can't overflow.
	q.TTL = time.Duration(max(-1, min(ttl, int64(maxTTL/time.Second)+1))) * time.Second
	var err error
	if q.Request, err = requestOf(request, command, path); err != nil {
		return err
	}
	p, err := a.Approvals.Request(r.Context(), q)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusCreated, struct {
		ID        string         `json:"id"`
		Status    ApprovalStatus `json:"status"`
		ExpiresAt time.Time      `json:"expires_at"`
	}{p.ID, p.Status, p.ExpiresAt})
}

// requestOf returns the request as sent; if there is none, it makes one of the
// command and the path. A command or a path beside a request must say what the
// request says, because a person is shown the request.
func requestOf(request json.RawMessage, command, path *string) (json.RawMessage, error) {
	if request == nil {
		if command == nil && path == nil {
			return nil, httpio.Errorf(http.StatusBadRequest, `say what would run: "request", "command" or "path" is required`)
		}
		var pairs []string
		if command != nil {
			pairs = append(pairs, "command", *command)
		}
		if path != nil {
			pairs = append(pairs, "path", *path)
		}
		return stringsObject(pairs...)
	}
	have := map[string]string{}
	err := record.Members(request, func(name string, value []byte, _ int) error {
		if s, err := record.Words(value); err == nil {
			have[name] = s
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, given := range map[string]*string{"command": command, "path": path} {
		if given == nil {
			continue
		}
		if s, ok := have[name]; !ok || s != *given {
			return nil, httpio.Errorf(http.StatusBadRequest, "%q is not what \"request\" says; leave it out, or let them agree", name)
		}
	}
	return request, nil
}

func (a *api) getApproval(w http.ResponseWriter, r *http.Request, c guard.Credential) error {
	q := httpio.NewParams(r)
	if q.Err != nil {
		return q.Err
	}
	var wait time.Duration
	if q.Has("wait") {
		var err error
		if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait < 0 {
			return httpio.BadParameter("wait", "is a duration such as 30s, 60s at most")
		}
	}
	id := r.PathValue("id")
	p, err := a.Approvals.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if c.Scope != guard.Admin && p.Credential != c.Name {
		// The answer for an unknown id, so that nobody can probe for others' approvals.
		return fmt.Errorf("%w: no approval %.40q", ErrNotFound, id)
	}
	if p.Status == Pending && wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
		defer cancel()
		if p, err = a.Approvals.Wait(ctx, id); errors.Is(err, context.DeadlineExceeded) {
			p, err = a.Approvals.Get(r.Context(), id)
		}
		if err != nil {
			return err
		}
	}
	return httpio.WriteJSON(w, http.StatusOK, p)
}

func (a *api) postResolve(w http.ResponseWriter, r *http.Request, c guard.Credential) error {
	res := Resolution{Credential: c.Name}
	var approved, persist *bool
	err := httpio.ReadObject(w, r, map[string]any{
		"approved": &approved, "persist": &persist, "resolved_by": &res.ResolvedBy, "reason": &res.Reason,
	})
	if err != nil {
		return err
	}
	switch {
	case approved == nil:
		return httpio.Errorf(http.StatusBadRequest, `"approved" is required, true or false`)
	case persist != nil && *persist:
		return httpio.Errorf(http.StatusBadRequest, `"persist" is not offered: no rule is saved, and the approval stays pending; send it without`)
	}
	res.Status = Denied
	if *approved {
		res.Status = Approved
	}
	p, err := a.Approvals.Resolve(r.Context(), r.PathValue("id"), res)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, struct {
		ID        string         `json:"id"`
		Status    ApprovalStatus `json:"status"`
		Approved  bool           `json:"approved"`
		Persisted bool           `json:"persisted"`
	}{p.ID, p.Status, p.Status == Approved, false})
}

func (a *api) postBulkResolve(w http.ResponseWriter, r *http.Request, c guard.Credential) error {
	b := BulkResolution{Resolution: Resolution{Credential: c.Name}}
	var action, scope string
	err := httpio.ReadObject(w, r, map[string]any{
		"run_id": &b.RunID, "action": &action, "agent": &b.Agent, "session": &b.Session, "ids": &b.IDs,
		"scope": &scope, "resolved_by": &b.ResolvedBy, "reason": &b.Reason,
	})
	if err != nil {
		return err
	}
	switch action {
	case "approve":
		b.Status = Approved
	case "deny":
		b.Status = Denied
	default:
		return httpio.Errorf(http.StatusBadRequest, `"action" is required, "approve" or "deny"`)
	}
	switch scope {
	case "", "pending":
	case "run":
		return httpio.Errorf(http.StatusBadRequest, `"scope":"run" is not offered: nothing has authority over future calls; use "pending"`)
	default:
		return httpio.Errorf(http.StatusBadRequest, `"scope" is "pending"`)
	}
	resolved, err := a.Approvals.ResolveAll(r.Context(), b)
	if errors.Is(err, ErrNotPending) {
		return httpio.Errorf(http.StatusConflict, "%v", err)
	} else if err != nil {
		return err
	}
	ids := make([]string, len(resolved))
	for i := range resolved {
		ids[i] = resolved[i].ID
	}
	return httpio.WriteJSON(w, http.StatusOK, struct {
		Resolved int      `json:"resolved"`
		IDs      []string `json:"ids"`
	}{len(ids), ids})
}
