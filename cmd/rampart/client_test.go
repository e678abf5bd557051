package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

func (d *daemon) client(token string) *client.Client {
	d.t.Helper()
	c, err := client.New(d.base, &client.Options{Token: token, HTTP: &http.Client{Transport: httpClient.Transport}})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// TestClientAcrossKills follows a daemon that is killed again and again while
// agents append, and wants what the log holds in the end: all that was
// acknowledged, once, in its order. An agent waits for an approval meanwhile.
func TestClientAcrossKills(t *testing.T) {
	dir := t.TempDir()
	d := startIn(t, dir)
	address := strings.TrimPrefix(d.base, "http://")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	const last = `"command":"the last"`
	followed := make(chan []string, 1)
	follower := d.client(d.token)
	go func() {
		var got []string
		for e, err := range follower.Events(ctx, "0") {
			if err != nil {
				t.Error(err)
				break
			}
			if e.Type == rampart.TypeAudit {
				got = append(got, string(e.Record))
				if strings.Contains(string(e.Record), last) {
					break
				}
			}
		}
		followed <- got
	}()
	asked, err := d.client(claudeToken).RequestApproval(ctx, rampart.ApprovalRequest{Tool: "exec", Request: json.RawMessage(`{"command":"git push"}`), Message: "m"})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan rampart.Approval, 1)
	waiter := d.client(claudeToken)
	go func() {
		a, err := waiter.WaitApproval(ctx, asked.ID)
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()

	acked := map[string]bool{}
	for round := range 4 {
		var mu sync.Mutex
		var agents sync.WaitGroup
		enough := make(chan struct{})
		for agent := range 8 {
			c := d.client(claudeToken)
			agents.Go(func() {
				for i := 0; ; i++ {
					id, err := c.Record(ctx, rampart.AuditEvent{Agent: "x", Tool: "exec", Decision: rampart.Decision{Action: "allow"},
						Request: json.RawMessage(fmt.Sprintf(`{"command":"%d %d %d"}`, round, agent, i))})
					if err != nil {
						return // it was killed
					}
					mu.Lock()
					if acked[id] = true; len(acked) == 200*(round+1) {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		d.kill()
		agents.Wait()
		d = startIn(t, dir, "-addr", address)
	}
	if _, err := d.client(d.token).ResolveApproval(ctx, asked.ID, rampart.Resolution{Status: rampart.Approved}); err != nil {
		t.Fatal(err)
	}
	if a := <-answered; a.Status != rampart.Approved || a.ID != asked.ID {
		t.Errorf("the agent was told %+v", a)
	}
	d.append(d.token, event("a", "the last"))
	got := <-followed
	if diff := cmp.Diff(d.lines(), got); diff != "" {
		t.Errorf("%d events on the log, %d followed (-want +got):\n%.2000s", len(d.lines()), len(got), diff)
	}
	for _, line := range got {
		delete(acked, parse(t, line).ID)
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged events are not there", len(acked))
	}
}
