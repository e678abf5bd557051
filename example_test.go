package rampart_test

import (
	"context"
	"encoding/json"
	"errors"
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

	gate := rampart.Gate{Recorder: r, Policy: policy} // allow, watch, ask or deny
	call := rampart.AuditEvent{
		Agent: "claude-code", Session: "myapp/main", Tool: "exec",
		Request: json.RawMessage(`{"command":"git push --force"}`),
	}
	_, err = gate.Do(context.Background(), call, func(ctx context.Context, request json.RawMessage) (rampart.Response, error) {
		return run(ctx, request) // recorded on disk, and for ask: approved, byte for byte
	})
	if errors.Is(err, rampart.ErrRefused) {
		log.Print(err) // by whom and why, for the agent to read
	}
}

// policy is the host's own.
func policy(_ context.Context, call rampart.AuditEvent) (rampart.Decision, error) {
	if call.Tool == "exec" {
		return rampart.Decision{Action: "ask", Message: "rewrites history"}, nil
	}
	return rampart.Decision{Action: "allow"}, nil
}

func run(context.Context, json.RawMessage) (rampart.Response, error) { return rampart.Response{}, nil }
