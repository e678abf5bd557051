package rampart_test

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/rampartlog/rampart"
)

// Example is the embedding code of README.md.
func Example() {
	r, err := rampart.Open("audit", nil) // with what a crash left put in order
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	http.Handle("/", r.Handler(&rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")}))
	go http.ListenAndServe("127.0.0.1:9090", nil)

	ctx := context.Background()
	push := json.RawMessage(`{"command":"git push --force"}`)
	a, err := r.Approvals.Request(ctx, rampart.ApprovalRequest{
		Agent: "claude-code", Session: "myapp/main", Tool: "exec", Request: push, Message: "rewrites history",
	})
	if err == nil {
		a, err = r.Approvals.Wait(ctx, a.ID) // until somebody answers, or its time is over
	}
	if err != nil || a.Status != rampart.Approved {
		return
	}
	_, err = r.Chain.Append(ctx, rampart.AuditEvent{ // on disk when it returns
		Agent: "claude-code", Session: "myapp/main", Tool: "exec", Request: push,
		Decision: rampart.Decision{Action: "allow", Message: "approved by " + a.ResolvedBy},
	})
	if err == nil {
		run(push)
	}
}

func run(json.RawMessage) {}
