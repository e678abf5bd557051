//go:build linux

package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/rampartlog/rampart"
)

// page is how many events a query asks for, newest first.
const page = 50

// query chooses events; an empty field chooses all.
type query struct {
	name                string
	agent, tool, action string
	from, to            int // event numbers, as timestamps: from ≤ event < to; all if to is 0
}

func queries(n int) []query {
	return []query{
		{name: "newest"},
		{name: "agent", agent: names().agents[42]},
		{name: "deny", tool: "exec", action: "deny"},
		{name: "middle", from: n / 2, to: n/2 + int(10*time.Minute/between)},
		{name: "absent", agent: "nobody"},
	}
}

func (q *query) since() time.Time { return timeOf(q.from) }
func (q *query) until() time.Time { return timeOf(q.to) }

// expect returns the numbers of the events that q must find in a log of n events.
func (q *query) expect(n int) []int {
	var out []int
	for i := n - 1; i >= 0 && len(out) < page; i-- {
		k := kindOf(i)
		if (q.agent == "" || q.agent == k.agent) && (q.tool == "" || q.tool == k.tool) &&
			(q.action == "" || q.action == k.action) && (q.to == 0 || q.from <= i && i < q.to) {
			out = append(out, i)
		}
	}
	return out
}

// matches filters decoded events, for targets without a search of their own.
func (q *query) matches(e *rampart.AuditEvent) bool {
	return (q.agent == "" || q.agent == e.Agent) && (q.tool == "" || q.tool == e.Tool) &&
		(q.action == "" || q.action == e.Decision.Action) &&
		(q.to == 0 || !e.Timestamp.Before(q.since()) && e.Timestamp.Before(q.until()))
}

// answer is the result of a query: lines, or events if it was asked to decode them.
type answer struct {
	lines  [][]byte
	events []rampart.AuditEvent
}

// check compares an answer with the numbers of the expected events.
func (q *query) check(a answer, want []int) error {
	var got []int
	for _, line := range a.lines {
		i, err := numberOf(line)
		if err != nil {
			return err
		}
		got = append(got, i)
	}
	for i := range a.events {
		k, err := numberAt(a.events[i].Timestamp)
		if err != nil {
			return err
		}
		got = append(got, k)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("query %s found the events %v, must find %v", q.name, got, want)
	}
	return nil
}
