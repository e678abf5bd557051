package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// message is the body of a post. Slack reads the text and the two switches;
// other receivers read whatever they need.
type message struct {
	Text string `json:"text"`
	// Slack would fetch what an agent's command names.
	UnfurlLinks bool    `json:"unfurl_links"`
	UnfurlMedia bool    `json:"unfurl_media"`
	Alerts      []alert `json:"alerts"`
}

// slackText escapes the three characters that Slack would take for markup, and
// replaces the one that would end the block of code.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "\u02cb")

// posted returns the alert's line as a message has it.
func posted(a *alert) string { return slackText.Replace(a.line(time.Now())) + "\n" }

func newMessage(group []alert) []byte {
	var text strings.Builder
	text.WriteString(slackText.Replace(headline(group)))
	text.WriteString("\n```\n")
	for i := range group {
		text.WriteString(posted(&group[i]))
	}
	text.WriteString("```")
	body, _ := json.Marshal(message{Text: text.String(), Alerts: group}) // these types can always be marshalled
	return body
}

// headline says what a message is about. An agent can write no text into it: the
// log takes only lower-case words for actions.
func headline(group []alert) string {
	var order []string
	counts := make(map[string]int)
	for _, a := range group {
		what := a.Action
		switch a.Kind {
		case kindWitness:
			return "Rampart: the audit log is not what it was"
		case kindPending:
			what = "pending"
		case kindOverflow:
			what = "not posted"
		}
		if counts[what] == 0 {
			order = append(order, what)
		}
		counts[what] += max(1, a.NotPosted)
	}
	for i, what := range order {
		order[i] = fmt.Sprintf("%d %s", counts[what], what)
	}
	return "Rampart: " + strings.Join(order, ", ")
}
