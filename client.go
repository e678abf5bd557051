package rampart

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

	"github.com/rampartlog/rampart/internal/guard"
)

// ClientOptions configures [NewClient]. Nil, and each zero value, is the
// documented default.
type ClientOptions struct {
	Token string // the admin's or an agent's, sent as Authorization: Bearer; none when empty

	// HTTP sends the requests; one with the default transport when nil. Its
	// Timeout, if it has one, does not end Events, Verify and WaitApproval.
	HTTP *http.Client

	// Silence is how long Events waits for a byte, before it takes the
	// connection for dead and opens another: 45 s when zero. The server breaks
	// every silence after 15 s, unless its host chose otherwise.
	Silence time.Duration

	Logger *slog.Logger // told of connections that were lost; nil discards
}

// Client speaks to a server of [Rampart.Handler], such as example/server. What
// the token's scope does not reach fails with [ErrUnauthorized].
//
// Errors: ErrUnauthorized for 401 and 403, ErrInvalid for what the server
// refused as bad input, ErrNotFound, ErrNotPending, and, of a server that is full,
// has lost its log or is stopping, ErrLimit, ErrFailed, ErrClosed; each with the
// server's own words. Any other error is of the connection, or of a server that cannot
// answer at the moment: the call may have taken effect or not, and may be tried
// again. A call fails when it has no answer after a minute, Verify and
// WaitApproval excepted. No error and no log line has the token in it.
//
// All methods may be called concurrently. A client needs no closing.
type Client struct {
	url     string // without a slash at its end
	opts    ClientOptions
	untimed *http.Client // opts.HTTP without its Timeout
	log     *slog.Logger
}

const (
	defaultSilence = 45 * time.Second // three heartbeats
	callTimeout    = time.Minute

	// Whoever answers in place of the server does not choose how much memory
	// that takes. An event has 1 MiB, and an approval shows it twice.
	maxAnswer    = 8 << 20
	maxPageBytes = 128 << 20 // of queryPage events
	maxApprovals = 512 << 20 // twice those that a server keeps, and twice those that wait

	leastRetry = 250 * time.Millisecond
	mostRetry  = 30 * time.Second
)

// NewClient returns a client of the server at base, such as
// http://127.0.0.1:9090, with the path that it is mounted under, if any. It
// connects to nothing yet. ErrInvalid: base is no such URL, or the token can't
// stand in a header.
func NewClient(base string, opts *ClientOptions) (*Client, error) {
	c := &Client{}
	if opts != nil {
		c.opts = *opts
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: the server's URL is http://HOST:PORT or https://HOST, without a query", ErrInvalid)
	}
	if !guard.FitsHeader(c.opts.Token) {
		return nil, fmt.Errorf("%w: the token has characters that a header can't carry; is there a line break in it?", ErrInvalid)
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

// apiCall is one request to the API.
type apiCall struct {
	method, path string
	query        url.Values
	contentType  string
	body         []byte
	limit        time.Duration // callTimeout and that of ClientOptions.HTTP when zero, none when negative
	most         int64         // bytes of an answer; maxAnswer when zero
}

// do sends r and decodes the answer, JSON, into out.
func (c *Client) do(ctx context.Context, r apiCall, out any) error {
	whole := ctx
	if r.limit >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cmp.Or(r.limit, callTimeout))
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
	client := c.opts.HTTP
	if r.limit != 0 {
		client = c.untimed
	}
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return refusedBy(resp)
		}
		body := http.MaxBytesReader(nil, resp.Body, cmp.Or(r.most, maxAnswer))
		if err = json.NewDecoder(body).Decode(out); err == nil {
			_, err = io.Copy(io.Discard, body) // so that the connection can serve again
		}
	}
	var long *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case whole.Err() != nil:
		return whole.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("rampart: %s %s: no whole answer within %v", r.method, r.path, cmp.Or(r.limit, callTimeout))
	case errors.As(err, &long):
		return fmt.Errorf("rampart: %s %s: the answer is longer than %d bytes: is it a Rampart server's URL?", r.method, r.path, long.Limit)
	case resp != nil:
		return fmt.Errorf("rampart: %s %s: the answer is cut off, or not a Rampart server's: %w", r.method, r.path, err)
	}
	return fmt.Errorf("rampart: %w", err) // which names method and URL
}

// answerError is an answer of the server that is no success.
type answerError struct {
	status     int
	kind       error // one of the package's errors, or nil
	text       string
	retryAfter time.Duration
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.kind }

// temporary reports whether the same request may succeed later.
func temporary(err error) bool {
	var answer *answerError
	var stranger *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // no TLS is spoken there
	switch {
	case errors.Is(err, ErrInvalid), errors.As(err, &stranger), errors.As(err, &plain):
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

// refusedBy is the error of an answer that is no success.
func refusedBy(resp *http.Response) error {
	var body struct {
		Error string `json:"error"`
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(data, &body) // a proxy's page has no such member
	e := &answerError{status: resp.StatusCode}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.kind = ErrUnauthorized
	case http.StatusNotFound:
		e.kind = ErrNotFound
	case http.StatusConflict, http.StatusGone:
		e.kind = ErrNotPending
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		e.kind = ErrInvalid
	case http.StatusServiceUnavailable: // which only the words tell apart
		for _, kind := range []error{ErrLimit, ErrFailed, ErrClosed} {
			if strings.HasPrefix(body.Error, kind.Error()) {
				e.kind = kind
			}
		}
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.retryAfter = min(time.Duration(n)*time.Second, mostRetry)
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

// pauses are the times between tries: they double, and are random, so that
// clients which lost one server do not come back as one.
type pauses struct{ next time.Duration }

// pause waits after the failure err, and returns ctx's error once that is done.
func (p *pauses) pause(ctx context.Context, err error, log func(time.Duration)) error {
	d := max(p.next, leastRetry)
	p.next = min(2*d, mostRetry)
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
