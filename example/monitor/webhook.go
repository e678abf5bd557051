package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	postTimeout = 15 * time.Second
	postGap     = time.Second // Slack takes one message a second

	minRetry      = time.Second
	maxRetry      = time.Minute
	maxRetryAfter = 10 * time.Minute // whatever the receiver's Retry-After says
)

// webhook posts the alerts of the queue.
type webhook struct {
	url    string // a secret: no error and no log line contains it
	client *http.Client
	log    *log.Logger
	down   *outage

	stopping <-chan struct{} // closed once no more alerts are queued; the webhook then sets it to nil
}

func newWebhook(url string, transport http.RoundTripper, l *log.Logger) *webhook {
	return &webhook{
		url: url, log: l, down: &outage{log: l, what: "the webhook"},
		client: &http.Client{
			Transport: transport, Timeout: postTimeout,
			// A redirect would turn the POST into a GET without the message.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// deliver posts alerts until ctx is done, or until stopping is closed and the
// queue is empty.
func (w *webhook) deliver(ctx context.Context, q *queue) {
	for {
		group := q.take()
		if len(group) == 0 {
			if w.stopping == nil {
				return
			}
			select {
			case <-q.wake:
			case <-w.stopping:
				w.stopping = nil
			}
			continue
		}
		if !w.send(ctx, group) {
			return
		}
		q.sent()
		if w.stopping != nil {
			w.pause(ctx, postGap)
		}
	}
}

// send posts a message until the webhook accepts or refuses it. It returns false
// if ctx was done before that.
func (w *webhook) send(ctx context.Context, group []alert) bool {
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		err := w.post(ctx, newMessage(group))
		var refusal *refused
		switch {
		case err == nil:
			w.down.over()
			return true
		case errors.As(err, &refusal) && refusal.final:
			w.down.over()
			w.log.Printf("the webhook refused a message of %d alerts, which is dropped: %v", len(group), err)
			return true
		}
		if ctx.Err() == nil {
			w.down.failed(err.Error())
		}
		wait := retry
		if refusal != nil {
			wait = max(wait, min(refusal.retryAfter, maxRetryAfter))
		}
		if !w.pause(ctx, wait) {
			return false
		}
	}
}

// pause waits for d, or until stopping is closed. It returns false once ctx is
// done.
func (w *webhook) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.stopping:
		w.stopping = nil
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// refused is an answer whose status is no success.
type refused struct {
	status     string
	final      bool // trying again would be refused again
	retryAfter time.Duration
}

func (r *refused) Error() string { return r.status }

// slackWord matches the words that Slack answers with, such as no_service.
var slackWord = regexp.MustCompile(`^[a-z_]{3,60}$`)

func (w *webhook) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return &refused{status: "its URL can't be used", final: true}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a connection is reused only after its body was read to the end
	if resp.StatusCode/100 == 2 {
		return nil
	}
	r := &refused{status: fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	// Any other text could repeat the URL.
	if slackWord.Match(said) && !strings.Contains(w.url, string(said)) {
		r.status += ": " + string(said)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		r.final = resp.StatusCode < 500
	}
	after := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(after); err == nil {
		r.retryAfter = time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(after); err == nil {
		r.retryAfter = time.Until(t)
	}
	return r
}
