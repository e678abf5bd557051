package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// approval is one entry of GET /v1/approvals.
type approval struct {
	ID            string          `json:"id"`
	Tool          string          `json:"tool"`
	Command       string          `json:"command"`
	Request       json.RawMessage `json:"request"`
	Agent         string          `json:"agent"`
	Session       string          `json:"session"`
	RunID         string          `json:"run_id"`
	Message       string          `json:"message"`
	Status        string          `json:"status"`
	CreatedAt     time.Time       `json:"created_at"`
	ExpiresAt     time.Time       `json:"expires_at"`
	ResolvedAt    time.Time       `json:"resolved_at"`
	ResolvedBy    string          `json:"resolved_by"`
	RequestSHA256 string          `json:"request_sha256"`
}

type queue struct {
	Approvals     []approval `json:"approvals"`
	RunGroups     []runGroup `json:"run_groups"`
	RunGrantTTLMS *int       `json:"run_grant_ttl_ms"`
}

type runGroup struct {
	Agent             string     `json:"agent"`
	Session           string     `json:"session"`
	RunID             string     `json:"run_id"`
	Count             int        `json:"count"`
	EarliestCreatedAt time.Time  `json:"earliest_created_at"`
	Items             []approval `json:"items"`
}

// ask creates an approval and returns its id.
func (d *daemon) ask(token, body string) string {
	d.t.Helper()
	var got struct {
		ID        string    `json:"id"`
		Status    string    `json:"status"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	d.do(token, "POST", "/v1/approvals", body).want(http.StatusCreated).into(&got)
	if got.ID == "" || got.Status != "pending" || got.ExpiresAt.IsZero() {
		d.t.Fatalf("a created approval: %+v", got)
	}
	return got.ID
}

// askFor is ask with the claude agent, in run r, for a command.
func (d *daemon) askFor(command string) string {
	d.t.Helper()
	return d.ask(claudeToken, fmt.Sprintf(`{"tool":"exec","agent":"claude-code","session":"myapp/main","run_id":"r","message":"m","command":%q}`, command))
}

func (d *daemon) approval(id string) approval {
	d.t.Helper()
	var a approval
	d.admin("GET", "/v1/approvals/"+id, "").want(http.StatusOK).into(&a)
	return a
}

func (d *daemon) pending() []string {
	d.t.Helper()
	var q queue
	d.admin("GET", "/v1/approvals", "").want(http.StatusOK).into(&q)
	ids := []string{}
	for _, a := range q.Approvals {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return ids
}

func (d *daemon) resolve(id, body string) reply {
	d.t.Helper()
	return d.admin("POST", "/v1/approvals/"+id+"/resolve", body)
}

func (d *daemon) bulk(body string) reply {
	d.t.Helper()
	return d.admin("POST", "/v1/approvals/bulk-resolve", body)
}

func TestApprovalIsItsAskEvent(t *testing.T) {
	d := start(t)
	id := d.askFor("git push")
	e := parse(t, d.lines()[0])
	if e.ID != id || e.Decision.Action != "ask" || e.Request.Command != "git push" {
		t.Errorf("the ask event of %s: %+v", id, e)
	}
	want := map[string]any{
		"status":         "pending",
		"credential":     "claude-code",
		"expires_at":     e.Approval["expires_at"],
		"request_sha256": sha(`{"command":"git push"}`),
	}
	if diff := cmp.Diff(want, e.Approval); diff != "" {
		t.Errorf("its approval member: %s", diff)
	}
	if s, _ := e.Approval["expires_at"].(string); !strings.HasSuffix(s, "Z") {
		t.Errorf("expires_at: %v", e.Approval["expires_at"])
	}
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestApprovalsList(t *testing.T) {
	d := start(t)
	d.askFor("one")
	two := d.askFor("two")
	d.ask(codexToken, `{"tool":"read","agent":"codex-cli","message":"alone","path":"/etc/passwd"}`)
	got := d.admin("GET", "/v1/approvals", "").want(http.StatusOK)

	var q queue
	got.into(&q)
	if len(q.Approvals) != 3 || q.RunGrantTTLMS == nil || *q.RunGrantTTLMS != 0 {
		t.Fatalf("the list: %s", got.body)
	}
	if len(q.RunGroups) != 1 {
		t.Fatalf("run_groups: %s", got.body)
	}
	g := q.RunGroups[0]
	if g.Agent != "claude-code" || g.Session != "myapp/main" || g.RunID != "r" || g.Count != 2 || len(g.Items) != 2 || g.EarliestCreatedAt.IsZero() {
		t.Errorf("the group: %+v", g)
	}
	i := slices.IndexFunc(q.Approvals, func(a approval) bool { return a.ID == two })
	if i < 0 {
		t.Fatalf("%s is not in %s", two, got.body)
	}
	a := q.Approvals[i]
	if left := a.ExpiresAt.Sub(a.CreatedAt); left != 5*time.Minute {
		t.Errorf("expires %v after its creation", left)
	}
	a.CreatedAt, a.ExpiresAt = time.Time{}, time.Time{}
	want := approval{
		ID: two, Tool: "exec", Command: "two", Request: json.RawMessage(`{"command":"two"}`), Agent: "claude-code",
		Session: "myapp/main", RunID: "r", Message: "m", Status: "pending", RequestSHA256: sha(`{"command":"two"}`),
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
}

func TestApprovalKeyOrder(t *testing.T) {
	d := start(t)
	id := d.askFor("one")
	d.resolve(id, `{"approved":true,"resolved_by":"ann"}`).want(http.StatusOK)
	got := keys(t, d.admin("GET", "/v1/approvals/"+id, "").body)
	want := []string{"id", "tool", "command", "request", "agent", "session", "run_id", "message", "status",
		"created_at", "expires_at", "resolved_at", "resolved_by", "request_sha256"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// keys are the member names of an object, in order.
func keys(t *testing.T, object string) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(object))
	var names []string
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestApprovalsByStatus(t *testing.T) {
	d := start(t)
	yes, no, open := d.askFor("yes"), d.askFor("no"), d.askFor("open")
	d.resolve(yes, `{"approved":true}`).want(http.StatusOK)
	d.resolve(no, `{"approved":false}`).want(http.StatusOK)
	for query, want := range map[string]string{"": open, "?status=pending": open, "?status=approved": yes, "?status=denied": no} {
		var q queue
		d.admin("GET", "/v1/approvals"+query, "").want(http.StatusOK).into(&q)
		if len(q.Approvals) != 1 || q.Approvals[0].ID != want {
			t.Errorf("%s: %+v, want %s alone", query, q.Approvals, want)
		}
	}
}

func TestApprovalSameToolCallIsTheSameWhilePending(t *testing.T) {
	d := start(t)
	body := `{"tool":"exec","agent":"claude-code","tool_call_id":"call_1","message":"m","command":"ls"}`
	id := d.ask(claudeToken, body)
	if again := d.ask(claudeToken, body); again != id {
		t.Errorf("asked again: %s, want %s", again, id)
	}
	if other := d.ask(codexToken, body); other == id {
		t.Error("another agent's call of the same id is the same approval")
	}
	d.resolve(id, `{"approved":true}`).want(http.StatusOK)
	if later := d.ask(claudeToken, body); later == id {
		t.Error("asked after the answer: the same approval")
	}
	if n := len(d.lines()); n != 4 {
		t.Errorf("%d events on the log, want 4", n)
	}
}

func TestApprovalRequestIsKeptByteForByte(t *testing.T) {
	d := start(t)
	id := d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","request":{"n" : 1.0e+2, "s":"\u003c\/é", "command":"x"}}`)
	want := `{"n":1.0e+2,"s":"\u003c\/é","command":"x"}`
	a := d.approval(id)
	if string(a.Request) != want || a.RequestSHA256 != sha(want) || a.Command != "x" {
		t.Errorf("request %s, sha256 %s, command %s", a.Request, a.RequestSHA256, a.Command)
	}
	if !strings.Contains(d.lines()[0], `"request":`+want) {
		t.Errorf("stored: %s", d.lines()[0])
	}
}

func TestApprovalTTL(t *testing.T) {
	d := start(t, "-approval-ttl", "20m")
	for body, want := range map[string]time.Duration{
		`{"tool":"exec","agent":"a","message":"m","command":"ls"}`:                  20 * time.Minute,
		`{"tool":"exec","agent":"a","message":"m","command":"ls","ttl_seconds":90}`: 90 * time.Second,
	} {
		a := d.approval(d.ask(d.token, body))
		if got := a.ExpiresAt.Sub(a.CreatedAt); got != want {
			t.Errorf("%s: expires after %v, want %v", body, got, want)
		}
	}
}

func TestApprovalBadRequests(t *testing.T) {
	d := start(t)
	for name, body := range map[string]string{
		"no tool":           `{"agent":"a","message":"m","command":"ls"}`,
		"no request":        `{"tool":"exec","agent":"a","message":"m"}`,
		"request no object": `{"tool":"exec","agent":"a","message":"m","request":[1]}`,
		"negative ttl":      `{"tool":"exec","agent":"a","message":"m","command":"ls","ttl_seconds":-1}`,
		"wrong type":        `{"tool":1,"agent":"a","message":"m","command":"ls"}`,
	} {
		t.Run(name, func(t *testing.T) { d.admin("POST", "/v1/approvals", body).want(http.StatusBadRequest).fault() })
	}
	if n := len(d.lines()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

func TestApprovalUnknownMembersAreIgnored(t *testing.T) {
	d := start(t)
	id := d.ask(claudeToken, `{"tool":"exec","agent":"a","message":"m","command":"ls","Tool":"read","from_the_future":{"x":1}}`)
	if got := d.approval(id).Tool; got != "exec" {
		t.Errorf("tool %s: a name of another case was taken", got)
	}
	d.resolve(id, `{"approved":true,"Approved":false,"more":1}`).want(http.StatusOK)
	if got := d.approval(id).Status; got != "approved" {
		t.Errorf("status %s: a name of another case was taken", got)
	}
}

func TestApprovalWait(t *testing.T) {
	d := start(t)
	id := d.askFor("ls")
	answers := make(chan string)
	for range 3 {
		go func() {
			var a approval
			d.do(claudeToken, "GET", "/v1/approvals/"+id+"?wait=1h", "").want(http.StatusOK).into(&a)
			answers <- a.Status
		}()
	}
	w := d.watch("type=approvals")
	d.resolve(id, `{"approved":false}`).want(http.StatusOK)
	w.types("approvals")
	for range 3 {
		if got := <-answers; got != "denied" {
			t.Errorf("a waiter got %s", got)
		}
	}
}

func TestApprovalWaitEndsPending(t *testing.T) {
	d := start(t)
	id := d.askFor("ls")
	for _, wait := range []string{"0s", "1ms", "50ms"} {
		var a approval
		d.admin("GET", "/v1/approvals/"+id+"?wait="+wait, "").want(http.StatusOK).into(&a)
		if a.Status != "pending" {
			t.Errorf("wait=%s: %s", wait, a.Status)
		}
	}
	for _, wait := range []string{"30", "soon", "-1s", ""} {
		d.admin("GET", "/v1/approvals/"+id+"?wait="+wait, "").want(http.StatusBadRequest).fault()
	}
}

func TestApprovalResolve(t *testing.T) {
	for _, approved := range []bool{true, false} {
		t.Run(fmt.Sprint(approved), func(t *testing.T) {
			d := start(t)
			id := d.askFor("git push")
			got := d.resolve(id, fmt.Sprintf(`{"approved":%t,"resolved_by":"ann","reason":"because"}`, approved)).want(http.StatusOK)
			status := map[bool]string{true: "approved", false: "denied"}[approved]
			want := fmt.Sprintf(`{"id":%q,"status":%q,"approved":%t,"persisted":false}`, id, status, approved)
			if strings.TrimSpace(got.body) != want {
				t.Errorf("answer %s, want %s", got.body, want)
			}
			a := d.approval(id)
			if a.Status != status || a.ResolvedBy != "ann" || a.ResolvedAt.IsZero() {
				t.Errorf("afterwards: %+v", a)
			}

			line := d.lines()[1]
			wantRequest := fmt.Sprintf(`"request":{"action":"approval_resolved","approval_id":%q,"resolution":%q,"resolved_by":"ann","credential":"admin","reason":"because","request_sha256":%q}`,
				id, status, sha(`{"command":"git push"}`))
			if !strings.Contains(line, wantRequest) {
				t.Errorf("the resolution event:\n%s\nwant in it\n%s", line, wantRequest)
			}
			e := parse(t, line)
			if e.Decision.Action != status {
				t.Errorf("its action: %s", e.Decision.Action)
			}
			wantMember := map[string]any{"id": id, "status": status, "resolved_by": "ann", "credential": "admin", "reason": "because"}
			if diff := cmp.Diff(wantMember, e.Approval); diff != "" {
				t.Errorf("its approval member: %s", diff)
			}
		})
	}
}

func TestApprovalResolvedByDefaultsToTheCredential(t *testing.T) {
	d := start(t)
	id := d.askFor("ls")
	d.resolve(id, `{"approved":true}`).want(http.StatusOK)
	if got := d.approval(id).ResolvedBy; got != "admin" {
		t.Errorf("resolved_by %q, want admin", got)
	}
	if got := parse(t, d.lines()[1]).Approval["resolved_by"]; got != "admin" {
		t.Errorf("the member's resolved_by %q, want admin", got)
	}
}

func TestApprovalResolveRefusals(t *testing.T) {
	d := start(t)
	d.resolve("01ARZ3NDEKTSV4RRFFQ69G5FAV", `{"approved":true}`).want(http.StatusNotFound).fault()
	d.resolve("nonsense", `{"approved":true}`).want(http.StatusNotFound).fault()

	id := d.askFor("ls")
	for name, body := range map[string]string{
		"persist":       `{"approved":true,"persist":true}`,
		"no approved":   `{}`,
		"approved text": `{"approved":"true"}`,
		"wrong case":    `{"Approved":true}`,
		"doubled":       `{"approved":true,"approved":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			d.resolve(id, body).want(http.StatusBadRequest).fault()
			if got := d.approval(id).Status; got != "pending" {
				t.Errorf("then it is %s", got)
			}
		})
	}
	d.resolve(id, `{"approved":true,"persist":false}`).want(http.StatusOK)
	d.resolve(id, `{"approved":false}`).want(http.StatusGone).fault()
	if got := d.approval(id).Status; got != "approved" {
		t.Errorf("a second answer changed it to %s", got)
	}
}

func TestApprovalExpiryIsItsOwnOutcome(t *testing.T) {
	d := start(t)
	w := d.watch("")
	id := d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","message":"m","command":"ls","ttl_seconds":1}`)
	w.types("audit", "approvals")
	line := w.audit() // a second later
	w.types("approvals")
	e := parse(t, line)
	if want := fmt.Sprintf(`"request":{"action":"approval_expired","approval_id":%q}`, id); !strings.Contains(line, want) || e.Decision.Action != "expired" {
		t.Errorf("the expiry event: %s", line)
	}
	if e.Approval["id"] != id || e.Approval["status"] != "expired" {
		t.Errorf("its approval member: %v", e.Approval)
	}
	if got := d.approval(id).Status; got != "expired" {
		t.Errorf("then it is %s", got)
	}
	d.resolve(id, `{"approved":true}`).want(http.StatusGone).fault()
	if got := d.approval(id).Status; got != "expired" {
		t.Errorf("an answer after its expiry changed it to %s", got)
	}
}

func TestApprovalFrameOrder(t *testing.T) {
	d := start(t)
	w := d.watch("")
	one := d.askFor("one")
	w.types("audit", "approvals")
	d.resolve(one, `{"approved":true}`).want(http.StatusOK)
	w.types("audit", "approvals")

	d.askFor("two")
	d.askFor("three")
	w.types("audit", "approvals", "audit", "approvals")
	d.bulk(`{"run_id":"r","action":"deny"}`).want(http.StatusOK)
	frames := w.types("audit_batch", "approvals")
	if run := frames[0].RunID; run == nil || *run != "r" {
		t.Errorf("the batch: %s", frames[0].raw)
	}
	lines := d.lines()
	if want := position(t, lines[len(lines)-1]); frames[0].id != want {
		t.Errorf("the batch's id is %s, want that of its last event, %s", frames[0].id, want)
	}
	d.append(d.token, event("a", "no single audit frames before this"))
	w.types("audit")
}

func TestApprovalIsVisibleWhenAnnounced(t *testing.T) {
	d := start(t)
	w := d.watch("type=approvals")
	for i := range 20 {
		id := make(chan string, 1)
		go func() { id <- d.askFor(fmt.Sprint(i)) }()
		w.types("approvals")
		if n := len(d.pending()); n != i+1 {
			t.Fatalf("announced, but the list has %d of %d", n, i+1)
		}
		<-id
	}
}

func TestBulkResolve(t *testing.T) {
	d := start(t)
	one, two := d.askFor("one"), d.askFor("two")
	other := d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","run_id":"other","message":"m","command":"ls"}`)
	got := d.bulk(`{"run_id":"r","action":"approve","resolved_by":"ann","scope":"pending"}`).want(http.StatusOK)
	var answer struct {
		Resolved int      `json:"resolved"`
		IDs      []string `json:"ids"`
	}
	got.into(&answer)
	slices.Sort(answer.IDs)
	if answer.Resolved != 2 || !slices.Equal(answer.IDs, []string{one, two}) {
		t.Errorf("answer: %s", got.body)
	}
	for _, id := range []string{one, two} {
		if a := d.approval(id); a.Status != "approved" || a.ResolvedBy != "ann" {
			t.Errorf("%s: %+v", id, a)
		}
	}
	if got := d.approval(other).Status; got != "pending" {
		t.Errorf("that of another run is %s", got)
	}
}

func TestBulkResolveExactly(t *testing.T) {
	d := start(t)
	one, two, three := d.askFor("one"), d.askFor("two"), d.askFor("three")
	d.bulk(fmt.Sprintf(`{"run_id":"r","action":"deny","ids":[%q,%q]}`, one, three)).want(http.StatusOK)
	if diff := cmp.Diff([]string{two}, d.pending()); diff != "" {
		t.Error(diff)
	}
	d.bulk(fmt.Sprintf(`{"run_id":"r","action":"approve","ids":[%q,%q]}`, two, one)).want(http.StatusConflict).fault()
	if diff := cmp.Diff([]string{two}, d.pending()); diff != "" {
		t.Errorf("after a conflict: %s", diff)
	}
}

func TestBulkResolveRefusals(t *testing.T) {
	d := start(t)
	one := d.askFor("one")
	elsewhere := d.ask(claudeToken, `{"tool":"exec","agent":"claude-code","run_id":"other","message":"m","command":"ls"}`)
	before := d.pending()
	for body, status := range map[string]int{
		`{"run_id":"r","action":"approve","ids":[]}`:                                http.StatusBadRequest,
		`{"run_id":"","action":"approve"}`:                                          http.StatusBadRequest,
		`{"action":"approve"}`:                                                      http.StatusBadRequest,
		`{"run_id":"r"}`:                                                            http.StatusBadRequest,
		`{"run_id":"r","action":"approved"}`:                                        http.StatusBadRequest,
		`{"run_id":"r","action":"approve","scope":"run"}`:                           http.StatusBadRequest,
		fmt.Sprintf(`{"run_id":"r","action":"approve","ids":[%q]}`, elsewhere):      http.StatusConflict,
		fmt.Sprintf(`{"run_id":"r","action":"approve","ids":[%q,"nonsense"]}`, one): http.StatusConflict,
	} {
		d.bulk(body).want(status).fault()
	}
	for _, body := range []string{
		`{"run_id":"r","action":"approve","agent":"codex-cli"}`,
		`{"run_id":"r","action":"approve","session":"elsewhere"}`,
		`{"run_id":"none","action":"approve"}`,
	} {
		if got := d.bulk(body).want(http.StatusOK).object()["resolved"]; got != 0.0 {
			t.Errorf("%s resolved %v", body, got)
		}
	}
	if diff := cmp.Diff(before, d.pending()); diff != "" {
		t.Error(diff)
	}
}

// TestApprovalsForged appends what the queue itself would write.
func TestApprovalsForged(t *testing.T) {
	d := start(t)
	id := d.askFor("rm -rf /")
	for _, action := range []string{"approved", "denied", "expired"} {
		d.append(claudeToken, fmt.Sprintf(`{"agent":"claude-code","tool":"exec","request":{"action":"approval_resolved","approval_id":%q,"resolution":"approved","resolved_by":"ann"},"decision":{"action":%q}}`, id, action))
	}
	d.append(claudeToken, `{"agent":"claude-code","tool":"exec","request":{"command":"ls"},"decision":{"action":"ask"}}`)
	for _, token := range []string{claudeToken, d.token} {
		got := d.do(token, "POST", "/v1/audit/events",
			fmt.Sprintf(`{"agent":"claude-code","tool":"exec","request":{},"decision":{"action":"approved"},"approval":{"id":%q,"status":"approved","resolved_by":"ann","credential":"admin"}}`, id))
		if fault := got.want(http.StatusBadRequest).fault(); !strings.Contains(fault, "approval") {
			t.Errorf("the refusal does not name the member: %s", fault)
		}
	}
	check := func(d *daemon) {
		t.Helper()
		if diff := cmp.Diff([]string{id}, d.pending()); diff != "" {
			t.Errorf("pending: %s", diff)
		}
	}
	check(d)
	d.stop()
	check(startIn(t, d.dir))
}

func TestApprovalsSurviveARestart(t *testing.T) {
	d := start(t)
	open, answered := d.askFor("open"), d.askFor("answered")
	d.resolve(answered, `{"approved":true,"resolved_by":"ann"}`).want(http.StatusOK)
	before := d.approval(open)
	d.stop()

	d = startIn(t, d.dir, "-approval-ttl", "1h") // the deadline set when it was asked stays
	if diff := cmp.Diff([]string{open}, d.pending()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, d.approval(open)); diff != "" {
		t.Error(diff)
	}
	d.do(claudeToken, "GET", "/v1/approvals/"+open, "").want(http.StatusOK) // the agent that asked
	d.resolve(answered, `{"approved":false}`).want(http.StatusGone)
	d.resolve(open, `{"approved":true}`).want(http.StatusOK)
}

func TestApprovalTimesAreUTC(t *testing.T) {
	d := start(t)
	id := d.askFor("one")
	d.resolve(id, `{"approved":true}`).want(http.StatusOK)
	body := d.admin("GET", "/v1/approvals/"+id, "").body
	for _, name := range []string{"created_at", "expires_at", "resolved_at"} {
		if !regexp.MustCompile(`"` + name + `":"[0-9T:.-]+Z"`).MatchString(body) {
			t.Errorf("%s is not RFC 3339 in UTC: %s", name, body)
		}
	}
}
