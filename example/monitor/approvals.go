package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"time"

	"github.com/rampartlog/rampart"
)

const (
	// Lists are so far apart, however often the queue changes, and no further.
	listGap   = 250 * time.Millisecond
	listEvery = time.Minute
)

// approvals is what is known of those that wait.
type approvals struct {
	told   map[string]string // the commands of those that were told of, by id
	due    *time.Timer       // of the next list
	listed time.Time
	broken *outage // of listing
}

func newApprovals(s *state, l *log.Logger) approvals {
	a := approvals{
		told: make(map[string]string), due: time.NewTimer(listEvery),
		broken: &outage{log: l, what: "listing the approvals"},
	}
	a.due.Stop() // until there is a connection
	for _, id := range s.told.Approvals {
		a.told[id] = ""
	}
	return a
}

// command of an approval that was told of, or nothing.
func (a *approvals) command(id string) string { return a.told[id] }

// changed has the approvals listed soon.
func (a *approvals) changed() { a.due.Reset(listGap - time.Since(a.listed)) }

// list tells of the approvals that wait and were not told of. The list is the
// authority: what came and went unseen is not on it.
func (m *monitor) list(ctx context.Context) error {
	if !m.watchesApprovals() || !m.stream.up.Load() { // each connection begins with a list
		return nil
	}
	m.listed = time.Now()
	m.due.Reset(listEvery)
	pending, err := m.client.ListApprovals(ctx, rampart.Pending)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, rampart.ErrUnauthorized):
		return err
	case err != nil:
		m.broken.failed(err.Error())
		m.due.Reset(leastRetry)
		return nil
	}
	m.broken.over()
	waiting := make(map[string]string)
	for i := range pending {
		p := &pending[i]
		command, told := m.told[p.ID]
		if !told && m.watches(p.Agent) {
			a := pendingAlert(p, answerWith(m.url, m.tokenFile, p.ID))
			if err := m.tell(entry{alert: a, approvals: []string{p.ID}}); err != nil {
				return err
			}
			command = cut(a.Command, shownText)
		}
		waiting[p.ID] = command
	}
	m.told = waiting
	m.state.forget(func(id string) bool { _, ok := waiting[id]; return ok })
	return nil
}

// memberOf is what the queue wrote into the event, if it is one of its own.
func memberOf(e *rampart.AuditEvent) (m approvalMember, ok bool) {
	ok = e.Approval != nil && json.Unmarshal(e.Approval, &m) == nil
	return m, ok
}
