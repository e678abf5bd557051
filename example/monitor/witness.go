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
	// witnessPause keeps a server that contradicts itself from being asked all
	// the time.
	witnessPause  = 10 * time.Second
	verifyTimeout = time.Minute
	// catchUpTries is for a daemon that is out of reach, or can't read its log.
	catchUpTries = 5
)

// verify asks a daemon whose streams end as soon as they begin whether it can
// read its log, since such streams never get to say what is wrong.
func (m *monitor) verify(ctx context.Context, position string) error {
	limited, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	report, err := m.client.Verify(limited, rampart.Anchor{})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, rampart.ErrUnauthorized):
		return err
	case err != nil || report.OK(): // it is the connection, which is told of elsewhere
		return nil
	}
	return &client.WitnessError{
		Verdict: report.Verdict, Seen: position,
		Expected: "a log that the daemon can read", Found: report.Fault.Error(),
	}
}

// catchUp reads a log that is not the one seen before, from behind what was
// seen up to the position where the stream goes on. Its hashes prove nothing.
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
			if err := sleep(ctx, leastRetry<<tries); err != nil {
				return err
			}
		}
	}
	m.unread = ""
	return nil
}

// idOf is the id of the event at a position, empty at the start of the log.
func idOf(position string) string {
	id, _, _ := strings.Cut(position, ".")
	if id == "0" {
		return ""
	}
	return id
}
