package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// follow handles events from the state's position on. After a WitnessError it
// goes on where that says.
func (m *monitor) follow(ctx context.Context) error {
	after := m.state.told.Position
	if after == "" && m.from == "start" {
		after = "0"
	}
	for {
		err := m.session(ctx, after)
		var witness *client.WitnessError
		if !errors.As(err, &witness) {
			return err
		}
		what := strings.TrimPrefix(witness.Error(), "rampart: ")
		if witness.Verdict == rampart.VerdictPruned {
			m.log.Print(visible(what)) // nothing is wrong: some events were pruned before the monitor saw them
		} else if err := m.tell(entry{alert: alert{Kind: kindWitness, Time: time.Now(), Message: what}}); err != nil {
			return err
		}
		// A gap that is not read yet begins further back than this one.
		m.unread, after = cmp.Or(m.unread, witness.Seen), witness.Resume
		if err := sleep(ctx, witnessPause); err != nil {
			return err
		}
	}
}

// session handles events until Events ends, and returns its error.
func (m *monitor) session(ctx context.Context, after string) error {
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	events, ended := make(chan rampart.Event), make(chan error, 1)
	following.Go(func() {
		for e, err := range m.client.Events(ctx, after) {
			if err != nil {
				ended <- err
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	})
	for {
		var err error
		select {
		case e := <-events:
			err = m.handle(ctx, e)
		case <-m.due.C:
			err = m.list(ctx)
		case err = <-ended:
		}
		if err != nil {
			return err
		}
	}
}

func (m *monitor) handle(ctx context.Context, e rampart.Event) error {
	if e.Type == rampart.TypeConnected {
		return m.connected(ctx, e.ID)
	}
	m.empty = 0
	m.stream.over()
	switch e.Type {
	case rampart.TypeApprovals:
		m.changed()
	case rampart.TypeAudit:
		return m.audit(e.Record, e.ID)
	}
	return nil
}

func (m *monitor) connected(ctx context.Context, position string) error {
	m.stream.up.Store(true)
	if !m.greeted {
		m.greeted = true
		m.stream.over()
		m.log.Printf("connected to %s; alerts on %s", m.url, strings.Join(m.on, ", "))
	}
	if m.empty++; m.empty == 3 || m.empty%100 == 0 {
		if err := m.verify(ctx, position); err != nil {
			return err
		}
	}
	if m.unread != "" {
		if err := m.catchUp(ctx, position); err != nil {
			return err
		}
	}
	m.queue.advance(position)
	return m.list(ctx)
}

// audit prints and queues an alert for the event, if the user wants one.
func (m *monitor) audit(r rampart.Record, position string) error {
	e, err := r.Event()
	if err != nil {
		m.log.Printf("an event can't be read, and is skipped: %s", visible(err.Error()))
	} else if a, ok := m.alertOf(&e); ok {
		return m.tell(entry{alert: a, position: position})
	}
	if position != "" {
		m.queue.advance(position)
	}
	return nil
}

func (m *monitor) alertOf(e *rampart.AuditEvent) (alert, bool) {
	switch ended, ok := memberOf(e); {
	case ok && ended.ID != "":
		if m.alerts(e.Decision.Action, e.Agent) || m.alerts("ask", e.Agent) {
			return endedAlert(e, ended, m.command(ended.ID)), true
		}
	case ok: // it opened an approval: list prints the alert
	case m.alerts(e.Decision.Action, e.Agent):
		return decisionAlert(e), true
	}
	return alert{}, false
}

// tell prints an alert and queues it.
func (m *monitor) tell(e entry) error {
	if _, err := fmt.Fprintln(m.out, e.alert.line(time.Now())); err != nil {
		return fmt.Errorf("alerts can't be printed: %w", err)
	}
	m.queue.add(e)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
