package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// newGate returns a gate whose policy takes the action from the call's tool,
// after a dot.
func newGate(t testing.TB, fs *vfstest.FS) (*rampart.Rampart, *rampart.Gate) {
	t.Helper()
	r := openRampart(t, fs, rampart.Options{Approvals: rampart.ApprovalOptions{MaxPending: 3}})
	return r, &rampart.Gate{Recorder: r.Recorder(), Policy: func(_ context.Context, call rampart.AuditEvent) (rampart.Decision, error) {
		_, action, _ := strings.Cut(call.Tool, ".")
		return rampart.Decision{Action: action, MatchedPolicies: []string{"p"}, Message: "because", Suggestions: []string{"ask ann"}}, nil
	}}
}

func toolCall(action string) rampart.AuditEvent {
	return rampart.AuditEvent{
		Agent: "claude-code", Session: "s", RunID: "r", ToolCallID: "c1", Tool: "exec." + action,
		Request: json.RawMessage(` { "command" : "rm -rf build", "n": 1.0 } `),
	}
}

// ran is a tool that counts its runs.
type ran struct {
	mu   sync.Mutex
	with []string
	resp rampart.Response
	err  error
}

func (r *ran) run(_ context.Context, request json.RawMessage) (rampart.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.with = append(r.with, string(request))
	return r.resp, r.err
}

// told is what a log says of calls, in short.
func told(t testing.TB, c *rampart.AuditChain) (out []string) {
	t.Helper()
	for line, err := range c.Query(t.Context(), rampart.Query{Ascending: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := line.Event()
		if err != nil {
			t.Fatal(err)
		}
		s := strings.TrimSuffix(e.Decision.Action+" "+e.Decision.Message, " ")
		if r := e.Response; r != nil {
			s += fmt.Sprint(" ", r.DurationMS, "ms ", r.Flags)
		}
		out = append(out, s)
	}
	return out
}

func TestGateAllowsAndDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		const stored = `{"command":"rm -rf build","n":1.0}`
		exit := 3
		tool := &ran{resp: rampart.Response{ExitCode: &exit, DurationMS: 7, Flags: []string{"f"}}}
		for _, action := range []string{"allow", "watch"} {
			e, err := g.Do(t.Context(), toolCall(action), tool.run)
			if err != nil || e.Decision.Action != "ran" || e.Response == nil || *e.Response.ExitCode != 3 || e.ID != lastEvent(t, r.Chain).ID {
				t.Fatalf("%s: %+v, %v", action, e, err)
			}
			decided := ids(t, r.Chain, rampart.Query{})[1]
			if want := `{"action":"call_ran","event_id":"` + decided + `"}`; string(e.Request) != want || e.ToolCallID != "c1" || e.Tool != "exec."+action {
				t.Errorf("the outcome %+v, want the request %s", e, want)
			}
		}
		e, err := g.Do(t.Context(), toolCall("deny"), tool.run)
		wantErr(t, "deny", err, rampart.ErrRefused)
		if e.ID != lastEvent(t, r.Chain).ID || err.Error() != "rampart: refused: deny: because" || !slices.Equal(e.Decision.Suggestions, []string{"ask ann"}) {
			t.Errorf("%+v, %v", e, err)
		}
		if diff := cmp.Diff([]string{stored, stored}, tool.with); diff != "" {
			t.Errorf("ran with (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"allow because", "ran 7ms [f]", "watch because", "ran 7ms [f]", "deny because"}, told(t, r.Chain)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

// Whatever a policy does wrong, the call does not run.
func TestGateFailsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		tool := &ran{}
		for policy, want := range map[string]string{
			"": `the policy said ""`, "Allow": `the policy said "Allow"`, "approved": `the policy said "approved"`, "ran": `the policy said "ran"`,
		} {
			_, err := g.Do(t.Context(), toolCall(policy), tool.run)
			if wantErr(t, policy, err, rampart.ErrRefused); !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", policy, err)
			}
		}
		said := g.Policy
		g.Policy = func(context.Context, rampart.AuditEvent) (rampart.Decision, error) {
			return rampart.Decision{Action: "allow"}, errors.New("no such rule\xff" + strings.Repeat("x", 10000))
		}
		e, err := g.Do(t.Context(), toolCall("allow"), tool.run)
		if wantErr(t, "a policy's error", err, rampart.ErrRefused); !strings.HasPrefix(e.Decision.Message, "the policy failed: no such rule\ufffdx") || len(e.Decision.Message) > 5000 {
			t.Errorf("%+v", e)
		}
		// A policy that changes its call changes nothing outside.
		g.Policy = func(_ context.Context, call rampart.AuditEvent) (rampart.Decision, error) {
			copy(call.Request, `{"command":"rm -rf /    "`)
			call.Tool = "other"
			return rampart.Decision{Action: "allow"}, nil
		}
		if _, err := g.Do(t.Context(), toolCall("allow"), tool.run); err != nil || !slices.Equal(tool.with, []string{`{"command":"rm -rf build","n":1.0}`}) {
			t.Errorf("ran with %q, %v", tool.with, err)
		}
		g.Policy, tool.with = said, nil

		n := r.Chain.Stats().Events
		bad := toolCall("allow")
		bad.Request = json.RawMessage(`{"a":1,"a":2}`)
		_, err = g.Do(t.Context(), bad, tool.run)
		wantErr(t, "a request that is none", err, rampart.ErrInvalid)
		bad = toolCall("ask")
		bad.ID = "x"
		_, err = g.Do(t.Context(), bad, tool.run)
		wantErr(t, "an id", err, rampart.ErrInvalid)
		for _, lacks := range []func(*rampart.AuditEvent){func(e *rampart.AuditEvent) { e.Agent = "" }, func(e *rampart.AuditEvent) { e.Tool = "" }} {
			bad = toolCall("ask")
			lacks(&bad)
			_, err = g.Do(t.Context(), bad, tool.run)
			wantErr(t, "no agent, or no tool", err, rampart.ErrInvalid)
		}
		_, err = (&rampart.Gate{}).Do(t.Context(), toolCall("allow"), tool.run)
		wantErr(t, "an empty gate", err, rampart.ErrInvalid)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = g.Do(ctx, toolCall("allow"), tool.run)
		wantErr(t, "a context that is done", err, context.Canceled)
		if len(tool.with) > 0 || r.Chain.Stats().Events != n {
			t.Errorf("ran with %q; recorded %q", tool.with, told(t, r.Chain)[n:])
		}
	})
}

// A call that can't be recorded does not run. If the outcome of one that ran can't
// be recorded, the error says so.
func TestGateWithoutADisk(t *testing.T) {
	for _, action := range []string{"allow", "ask", "deny"} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfstest.New()
			r, g := newGate(t, fs)
			tool := &ran{}
			fs.FailSync(1, errDisk, true)
			_, err := g.Do(t.Context(), toolCall(action), tool.run)
			wantErr(t, action, err, rampart.ErrFailed)
			if len(tool.with) > 0 {
				t.Errorf("%s: it ran", action)
			}
			_ = r
		})
	}
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		_, g := newGate(t, fs)
		e, err := g.Do(t.Context(), toolCall("allow"), func(context.Context, json.RawMessage) (rampart.Response, error) {
			fs.FailSync(1, errDisk, true)
			return rampart.Response{}, errors.New("exit status 1")
		})
		if wantErr(t, "the outcome", err, rampart.ErrFailed); e.Decision.Action != "ran" || e.ID != "" || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestGateRecordsHowItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		ctx, cancel := context.WithCancel(t.Context())
		failed := errors.New("exit status 1")
		e, err := g.Do(ctx, toolCall("allow"), func(context.Context, json.RawMessage) (rampart.Response, error) {
			time.Sleep(time.Second)
			cancel() // the outcome is recorded all the same
			return rampart.Response{}, failed
		})
		if !errors.Is(err, failed) || e.Decision.Action != "ran" || e.Response.DurationMS != 1000 {
			t.Errorf("%+v, %v", e, err)
		}
		func() {
			defer func() {
				if recover() != "broken" {
					t.Error("the panic did not go on")
				}
			}()
			g.Do(t.Context(), toolCall("allow"), func(context.Context, json.RawMessage) (rampart.Response, error) { panic("broken") })
		}()
		want := []string{"allow because", "ran exit status 1 1000ms [error]", "allow because", "ran 0ms [panic]"}
		if diff := cmp.Diff(want, told(t, r.Chain)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

func TestGateAsks(t *testing.T) {
	answer := func(res rampart.Resolution) func(*testing.T, *rampart.Rampart, rampart.Approval) {
		return func(t *testing.T, r *rampart.Rampart, a rampart.Approval) {
			if _, err := r.Approvals.Resolve(t.Context(), a.ID, res); err != nil {
				t.Error(err)
			}
		}
	}
	for name, c := range map[string]struct {
		answer func(*testing.T, *rampart.Rampart, rampart.Approval)
		err    error
		says   string
		told   []string
	}{
		"yes": {answer(rampart.Resolution{Status: rampart.Approved, ResolvedBy: "ann"}), nil, "",
			[]string{"ask because", "approved", "allow approved by ann", "ran 0ms []"}},
		"no": {answer(rampart.Resolution{Status: rampart.Denied, ResolvedBy: "ann", Reason: "not on a Friday"}), rampart.ErrRefused, "denied: denied by ann: not on a Friday",
			[]string{"ask because", "denied"}},
		"silence": {func(*testing.T, *rampart.Rampart, rampart.Approval) {}, rampart.ErrRefused, "expired: nobody answered in time",
			[]string{"ask because", "expired"}},
		"a stop": {func(_ *testing.T, r *rampart.Rampart, _ rampart.Approval) { r.Approvals.Close() }, rampart.ErrClosed, "",
			[]string{"ask because"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, g := newGate(t, vfstest.New())
				g.TTL = time.Hour
				tool := &ran{}
				began := time.Now()
				done := make(chan error, 1)
				var last rampart.AuditEvent
				go func() {
					var err error
					last, err = g.Do(t.Context(), toolCall("ask"), tool.run)
					done <- err
				}()
				synctest.Wait()
				if len(tool.with) > 0 {
					t.Fatal("it ran before there was an answer")
				}
				pending := r.Approvals.List(rampart.ApprovalFilter{})
				if len(pending) != 1 || pending[0].Message != "because" || pending[0].ExpiresAt.Sub(began) != time.Hour || pending[0].Credential != "claude-code" {
					t.Fatalf("asked: %+v", pending)
				}
				c.answer(t, r, pending[0])
				err := <-done
				if !errors.Is(err, c.err) || c.says != "" && err.Error() != "rampart: refused: "+c.says {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if errors.Is(err, rampart.ErrRefused) && last.ID != pending[0].ID {
					t.Errorf("it returns %+v, want the approval's id %s", last, pending[0].ID)
				}
				if ran := len(tool.with); ran > 0 != (c.err == nil) {
					t.Errorf("it ran %d times", ran)
				}
				if diff := cmp.Diff(c.told, told(t, r.Chain)); diff != "" {
					t.Errorf("recorded (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A yes to one call is not a yes to another, whatever the agent calls it.
func TestGateRunsOnlyWhatWasApproved(t *testing.T) {
	for name, change := range map[string]func(*rampart.AuditEvent){
		"another request": func(e *rampart.AuditEvent) { e.Request = json.RawMessage(`{"command":"rm -rf /"}`) },
		"another tool":    func(e *rampart.AuditEvent) { e.Tool = "write.ask" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, g := newGate(t, vfstest.New())
				var wg sync.WaitGroup
				harmless, harmful := &ran{}, &ran{}
				wg.Go(func() {
					if _, err := g.Do(t.Context(), toolCall("ask"), harmless.run); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				second, other := toolCall("ask"), &rampart.Gate{Recorder: g.Recorder, Policy: g.Policy}
				change(&second)
				wg.Go(func() {
					_, err := other.Do(t.Context(), second, harmful.run)
					wantErr(t, "the second", err, rampart.ErrRefused)
				})
				synctest.Wait()
				pending := r.Approvals.List(rampart.ApprovalFilter{})
				if len(pending) != 1 {
					t.Fatalf("%d are pending", len(pending))
				}
				if _, err := r.Approvals.Resolve(t.Context(), pending[0].ID, yes); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
				if len(harmless.with) != 1 || len(harmful.with) != 0 {
					t.Errorf("the first ran %d times, the second %d", len(harmless.with), len(harmful.with))
				}
			})
		})
	}
}

// One yes is for one run, also when an agent asks for the same twice.
func TestGateRunsOnceForOneYes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		tool := &ran{}
		for range 2 {
			done := make(chan error, 1)
			go func() {
				_, err := g.Do(t.Context(), toolCall("ask"), tool.run)
				done <- err
			}()
			synctest.Wait()
			e, err := g.Do(t.Context(), toolCall("ask"), tool.run)
			if wantErr(t, "the second", err, rampart.ErrRefused); e.ID == "" || e.ID != lastEvent(t, r.Chain).ID {
				t.Errorf("the second: %+v", e)
			}
			if _, err := r.Approvals.Resolve(t.Context(), r.Approvals.List(rampart.ApprovalFilter{})[0].ID, yes); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if len(tool.with) != 2 {
			t.Errorf("two answers, %d runs", len(tool.with))
		}
	})
}

// agentClient is a client with an agent's token of a server in memory.
func agentClient(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	c, err := client.New("http://rampart", &client.Options{Token: agentToken, HTTP: newSite(t, h, nil).client})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGateWithAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		for i := range 3 {
			request(t, r.Approvals, question(i))
		}
		for name, recorder := range map[string]rampart.Recorder{"embedded": r.Recorder(), "of a client": agentClient(t, r.Handler(testAuth()))} {
			g.Recorder = recorder
			tool := &ran{}
			e, err := g.Do(t.Context(), toolCall("ask"), tool.run)
			wantErr(t, name, err, rampart.ErrRefused)
			if last := lastEvent(t, r.Chain); last.ID != e.ID || last.Decision.Action != "deny" || !strings.HasPrefix(last.Decision.Message, "nobody could be asked: ") || len(tool.with) > 0 {
				t.Errorf("%s: recorded %+v, ran %d times", name, last, len(tool.with))
			}
		}
	})
}

// The gate of an agent that shares a daemon with others does the same over HTTP.
func TestGateOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newGate(t, vfstest.New())
		g.Recorder = agentClient(t, r.Handler(testAuth()))
		tool := &ran{resp: rampart.Response{DurationMS: 7}}
		do := func(action string) (rampart.AuditEvent, error) {
			call := toolCall(action)
			call.Agent = "whatever it calls itself"
			return g.Do(t.Context(), call, tool.run)
		}
		e, err := do("allow")
		if err != nil || e.Decision.Action != "ran" || e.ID != lastEvent(t, r.Chain).ID {
			t.Errorf("allow: %+v, %v", e, err)
		}
		e, err = do("deny")
		if wantErr(t, "deny", err, rampart.ErrRefused); e.ID != lastEvent(t, r.Chain).ID {
			t.Errorf("deny: %+v", e)
		}
		for _, res := range []rampart.Resolution{{Status: rampart.Approved, ResolvedBy: "ann"}, {Status: rampart.Denied, ResolvedBy: "ann"}} {
			time.AfterFunc(2*time.Minute, func() {
				if _, err := r.Approvals.Resolve(context.Background(), r.Approvals.List(rampart.ApprovalFilter{})[0].ID, res); err != nil {
					t.Error(err)
				}
			})
			if e, err = do("ask"); (err == nil) != (res.Status == rampart.Approved) {
				t.Errorf("%s: %+v, %v", res.Status, e, err)
			}
		}
		if len(tool.with) != 2 {
			t.Errorf("it ran %d times", len(tool.with))
		}
		want := []string{"allow because", "ran 7ms []", "deny because", "ask because", "approved", "allow approved by ann", "ran 7ms []", "ask because", "denied"}
		if diff := cmp.Diff(want, told(t, r.Chain)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}
