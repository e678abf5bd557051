//go:build linux

package audit

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
)

// An event is a function of its number, and its timestamp gives the number. So the
// answers of a target can be compared with the events that it was given. A line of
// rampart's log has 487 bytes, give or take one.
const between = 100 * time.Millisecond

var (
	first    = time.Date(2026, 3, 3, 10, 15, 30, 23_456_000, time.UTC)
	request  = []byte(`{"command":"git log --oneline internal\n","path":"/home"}`)
	policies = []string{"allow-git"}
	tools    = [...]string{"read", "edit", "grep", "http"}
)

const (
	agents   = 100 // of 1 % each
	sessions = 20
	runSpan  = 100_000 // events during which an agent has one run, of about 1,000 events
	runs     = 128     // runs of an agent before their names repeat
)

type nameList struct {
	agents   [agents]string
	sessions [sessions]string
	runs     [runs][agents]string
}

// names are formatted once: doing it for each event would take a tenth of a bulk append.
var names = sync.OnceValue(func() *nameList {
	n := &nameList{}
	for i := range n.agents {
		n.agents[i] = fmt.Sprintf("agent-%05d", i)
	}
	for i := range n.sessions {
		n.sessions[i] = fmt.Sprintf("myapp/br%02d", i)
	}
	for i := range n.runs {
		for k := range n.runs[i] {
			n.runs[i][k] = fmt.Sprintf("run_%07d%05d", i, k)
		}
	}
	return n
})

// mix spreads the bits of i (splitmix64), so that choices made by it follow no pattern.
func mix(i int) uint64 {
	z := (uint64(i) + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// kind has the fields by which queries select events.
type kind struct{ agent, session, tool, action string }

func kindOf(i int) kind {
	n, z := names(), mix(i)
	k := kind{agent: n.agents[z%agents], session: n.sessions[z>>40%sessions], tool: "exec", action: "allow"}
	if t := z >> 8 % 8; t >= 4 {
		k.tool = tools[t-4]
	}
	switch a := z >> 16 % 500; {
	case a == 0: // deny is 0.2 %, half of it exec
		k.action = "deny"
	case a <= 50:
		k.action = "watch"
	}
	return k
}

func timeOf(i int) time.Time { return first.Add(time.Duration(i) * between) }

// event returns event number i.
func event(i int) rampart.AuditEvent {
	k := kindOf(i)
	return rampart.AuditEvent{
		Timestamp: timeOf(i),
		Agent:     k.agent,
		Session:   k.session,
		RunID:     names().runs[i/runSpan%runs][mix(i)%agents],
		Tool:      k.tool,
		Request:   request,
		Decision:  rampart.Decision{Action: k.action, MatchedPolicies: policies, EvaluationTimeUS: 8, Message: "git"},
	}
}

// events returns the events from, …, to-1, in buf's memory.
func events(buf []rampart.AuditEvent, from, to int) []rampart.AuditEvent {
	buf = buf[:0]
	for i := from; i < to; i++ {
		buf = append(buf, event(i))
	}
	return buf
}

// numberAt returns the number of the event with timestamp t.
func numberAt(t time.Time) (int, error) {
	d := t.Sub(first)
	if d < 0 || d%between != 0 {
		return 0, fmt.Errorf("no event has the timestamp %v", t)
	}
	return int(d / between), nil
}

// numberOf returns the number of the event in line.
func numberOf(line []byte) (int, error) {
	_, rest, _ := bytes.Cut(line, []byte(`"timestamp":"`))
	text, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return 0, fmt.Errorf("no timestamp in %.100q", line)
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return 0, err
	}
	return numberAt(t)
}
