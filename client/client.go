// Package client speaks to a Rampart server in another process, over HTTP: it
// records events, asks for approvals and answers them, queries and verifies the
// log, and follows what the server announces, checking each hash. A process
// that opens the log itself does not need it.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
)

// Options configures [New]. Nil, and each zero value, is the documented
// default.
type Options struct {
	Token string // the admin's or an agent's, sent as Authorization: Bearer; none when empty

	// HTTP sends the requests; nil is a client with the default transport. Its
	// Timeout, if it has one, does not end Events, Verify and WaitApproval.
	HTTP *http.Client

	// Silence is how long Events waits for a byte before it gives the
	// connection up for dead and opens another: 45 s when zero. A server sends
	// something every 15 s at least, unless its host configured another time.
	Silence time.Duration

	Logger *slog.Logger // told of lost connections; nil discards
}

// Client calls the HTTP API of a [rampart.Rampart], which serves it by its
// Handler; `rampart serve` is such a server. A Client is a [rampart.Recorder],
// so that a [rampart.Gate] records and asks through it.
//
// All methods may be called concurrently. A Client needs no closing. A call
// fails when it has no answer after a minute; Verify, WaitApproval and Events
// wait for as long as their context lasts.
//
// Errors are those of package rampart: ErrUnauthorized when the server does not
// take the token, or the token does not reach the call; ErrInvalid when the
// server refused the input; ErrNotFound; ErrNotPending; ErrLimit, ErrFailed or
// ErrClosed when the server is full, has lost its log or is stopping. Each has
// the server's own words. With any other error, of the connection or of a
// server that cannot answer at the moment, the call may have taken effect or
// not, and may be tried again. No error and no log line contains the token.
type Client struct {
	url     string // without a slash at its end
	opts    Options
	untimed *http.Client // opts.HTTP without its Timeout
	log     *slog.Logger
}

var _ rampart.Recorder = (*Client)(nil)

const (
	defaultSilence = 45 * time.Second // three heartbeats
	callTimeout    = time.Minute

	// An answer may come from somebody else than the server, and must not
	// decide how much memory it takes. An event has 1 MiB at most, and an
	// approval contains its request twice.
	maxAnswer    = 8 << 20
	maxPageBytes = 128 << 20 // for pageSize events
	maxApprovals = 512 << 20 // a server keeps 64 MiB of ended and 64 MiB of pending approvals

	minPause = 250 * time.Millisecond
	maxPause = 30 * time.Second
)

// New returns a client of the server at base, such as http://127.0.0.1:9090; a
// server that is mounted under a path has that in its base. New connects to
// nothing yet. ErrInvalid: base is not such a URL, or the token has characters
// that a header can't carry.
func New(base string, opts *Options) (*Client, error) {
	c := &Client{}
	if opts != nil {
		c.opts = *opts
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: the server's URL is http://HOST:PORT or https://HOST, without a query", rampart.ErrInvalid)
	}
	if strings.IndexFunc(c.opts.Token, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return nil, fmt.Errorf("%w: the token has characters that a header can't carry; is there a line break in it?", rampart.ErrInvalid)
	}
	c.url = strings.TrimSuffix(u.String(), "/")
	if c.opts.HTTP == nil {
		c.opts.HTTP = &http.Client{}
	}
	untimed := *c.opts.HTTP
	untimed.Timeout = 0
	c.untimed = &untimed
	if c.opts.Silence <= 0 {
		c.opts.Silence = defaultSilence
	}
	if c.log = c.opts.Logger; c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Local returns a client of the daemon of this machine and user, as [daemon.Find]
// finds it in its default directory, with the admin's token unless opts has
// another. Errors are those of Find and [New].
func Local(opts *Options) (*Client, error) {
	found, err := daemon.Find("")
	if err != nil {
		return nil, fmt.Errorf("rampart: find the daemon: %w", err)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Token = cmp.Or(o.Token, found.Token)
	return New(found.URL, &o)
}

// call is one request to the API.
type call struct {
	method, path string
	query        url.Values
	contentType  string
	body         []byte
	timeout      time.Duration // zero: callTimeout and the Timeout of Options.HTTP; negative: none
	maxAnswer    int64         // bytes; the constant maxAnswer when zero
}

// do sends r and decodes the answer, which is JSON, into out.
func (c *Client) do(ctx context.Context, r call, out any) error {
	caller := ctx
	if r.timeout >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cmp.Or(r.timeout, callTimeout))
		defer cancel()
	}
	target := c.url + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("rampart: %w", err)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if c.opts.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.opts.Token)
	}
	sender := c.opts.HTTP
	if r.timeout != 0 {
		sender = c.untimed
	}
	resp, err := sender.Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return refusedBy(resp)
		}
		body := http.MaxBytesReader(nil, resp.Body, cmp.Or(r.maxAnswer, maxAnswer))
		if err = json.NewDecoder(body).Decode(out); err == nil {
			_, err = io.Copy(io.Discard, body) // a connection is reused only after its body was read to the end
		}
	}
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case caller.Err() != nil:
		return caller.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("rampart: %s %s: no whole answer within %v", r.method, r.path, cmp.Or(r.timeout, callTimeout))
	case errors.As(err, &tooLong):
		return fmt.Errorf("rampart: %s %s: the answer is longer than %d bytes: is it a Rampart server's URL?", r.method, r.path, tooLong.Limit)
	case resp != nil:
		return fmt.Errorf("rampart: %s %s: the answer is cut off, or not a Rampart server's: %w", r.method, r.path, err)
	}
	return fmt.Errorf("rampart: %w", err) // err names the method and the URL
}

// answerError is an answer of the server whose status is no success.
type answerError struct {
	status     int
	kind       error // one of package rampart's errors, or nil
	text       string
	retryAfter time.Duration
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.kind }

// temporary reports whether the same request may succeed later.
func temporary(err error) bool {
	var answer *answerError
	var untrusted *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, rampart.ErrInvalid), errors.As(err, &untrusted), errors.As(err, &notTLS):
		return false
	case !errors.As(err, &answer):
		return true
	}
	switch answer.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return answer.status >= 500
}

// refusedBy returns the error for an answer whose status is no success.
func refusedBy(resp *http.Response) error {
	var body struct {
		Error string `json:"error"`
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(data, &body) // a proxy's page is no JSON: then only the status is told
	e := &answerError{status: resp.StatusCode}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.kind = rampart.ErrUnauthorized
	case http.StatusNotFound:
		e.kind = rampart.ErrNotFound
	case http.StatusConflict, http.StatusGone:
		e.kind = rampart.ErrNotPending
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		e.kind = rampart.ErrInvalid
	case http.StatusServiceUnavailable: // three kinds have this status; only the text tells them apart
		for _, kind := range []error{rampart.ErrLimit, rampart.ErrFailed, rampart.ErrClosed} {
			if strings.HasPrefix(body.Error, kind.Error()) {
				e.kind = kind
			}
		}
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.retryAfter = min(time.Duration(n)*time.Second, maxPause)
	}
	prefix := "rampart"
	if e.kind != nil {
		prefix = e.kind.Error()
	}
	e.text = fmt.Sprintf("%s: %s %s: %s", prefix, resp.Request.Method, resp.Request.URL.Path, resp.Status)
	if said := strings.TrimPrefix(body.Error, prefix+": "); said != "" {
		e.text += ": " + said
	}
	return e
}

// backoff spaces tries. The pauses double and are random, so that clients that
// lost one server at the same time do not all come back at the same time.
type backoff struct{ next time.Duration }

// pause waits after the failure err. It returns ctx's error once ctx is done.
func (b *backoff) pause(ctx context.Context, err error, log func(time.Duration)) error {
	d := max(b.next, minPause)
	b.next = min(2*d, maxPause)
	d = d/2 + rand.N(d/2+1)
	var answer *answerError
	if errors.As(err, &answer) {
		d += answer.retryAfter
	}
	log(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
