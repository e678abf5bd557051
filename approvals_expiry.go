package rampart

import (
	"context"
	"errors"
	"time"
)

const (
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
	// longestSleep bounds how long a stepped clock, or a suspended machine, keeps
	// an approval past its deadline.
	longestSleep = time.Minute
	// maxExpire keeps one write of expiries under the limit of an append.
	maxExpire = 256
)

// wallClock is the time as the log can hold it: deadlines outlive the process,
// so they are never compared by its monotonic clock.
func wallClock() time.Time { return time.Now().Round(0).UTC() }

// run expires approvals at their deadlines, first after sleep. While an expiry
// can't be recorded the approval stays pending to readers, and can't be approved.
func (a *Approvals) run(sleep time.Duration) {
	defer close(a.stopped)
	timer := time.NewTimer(sleep)
	defer timer.Stop()
	for retry := minRetry; ; {
		select {
		case <-a.closing.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		sleep, err := a.expireDue(a.closing)
		switch {
		case a.closing.Err() != nil:
			return
		case errors.Is(err, ErrFailed) || errors.Is(err, ErrClosed):
			a.log.Error("expired approvals not recorded, and this is not tried again", "error", err)
			return
		case err != nil:
			a.log.Error("expired approvals not recorded", "error", err, "retry", retry)
			sleep, retry = retry, min(2*retry, maxRetry)
		default:
			retry = minRetry
		}
		timer.Reset(sleep)
	}
}

// expireDue expires what has passed its deadline and returns how long until it
// is to be called again.
func (a *Approvals) expireDue(ctx context.Context) (sleep time.Duration, err error) {
	for {
		now := wallClock()
		due, sleep := a.due(now)
		if len(due) == 0 {
			return sleep, nil
		}
		if _, err := a.end(ctx, change{partial: true}, due, Resolution{Status: Expired}, now); err != nil && err != errMoved {
			return 0, err
		}
	}
}

// due returns entries that have passed their deadline, at most maxExpire of them,
// and the time until the next deadline.
func (a *Approvals) due(now time.Time) (due []*entry, sleep time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = time.Time{}
	for _, e := range a.fold.pending {
		if !now.Before(e.ExpiresAt) {
			if due = append(due, e); len(due) == maxExpire {
				break
			}
		} else if a.next.IsZero() || e.ExpiresAt.Before(a.next) {
			a.next = e.ExpiresAt
		}
	}
	if a.next.IsZero() {
		return due, longestSleep
	}
	return due, min(a.next.Sub(now), longestSleep)
}
