package rampart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/r3labs/sse/v2"

	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	frames "github.com/rampartlog/rampart/internal/sse"
)

// WitnessError ends [Client.Events]: what the server says does not follow on
// what this client saw before. The log was rewritten or cut, lacks events, is
// another one, or was pruned beyond what was seen, which alone is nothing bad.
// What was seen up to Seen is evidence, so keep it.
type WitnessError struct {
	Verdict  Verdict // of the event, or of the server's log: truncated, when what was seen is not on it; pruned, when it was dropped on record
	Seen     string  // position of the last event that fits
	Resume   string  // position from which Events can go on nevertheless; "0" goes through all that the log has, "" begins with what comes next
	Expected string
	Found    string
}

func (e *WitnessError) Error() string {
	return fmt.Sprintf("rampart: the server's log is not the one seen up to %s: %s: expected %s, found %s", e.Seen, e.Verdict, e.Expected, e.Found)
}

// maxMessage is the longest message that is taken. The server's have 60 KiB at
// most, and an event from another program's log 1 MiB.
const maxMessage = 2 << 20

// Events yields what the server announces, live: connected, audit and approvals
// messages. after is a position: "" begins with what comes after the connection
// stands, "0" with the first event that the log has, an [Event].ID behind that
// event. The token must be the admin's.
//
// Every audit event after the position comes, once, in log order, across lost
// connections, restarts of the server and any time that the consumer takes. A
// message that stands for events, as that of a bulk resolution, does not come
// itself: its events do, and so do those of one too long for a message. Each
// event's hash is checked, and that it follows on the one before.
//
// A connection is opened again after it ended, however it did, with growing,
// random pauses of up to half a minute between tries, for as long as ctx lasts.
// Each begins with one connected message, whose ID is the position that it goes
// on from. approvals messages come whenever the queue may have changed while
// connected, and once after each resumption: a consumer lists the approvals
// when it starts, and then on each.
//
// The error comes last and once: [*WitnessError]; ErrUnauthorized; ErrInvalid
// for a malformed position; ctx's error once it is done; before a connection has
// ever stood, also that of a server which has no such stream, or whose
// certificate does not hold. While there is no server it waits for one, and
// tells the Logger.
func (c *Client) Events(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := follower{client: c, yield: yield, after: after}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(Event{}, err)
		}
	}
}

var (
	// errEnough: the consumer has ended the iteration.
	errEnough = errors.New("enough")
	errSilent = errors.New("nothing came for too long")
	errCutOff = errors.New("a message was cut off")
)

// follower is one iteration over the server's events.
type follower struct {
	client *Client
	yield  func(Event, error) bool
	after  string // the position to go on from; empty until one is known
	id     string // of the event there; empty at the start of the log
	hash   string // its hash or the first digits of it; empty where anything may follow
	opened bool   // a connection has stood
	bare   bool   // the last one soon ended and brought nothing, as of a server that can't read its log
	resume pauses
}

func (f *follower) run(ctx context.Context) error {
	if f.after != "" {
		var ok bool
		if f.id, f.hash, ok = frames.ParsePosition(f.after); !ok {
			return fmt.Errorf("%w: %q is no position: give \"\", \"0\" or the ID of an event", ErrInvalid, f.after)
		}
	}
	for {
		began := time.Now()
		err := f.connect(ctx)
		if time.Since(began) > mostRetry {
			f.bare = false
		}
		var witness *WitnessError
		switch {
		case errors.Is(err, errEnough), errors.Is(err, ErrUnauthorized), errors.As(err, &witness):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !f.opened && !temporary(err):
			return err
		}
		err = f.resume.pause(ctx, err, func(d time.Duration) {
			f.client.log.Warn("the event stream was lost and is opened again", "error", err, "retry", d)
		})
		if err != nil {
			return err
		}
	}
}

// once keeps the SSE client from connecting again by itself: it would resume
// after messages that were cut off, retry what is refused for good, go on after
// ctx is done and give up after a quarter of an hour.
type once struct{}

func (once) NextBackOff() time.Duration { return -1 }
func (once) Reset()                     {}

// connect opens the stream and deals with what comes, until it ends; it says why.
func (f *follower) connect(ctx context.Context) error {
	c := f.client
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.opts.Silence, func() { cancel(errSilent) })
	defer silence.Stop()

	source := sse.NewClient(c.url+"/v1/events/stream", sse.ClientMaxBufferSize(maxMessage))
	source.Connection = c.untimed
	source.ReconnectStrategy = once{}
	source.Headers["Accept-Encoding"] = "identity" // what compresses gathers
	if c.opts.Token != "" {
		source.Headers["Authorization"] = "Bearer " + c.opts.Token
	}
	if f.after != "" {
		source.LastEventID.Store([]byte(f.after))
	}
	source.ResponseValidator = func(_ *sse.Client, resp *http.Response) error {
		if err := isStream(resp); err != nil {
			resp.Body.Close() // the SSE client leaves it open
			return err
		}
		silence.Stop()
		resp.Body = &watched{ReadCloser: resp.Body, timer: silence, limit: c.opts.Silence}
		return nil
	}

	messages, ended := make(chan *sse.Event), make(chan error, 1)
	go func() {
		ended <- source.SubscribeRawWithContext(ctx, func(m *sse.Event) {
			if len(m.Data) == 0 {
				return // a comment
			}
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		})
	}()
	for {
		select {
		case m := <-messages:
			if err := f.message(ctx, m); err != nil {
				cancel(nil)
				<-ended
				return err
			}
		case err := <-ended:
			switch {
			case context.Cause(ctx) == errSilent:
				return fmt.Errorf("%w: %v", errSilent, c.opts.Silence)
			case err == nil:
				return io.EOF
			}
			return err
		}
	}
}

// isStream says why an answer is no event stream.
func isStream(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return refusedBy(resp)
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "text/event-stream" {
		return &answerError{status: resp.StatusCode, text: fmt.Sprintf("rampart: %s answers with %q and no event stream: is it a Rampart server's URL?", resp.Request.URL.Path, t)}
	}
	return nil
}

// watched is a body whose reads may not wait for longer than the limit. The
// time between them is the consumer's.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	limit time.Duration
	end   *strings.Reader // what follows the body
	err   error
}

// cutOff makes the id of a message that was cut off, which the SSE client hands
// out, none: what is left of "id: 01KD…" may be "id: 0". By itself it says nothing.
const cutOff = "\nid: -"

func (w *watched) Read(p []byte) (n int, err error) {
	if w.end == nil {
		w.timer.Reset(w.limit)
		defer w.timer.Stop()
		if n, err = w.ReadCloser.Read(p); err != nil {
			w.end, w.err = strings.NewReader(cutOff), err
		}
		return n, nil
	}
	if n, _ = w.end.Read(p); n > 0 {
		return n, nil
	}
	return 0, w.err
}

// message deals with one message of the stream.
func (f *follower) message(ctx context.Context, m *sse.Event) error {
	var v struct {
		Type  string          `json:"type"`
		Event json.RawMessage `json:"event"`
		RunID string          `json:"run_id"`
	}
	if json.Unmarshal(m.Data, &v) != nil {
		return errCutOff
	}
	switch EventType(v.Type) {
	case TypeConnected:
		return f.connected(string(m.ID))
	case TypeApprovals:
		return f.give(Event{Type: TypeApprovals})
	case TypeAudit:
		return f.audit(ctx, Record(v.Event))
	case TypeAuditBatch:
		return f.batch(ctx, string(m.ID), v.RunID)
	}
	return nil // of a later version
}

func (f *follower) give(e Event) error {
	f.bare = e.Type == TypeConnected
	if !f.yield(e, nil) {
		return errEnough
	}
	return nil
}

func (f *follower) connected(position string) error {
	if f.after == "" {
		id, hash, ok := frames.ParsePosition(position)
		if !ok {
			return errCutOff
		}
		f.after, f.id, f.hash = position, id, hash
		if id == "" {
			f.hash = string(ledger.ZeroHash[:])
		}
	}
	f.opened = true
	if !f.bare {
		f.resume = pauses{}
	}
	return f.give(Event{Type: TypeConnected, ID: f.after})
}

// audit deals with an event as it came over the stream.
func (f *follower) audit(ctx context.Context, line Record) error {
	var fields record.Fields
	if fault := ledger.CheckLine(line, &fields); fault != nil {
		return f.fault(VerdictTampered, "", fault.Expected, fault.Found)
	}
	switch id := string(fields.ID); {
	case id <= f.id: // a server that repeats where it resumes
		return nil
	case !f.follows(fields.PrevHash):
		return f.fetch(ctx, id, positionOf(&fields))
	}
	return f.accept(&fields, line)
}

func positionOf(fields *record.Fields) string {
	return string(frames.AppendPosition(nil, fields.ID, fields.Hash))
}

func (f *follower) follows(prev []byte) bool { return strings.HasPrefix(string(prev), f.hash) }

func (f *follower) accept(fields *record.Fields, line Record) error {
	f.id, f.hash, f.after = string(fields.ID), string(fields.Hash), positionOf(fields)
	return f.give(Event{Type: TypeAudit, ID: f.after, Record: line})
}

// batch deals with a message that stands for the events up to a position. Its
// run id is empty for an event without a run that was too long for a message,
// and when the server cannot go on from where this client was.
func (f *follower) batch(ctx context.Context, position, runID string) error {
	id, _, ok := frames.ParsePosition(position)
	if !ok {
		return errCutOff
	}
	if runID == "" || id <= f.id {
		if err := f.present(ctx, position); err != nil {
			return err
		}
	}
	if id <= f.id {
		return nil
	}
	return f.fetch(ctx, id, position)
}

// fetch asks for the events after the last one up to id, whose position is
// where to go on if they do not fit.
func (f *follower) fetch(ctx context.Context, id, position string) error {
	for line, err := range f.client.Query(ctx, Query{After: f.id, Before: following(id), Ascending: true}) {
		if err != nil {
			return err
		}
		var fields record.Fields
		if fault := ledger.CheckLine(line, &fields); fault != nil {
			return f.fault(VerdictTampered, position, fault.Expected, fault.Found)
		}
		if !f.follows(fields.PrevHash) {
			if err := f.present(ctx, position); err != nil {
				return err
			}
			return f.fault(VerdictMissing, position, "prev_hash "+f.hash, fmt.Sprintf("prev_hash %s in event %s", fields.PrevHash, fields.ID))
		}
		if err := f.accept(&fields, line); err != nil {
			return err
		}
	}
	if f.id < id {
		return f.fault(VerdictMissing, position, "event "+id+", which was announced", "none after "+f.id)
	}
	return nil
}

// present says why the last event that was seen is not on the server's log.
func (f *follower) present(ctx context.Context, position string) error {
	var seen Anchor
	switch {
	case f.id != "":
		seen = Anchor{ID: f.id, Hash: f.hash}
		line, err := f.client.Get(ctx, f.id)
		if err == nil && strings.HasPrefix(line.Hash(), f.hash) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	case f.hash == "":
		return nil
	}
	report, err := f.client.Verify(ctx, seen)
	switch {
	case err != nil:
		return err
	case !report.OK():
		return f.fault(report.Verdict, position, report.Fault.Expected, report.Fault.Found)
	case f.id == "" && report.Pruned.Records > 0:
		return f.fault(VerdictPruned, frames.Start, "the first event of a log that was empty", "a log that was pruned up to "+report.Pruned.LastID)
	}
	return nil // it is the last of those that were pruned
}

func (f *follower) fault(v Verdict, resume, expected, found string) error {
	return &WitnessError{Verdict: v, Seen: f.after, Resume: resume, Expected: expected, Found: found}
}

// following is the id right after id.
func following(id string) string {
	u := ulid.MustParseStrict(id)
	for i := len(u) - 1; i >= 0; i-- {
		if u[i]++; u[i] != 0 {
			break
		}
	}
	return u.String()
}
