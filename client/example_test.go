package client_test

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// An agent records its calls with the daemon of this machine, and asks there: one
// of several programs that share its log.
func ExampleLocal() {
	c, err := client.Local(&client.Options{Token: os.Getenv("RAMPART_TOKEN")}) // the agent's own; the admin's when empty
	if err != nil {
		log.Fatal(err) // such as: no daemon runs; start one with rampart serve
	}
	gate := rampart.Gate{Recorder: c, Policy: func(context.Context, rampart.AuditEvent) (rampart.Decision, error) {
		return rampart.Decision{Action: rampart.ActionAsk, Message: "rewrites history"}, nil
	}}
	call := rampart.AuditEvent{Agent: "claude-code", Tool: "exec", Request: json.RawMessage(`{"command":"git push --force"}`)}
	_, err = gate.Do(context.Background(), call, func(_ context.Context, request json.RawMessage) (rampart.Response, error) {
		log.Printf("here it would run: %s", request)
		return rampart.Response{}, nil
	})
	if err != nil {
		log.Print(err) // refused, by whom and why; or what went wrong
	}
}
