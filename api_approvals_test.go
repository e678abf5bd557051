package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

func TestApprovalRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		now := time.Now().UTC()
		stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
		w.expect(200, `{"approvals":[],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")

		rec := w.as(agentToken).expect(201, "", "POST", "/v1/approvals",
			`{"tool":"exec","message":"m","request":{ "command":"rm <x>", "n":1.0 },"session":"s","run_id":"r","tool_call_id":"c","ttl_seconds":60,"unknown":[1]}`)
		p := r.Approvals.List(rampart.ApprovalFilter{})[0]
		created := `{"id":"` + p.ID + `","status":"pending","expires_at":"` + stamp(time.Minute) + `"}`
		if rec.Body.String() != created+"\n" {
			t.Errorf("%s, want %s", rec.Body, created)
		}
		w.as(agentToken).expect(201, created, "POST", "/v1/approvals", `{"tool":"exec","tool_call_id":"c","command":"other"}`)
		one := func(status, resolved string) string {
			return `{"id":"` + p.ID + `","tool":"exec","command":"rm <x>","request":{"command":"rm <x>","n":1.0},"agent":"claude-code","session":"s","run_id":"r","message":"m",` +
				`"status":"` + status + `","created_at":"` + stamp(0) + `","expires_at":"` + stamp(time.Minute) + `",` + resolved + `"request_sha256":"` + p.RequestSHA256 + `"}`
		}
		because := func(approval string) string { return strings.TrimSuffix(approval, "}") + `,"reason":"no"}` }
		w.expect(200, one("pending", ""), "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"approvals":[`+one("pending", "")+`],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")

		resolve := "/v1/approvals/" + p.ID + "/resolve"
		for _, bad := range []string{`{}`, `{"approved":null}`, `{"approved":"true"}`, `{"Approved":true}`, `{"approved":true,"approved":true}`, `{"approved":true,"persist":true}`, `[]`, ``} {
			w.expect(400, "", "POST", resolve, bad, "Content-Type", "application/json")
		}
		w.expect(415, "", "POST", resolve, `{"approved":true}`, "Content-Type", "text/plain")
		w.expect(413, "", "POST", resolve, `{"approved":true,"reason":"`+strings.Repeat("x", 1<<20)+`"}`)
		w.expect(404, "", "POST", "/v1/approvals/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", `{"approved":true}`)
		w.expect(404, "", "POST", "/v1/approvals/x/resolve", `{"approved":true}`)
		w.expect(200, one("pending", ""), "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"id":"`+p.ID+`","status":"denied","approved":false,"persisted":false}`, "POST", resolve, `{"approved":false,"resolved_by":"kim","reason":"no","persist":false}`)
		w.expect(410, "", "POST", resolve, `{"approved":true}`)
		ended := because(one("denied", `"resolved_at":"`+stamp(0)+`","resolved_by":"kim",`))
		w.expect(200, ended, "GET", "/v1/approvals/"+p.ID, "")
		w.expect(200, `{"approvals":[`+ended+`],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals?status=denied", "")
		w.expect(200, `{"approvals":[],"run_groups":[],"run_grant_ttl_ms":0}`, "GET", "/v1/approvals", "")
		w.expect(400, "", "GET", "/v1/approvals?status=Denied", "")
		if e := lastEvent(t, r.Chain); !strings.Contains(string(e.Approval), `"resolved_by":"kim","credential":"admin","reason":"no"`) {
			t.Errorf("%s", e.Approval)
		}
		rec = w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
		id := strings.Split(rec.Body.String(), `"`)[3]
		w.expect(200, `{"id":"`+id+`","status":"approved","approved":true,"persisted":false}`, "POST", "/v1/approvals/"+id+"/resolve", `{"approved":true}`)
	})
}

func TestPostApproval(t *testing.T) {
	r, w := newWeb(t, testAuth())
	for body, want := range map[string]string{
		`"command":"ls"`:                                  `{"command":"ls"}`,
		`"path":"/etc"`:                                   `{"path":"/etc"}`,
		`"path":"/etc","command":"ls \"x\""`:              `{"command":"ls \"x\"","path":"/etc"}`,
		`"request":{},"session":null,"ttl_seconds":null`:  `{}`,
		`"request":{"a":[1.50]}`:                          `{"a":[1.50]}`,
		`"request":{"command":"ls"},"command":"ls"`:       `{"command":"ls"}`,
		`"request":{"command":["a","b"]},"command":"a b"`: `{"command":["a","b"]}`,
	} {
		rec := w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t",`+body+`}`)
		p, err := r.Approvals.Get(t.Context(), strings.Split(rec.Body.String(), `"`)[3])
		if err != nil || string(p.Request) != want {
			t.Errorf("%s: request %s, want %s (%v)", body, p.Request, want, err)
		}
	}
	before := r.Chain.Stats().Events
	for body, says := range map[string]string{
		`"request":{"command":"ls"},"command":"rm"`:        "command",
		`"request":{},"command":"rm"`:                      "command",
		`"request":{"path":["a"]},"path":"b"`:              "path",
		`"request":[]`:                                     "object",
		`"request":{"a":1,"a":2}`:                          "byte",
		`"command":"ls","ttl_seconds":-1`:                  "TTL",
		`"command":"ls","ttl_seconds":2592001`:             "30 days",
		`"command":"ls","ttl_seconds":9223372036854775807`: "30 days",
		`"command":"ls","ttl_seconds":1.5`:                 "whole number",
		`"command":"ls","ttl_seconds":1e1`:                 "whole number",
		`"command":["ls"]`:                                 "string",
		`"Tool":"x","tool":"y"`:                            "tool",
		`"message":"m"`:                                    "say what would run",
	} {
		rec := w.expect(400, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t",`+body+`}`)
		if !strings.Contains(rec.Body.String(), says) {
			t.Errorf("%s: %s, want %q", body, rec.Body, says)
		}
	}
	w.expect(400, "", "POST", "/v1/approvals", `{"agent":"a","Tool":"t"}`)
	w.expect(400, "", "POST", "/v1/approvals", `{"tool":"t"}`)
	w.expect(415, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`, "Content-Type", "")
	if n := r.Chain.Stats().Events; n != before {
		t.Errorf("%d events of refused requests", n-before)
	}
}

func TestApprovalLimitRoute(t *testing.T) {
	r := openRampart(t, vfstest.New(), rampart.Options{Approvals: rampart.ApprovalOptions{MaxPending: 1}})
	w := &web{t, r.Handler(testAuth()), adminToken}
	w.expect(201, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`)
	if rec := w.expect(503, "", "POST", "/v1/approvals", `{"agent":"a","tool":"t","command":"ls"}`); rec.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestBulkResolveRoute(t *testing.T) {
	r, w := newWeb(t, testAuth())
	var id []string
	for i := range 4 {
		q := question(i)
		if i == 3 {
			q.RunID = "run_2"
		}
		id = append(id, request(t, r.Approvals, q).ID)
	}
	var list struct {
		Groups []struct {
			RunID    string    `json:"run_id"`
			Agent    string    `json:"agent"`
			Session  string    `json:"session"`
			Count    int       `json:"count"`
			Earliest time.Time `json:"earliest_created_at"`
			Items    []struct{ ID string }
		} `json:"run_groups"`
	}
	rec := w.expect(200, "", "GET", "/v1/approvals", "")
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || len(list.Groups) != 1 || list.Groups[0].Count != 3 ||
		list.Groups[0].RunID != "run_1" || list.Groups[0].Items[2].ID != id[2] || !list.Groups[0].Earliest.Equal(r.Approvals.List(rampart.ApprovalFilter{})[0].CreatedAt) {
		t.Errorf("%+v (%v)", list, err)
	}
	const bulk = "/v1/approvals/bulk-resolve"
	for body, status := range map[string]int{
		`{"action":"approve"}`:                                                          400,
		`{"run_id":"","action":"approve"}`:                                              400,
		`{"run_id":"run_1"}`:                                                            400,
		`{"run_id":"run_1","action":"approved"}`:                                        400,
		`{"run_id":"run_1","action":"approve","ids":[]}`:                                400,
		`{"run_id":"run_1","action":"approve","ids":null}`:                              400,
		`{"run_id":"run_1","action":"approve","ids":"x"}`:                               400,
		`{"run_id":"run_1","action":"approve","ids":[7]}`:                               400,
		`{"run_id":"run_1","action":"approve","scope":"run"}`:                           400,
		`{"run_id":"run_1","action":"approve","scope":"all"}`:                           400,
		`{"run_id":"run_1","action":"approve","ids":["` + id[0] + `","x"]}`:             409,
		`{"run_id":"run_1","action":"approve","ids":["` + id[3] + `"]}`:                 409,
		`{"run_id":"run_1","action":"approve","ids":["` + id[0] + `","` + id[0] + `"]}`: 400,
	} {
		w.expect(status, "", "POST", bulk, body)
	}
	const none = `{"resolved":0,"ids":[]}`
	w.expect(200, none, "POST", bulk, `{"run_id":"run_1","action":"approve","agent":"nobody"}`)
	w.expect(200, none, "POST", bulk, `{"run_id":"nowhere","action":"approve"}`)
	if n := r.Chain.Stats().Events; n != 4 {
		t.Fatalf("%d events were written", n-4)
	}
	w.expect(200, `{"resolved":1,"ids":["`+id[1]+`"]}`, "POST", bulk, `{"run_id":"run_1","action":"deny","ids":["`+id[1]+`"]}`)
	w.expect(200, `{"resolved":2,"ids":["`+id[0]+`","`+id[2]+`"]}`, "POST", bulk, `{"run_id":"run_1","action":"approve","scope":"pending","agent":"claude-code","session":"myapp/main","resolved_by":"kim"}`)
	got := []rampart.ApprovalStatus{}
	for _, i := range id {
		got = append(got, statuses(r.Approvals)[i])
	}
	if diff := cmp.Diff([]rampart.ApprovalStatus{rampart.Approved, rampart.Denied, rampart.Approved, rampart.Pending}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWaitParameter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := newWeb(t, testAuth())
		q := question(1)
		q.TTL = 10 * time.Minute
		p := request(t, r.Approvals, q)
		for wait, want := range map[string]time.Duration{"0s": 0, "1500ms": 1500 * time.Millisecond, "60s": time.Minute, "2h": time.Minute} {
			began := time.Now()
			rec := w.expect(200, "", "GET", "/v1/approvals/"+p.ID+"?wait="+wait, "")
			if took := time.Since(began); took != want || !strings.Contains(rec.Body.String(), `"status":"pending"`) {
				t.Errorf("wait=%s: after %v, %s", wait, took, rec.Body)
			}
		}
		for _, wait := range []string{"", "30", "-1s", "soon", "%zz", "1s;"} {
			w.expect(400, "", "GET", "/v1/approvals/"+p.ID+"?wait="+wait, "")
		}
		w.expect(400, "", "GET", "/v1/approvals?status=%zz", "")
	})
}

// A long wait outlives the server's own time limits, tells its answer at once,
// and ends with its client.
func TestWaitOnAServerWithTimeouts(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := newWeb(t, testAuth())
				var conns atomic.Int32
				site := newSite(t, w.h, func(s *http.Server, tr *http.Transport) {
					s.ReadTimeout, s.WriteTimeout = time.Second, time.Second
					if http2 {
						p := new(http.Protocols)
						p.SetUnencryptedHTTP2(true)
						s.Protocols, tr.Protocols = p, p
					}
					s.ConnState = func(_ net.Conn, state http.ConnState) {
						if state == http.StateNew {
							conns.Add(1)
						}
					}
				})
				get := func(ctx context.Context, id string) (string, error) {
					req, err := http.NewRequestWithContext(ctx, "GET", "http://rampart/v1/approvals/"+id+"?wait=60s", nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Authorization", "Bearer "+adminToken)
					resp, err := site.client.Do(req)
					if err != nil {
						return "", err
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					return resp.Status + string(body), err
				}
				p := request(t, r.Approvals, question(1))
				began := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(40 * time.Second)
					if _, err := r.Approvals.Resolve(context.Background(), p.ID, yes); err != nil {
						t.Error(err)
					}
				})
				got, err := get(t.Context(), p.ID)
				if err != nil || !strings.HasPrefix(got, "200") || !strings.Contains(got, `"status":"approved"`) || time.Since(began) != 40*time.Second {
					t.Errorf("after %v: %s, %v", time.Since(began), got, err)
				}
				wg.Wait()

				p = request(t, r.Approvals, question(2))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := get(ctx, p.ID); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				synctest.Wait()
				idle := make(chan struct{})
				go func() { defer close(idle); _ = site.server.Shutdown(context.Background()) }()
				began = time.Now()
				<-idle
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the handler of a client that left went on for %v", took)
				}
				if n := conns.Load(); n != 1 {
					t.Errorf("%d connections, want one", n)
				}
			})
		})
	}
}
