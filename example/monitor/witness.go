package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

const (
	witnessPause  = 10 * time.Second // a server that contradicts itself causes one witness error after the other
	verifyTimeout = time.Minute
	catchUpTries  = 5 // while the daemon is out of reach, or can't read its log
)

// verify asks the daemon whether it can read its log. A daemon that can't ends
// each stream as soon as it begins, and the stream never says why.
func (m *monitor) verify(ctx context.Context, position string) error {
	limited, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	report, err := m.client.Verify(limited, rampart.Anchor{})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, rampart.ErrUnauthorized):
		return err
	case err != nil || report.OK(): // then the connection is at fault, and m.stream logs that
		return nil
	}
	return &client.WitnessError{
		Verdict: report.Verdict, Seen: position,
		Expected: "a log that the daemon can read", Found: report.Fault.Error(),
	}
}

// catchUp reads the events between the last one seen and the position where the
// stream goes on, after the log was changed. It checks no hashes: whoever changed
// the log could fit them.
func (m *monitor) catchUp(ctx context.Context, to string) error {
	from, end := idOf(m.unread), idOf(to)
	for tries := 1; from < end; tries++ {
		var err error
		for r, failed := range m.client.Query(ctx, rampart.Query{After: from, Ascending: true}) {
			if err = failed; err != nil || r.ID() > end {
				break
			}
			if told := m.audit(r, ""); told != nil {
				return told
			}
			from = max(from, r.ID())
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, rampart.ErrUnauthorized):
			return err
		case err == nil:
			from = end
		case tries == catchUpTries:
			told := m.tell(entry{alert: alert{Kind: kindWitness, Time: time.Now(), Message: fmt.Sprintf(
				"what it has after %s, up to %s, can't be read: %v", m.unread, to, err)}})
			if told != nil {
				return told
			}
			from = end
		default:
			m.stream.failed(err.Error())
			if err := sleep(ctx, minRetry<<tries); err != nil {
				return err
			}
		}
	}
	m.unread = ""
	return nil
}

// idOf returns the id of the event at a position. It is empty for the start of
// the log.
func idOf(position string) string {
	id, _, _ := strings.Cut(position, ".")
	if id == "0" {
		return ""
	}
	return id
}
