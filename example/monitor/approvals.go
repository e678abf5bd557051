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
	listGap   = 250 * time.Millisecond // between two lists, however often the queue changes
	listEvery = time.Minute            // even when the queue does not change
)

// approvals are those that wait for an answer, as far as the monitor knows them.
type approvals struct {
	told   map[string]string // command by id, of the approvals that an alert was printed for
	due    *time.Timer       // fires when the next list is due
	listed time.Time
	broken *outage // while listing fails
}

func newApprovals(s *state, l *log.Logger) approvals {
	a := approvals{
		told: make(map[string]string), due: time.NewTimer(listEvery),
		broken: &outage{log: l, what: "listing the approvals"},
	}
	a.due.Stop() // the first connection starts it
	for _, id := range s.told.Approvals {
		a.told[id] = ""
	}
	return a
}

// command returns the command of an approval that an alert was printed for, or
// nothing.
func (a *approvals) command(id string) string { return a.told[id] }

// changed makes the next list due soon.
func (a *approvals) changed() { a.due.Reset(listGap - time.Since(a.listed)) }

// list prints an alert for each approval that waits and that had none yet. It
// asks the server which wait, and does not derive that from the events, so that
// an approval that ended unseen gets no alert.
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
		m.due.Reset(minRetry)
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

// memberOf returns the approval member of an event that the queue wrote.
func memberOf(e *rampart.AuditEvent) (m approvalMember, ok bool) {
	ok = e.Approval != nil && json.Unmarshal(e.Approval, &m) == nil
	return m, ok
}
