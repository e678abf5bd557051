package main

import (
	"context"
	"regexp"

	"github.com/rampartlog/rampart"
)

var (
	// A program that only reads, followed by plain words: no shell syntax that
	// could start another program, and no path out of the scratch directory.
	harmless    = regexp.MustCompile(`^(ls|pwd|wc|head|echo)( [\w-][\w.-]*)*$`)
	destructive = regexp.MustCompile(`\brm\b.*\s(-\w*[rf]\w*\s+)+(--\S+\s+)*(/|~|\$HOME)(\s|\*|$)|\bmkfs\b|\bdd\b.*\bof=/dev/|:\(\)\s*\{`)
	hidden      = regexp.MustCompile(`(^|[/\\])\.`)
	pipedShell  = regexp.MustCompile(`\b(curl|wget)\b.*\|\s*(sudo\s+)?(ba|z|da)?sh\b`)
)

// policy is this host's own, since Rampart has none. It decides what is clear,
// and has a person asked about the rest.
func policy(_ context.Context, call rampart.AuditEvent) (rampart.Decision, error) {
	request, err := parse(call.Request)
	if err != nil {
		return rampart.Decision{}, err // the gate denies what a policy can't judge
	}
	decide := func(action, policy, message string, suggestions ...string) (rampart.Decision, error) {
		return rampart.Decision{Action: action, MatchedPolicies: []string{policy}, Message: message, Suggestions: suggestions}, nil
	}
	switch call.Tool {
	case "read":
		return decide(rampart.ActionAllow, "read-scratch", "")
	case "write":
		if hidden.MatchString(request["path"]) {
			return decide(rampart.ActionAsk, "ask-hidden", "writes a hidden file, which other programs may obey")
		}
		return decide(rampart.ActionWatch, "watch-writes", "")
	case "exec":
		switch {
		case destructive.MatchString(request["command"]):
			return decide(rampart.ActionDeny, "block-destructive", "destroys more than this agent owns", "delete single files of the scratch directory")
		case pipedShell.MatchString(request["command"]):
			return decide(rampart.ActionDeny, "block-pipe-to-shell", "runs code that nobody has read", "download it, read it, then run it")
		case harmless.MatchString(request["command"]):
			return decide(rampart.ActionAllow, "allow-harmless", "")
		}
		return decide(rampart.ActionAsk, "ask-exec", "a command that the policy does not know")
	}
	return decide(rampart.ActionDeny, "unknown-tool", "there is no such tool", "exec, read and write are there")
}
