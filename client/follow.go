package client

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

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	frames "github.com/rampartlog/rampart/internal/sse"
)

// WitnessError ends [Client.Events]: what the server sends does not follow on
// what this client saw before. The log was rewritten or cut off, lacks events or
// is another one; or it was pruned beyond what this client saw, which by itself is
// no sign of tampering. The events up to Seen are evidence: keep them.
type WitnessError struct {
	// Verdict says what is wrong with the event that came, or with the server's
	// log: truncated when the last event seen is not on it, pruned when pruning
	// dropped that event.
	Verdict  rampart.Verdict
	Seen     string // position of the last event that follows
	Resume   string // position from which Events can go on nevertheless: "0" begins with all that the log has, "" with what comes next
	Expected string
	Found    string
}

func (e *WitnessError) Error() string {
	return fmt.Sprintf("rampart: the server's log is not the one seen up to %s: %s: expected %s, found %s", e.Seen, e.Verdict, e.Expected, e.Found)
}

// maxMessage bounds a message of the stream, in bytes. Rampart's have 60 KiB at
// most; this leaves room for servers that send an event of 1 MiB whole.
const maxMessage = 2 << 20

// Events yields what the server announces, as it happens: connected, audit and
// approvals messages. after is a position: "" begins with what comes once the
// connection stands, "0" with the first event of the log, and the ID of an
// [rampart.Event] with what comes after that event. The token must be the
// admin's.
//
// Every audit event after the position comes once and in log order, also across
// lost connections and restarts of the server, and however slow the consumer is.
// A message that stands for several events, such as that of a bulk resolution,
// or for one event that is too long for a message, is not yielded: its events
// are. Events checks the hash of each event, and that the event follows on the
// one before.
//
// When a connection ends, for whatever reason, Events opens another, for as long
// as ctx lasts. The pauses between tries are random and grow up to half a minute.
// Each connection begins with one connected message, whose ID is the position
// that it resumes from. An approvals message comes whenever the queue may have
// changed while connected, and once after each resumption: a consumer lists the
// approvals when it starts, and then at each of these messages.
//
// While there is no server, Events waits for one and tells the Logger. The error
// comes last and once: a [*WitnessError]; ErrUnauthorized; ErrInvalid for a
// malformed position; ctx's error once ctx is done. As long as no connection has
// ever stood, it is also the error of a server that has no such stream, or whose
// certificate is not valid.
func (c *Client) Events(ctx context.Context, after string) iter.Seq2[rampart.Event, error] {
	return func(yield func(rampart.Event, error) bool) {
		f := follower{client: c, yield: yield, after: after}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(rampart.Event{}, err)
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
	yield  func(rampart.Event, error) bool
	after  string // the position to go on from; empty until one is known
	id     string // of the event there; empty at the start of the log
	hash   string // of that event, or its first digits; empty where any event may follow
	opened bool   // a connection has stood
	retry  backoff

	// greetedOnly: the last connection ended soon after its connected message,
	// as when the server can't read its log. The pauses go on growing.
	greetedOnly bool
}

func (f *follower) run(ctx context.Context) error {
	if f.after != "" {
		var ok bool
		if f.id, f.hash, ok = frames.ParsePosition(f.after); !ok {
			return fmt.Errorf("%w: %q is no position: give \"\", \"0\" or the ID of an event", rampart.ErrInvalid, f.after)
		}
	}
	for {
		began := time.Now()
		err := f.connect(ctx)
		if time.Since(began) > maxPause {
			f.greetedOnly = false
		}
		var witness *WitnessError
		switch {
		case errors.Is(err, errEnough), errors.Is(err, rampart.ErrUnauthorized), errors.As(err, &witness):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !f.opened && !temporary(err):
			return err
		}
		err = f.retry.pause(ctx, err, func(d time.Duration) {
			f.client.log.Warn("the event stream was lost and is opened again", "error", err, "retry", d)
		})
		if err != nil {
			return err
		}
	}
}

// connect opens one connection and handles its messages until it ends. The error
// says why it ended.
func (f *follower) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := f.client.opts.Silence
	silence := time.AfterFunc(limit, func() { cancel(errSilent) })
	defer silence.Stop()

	messages, ended := receive(ctx, f.source(silence))
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
				return fmt.Errorf("%w: %v", errSilent, limit)
			case err == nil:
				return io.EOF
			}
			return err
		}
	}
}

// source returns an SSE client for one connection. silence runs while it waits
// for bytes.
func (f *follower) source(silence *time.Timer) *sse.Client {
	c := f.client
	s := sse.NewClient(c.url+"/v1/events/stream", sse.ClientMaxBufferSize(maxMessage))
	s.Connection = c.untimed
	s.ReconnectStrategy = oneTry{}
	s.Headers["Accept-Encoding"] = "identity" // a compressing proxy would buffer the stream
	if c.opts.Token != "" {
		s.Headers["Authorization"] = "Bearer " + c.opts.Token
	}
	if f.after != "" {
		s.LastEventID.Store([]byte(f.after))
	}
	s.ResponseValidator = func(_ *sse.Client, resp *http.Response) error {
		if err := isStream(resp); err != nil {
			resp.Body.Close() // the SSE client leaves it open
			return err
		}
		silence.Stop()
		resp.Body = &watched{ReadCloser: resp.Body, timer: silence, limit: c.opts.Silence}
		return nil
	}
	return s
}

// oneTry keeps the SSE client from reconnecting by itself: it would resume after
// a message that was cut off, try again what is refused for good, go on after
// ctx is done, and give up after 15 minutes.
type oneTry struct{}

func (oneTry) NextBackOff() time.Duration { return -1 }
func (oneTry) Reset()                     {}

// receive runs source in a goroutine, which ends with the connection or with
// ctx and then puts its error into ended. Comments are left out of messages.
func receive(ctx context.Context, source *sse.Client) (messages <-chan *sse.Event, ended <-chan error) {
	out, end := make(chan *sse.Event), make(chan error, 1)
	go func() {
		end <- source.SubscribeRawWithContext(ctx, func(m *sse.Event) {
			if len(m.Data) == 0 {
				return // the SSE client makes an empty message of a comment
			}
			select {
			case out <- m:
			case <-ctx.Done():
			}
		})
	}()
	return out, end
}

// isStream returns an error that says why, unless resp is an event stream.
func isStream(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return refusedBy(resp)
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "text/event-stream" {
		return &answerError{status: resp.StatusCode, text: fmt.Sprintf("rampart: %s answers with %q and no event stream: is it a Rampart server's URL?", resp.Request.URL.Path, t)}
	}
	return nil
}

// watched is a response body that fires timer when a read waits for longer than
// limit. The time between two reads is the consumer's, and does not count.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	limit time.Duration
	end   *strings.Reader // follows the body once that has ended
	err   error           // the body's, returned after end
}

// cutOff follows the body. The SSE client yields a message that was cut off, and
// half of "id: 01KD…" may read "id: 0", a valid position; this line makes the id
// invalid. After a whole message it means nothing.
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

// message handles one message of the stream.
func (f *follower) message(ctx context.Context, m *sse.Event) error {
	var v struct {
		Type  rampart.EventType `json:"type"`
		Event json.RawMessage   `json:"event"`
		RunID string            `json:"run_id"`
	}
	if json.Unmarshal(m.Data, &v) != nil {
		return errCutOff
	}
	switch v.Type {
	case rampart.TypeConnected:
		return f.connected(string(m.ID))
	case rampart.TypeApprovals:
		return f.give(rampart.Event{Type: rampart.TypeApprovals})
	case rampart.TypeAudit:
		return f.audit(ctx, rampart.Record(v.Event))
	case rampart.TypeAuditBatch:
		return f.batch(ctx, string(m.ID), v.RunID)
	}
	return nil // a type that a later version has added
}

// give yields e to the consumer.
func (f *follower) give(e rampart.Event) error {
	f.greetedOnly = e.Type == rampart.TypeConnected
	if !f.yield(e, nil) {
		return errEnough
	}
	return nil
}

// connected handles the greeting. Without a position to resume from, the
// follower takes the server's.
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
	if !f.greetedOnly {
		f.retry = backoff{}
	}
	return f.give(rampart.Event{Type: rampart.TypeConnected, ID: f.after})
}

// audit handles an event that came whole over the stream.
func (f *follower) audit(ctx context.Context, line rampart.Record) error {
	var fields record.Fields
	if fault := ledger.CheckLine(line, &fields); fault != nil {
		return f.fault(rampart.VerdictTampered, "", fault.Expected, fault.Found)
	}
	switch id := string(fields.ID); {
	case id <= f.id: // the server repeats the event that it resumes after
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

func (f *follower) accept(fields *record.Fields, line rampart.Record) error {
	f.id, f.hash, f.after = string(fields.ID), string(fields.Hash), positionOf(fields)
	return f.give(rampart.Event{Type: rampart.TypeAudit, ID: f.after, Record: line})
}

// batch handles a message that stands for the events up to position. Its run id
// is empty when it stands for an event that was too long for a message and has no
// run, and when the server cannot resume where this client was.
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

// fetch queries the events after the last one seen, up to the event with that id,
// and yields them. position is that event's: a WitnessError names it as Resume.
func (f *follower) fetch(ctx context.Context, id, position string) error {
	for line, err := range f.client.Query(ctx, rampart.Query{After: f.id, Before: following(id), Ascending: true}) {
		if err != nil {
			return err
		}
		var fields record.Fields
		if fault := ledger.CheckLine(line, &fields); fault != nil {
			return f.fault(rampart.VerdictTampered, position, fault.Expected, fault.Found)
		}
		if !f.follows(fields.PrevHash) {
			if err := f.present(ctx, position); err != nil {
				return err
			}
			return f.fault(rampart.VerdictMissing, position, "prev_hash "+f.hash, fmt.Sprintf("prev_hash %s in event %s", fields.PrevHash, fields.ID))
		}
		if err := f.accept(&fields, line); err != nil {
			return err
		}
	}
	if f.id < id {
		return f.fault(rampart.VerdictMissing, position, "event "+id+", which was announced", "none after "+f.id)
	}
	return nil
}

// present returns nil if the last event seen is on the server's log, or is the
// last that was pruned; otherwise a WitnessError that says what became of it.
func (f *follower) present(ctx context.Context, position string) error {
	var seen rampart.Anchor
	switch {
	case f.id != "":
		seen = rampart.Anchor{ID: f.id, Hash: f.hash}
		line, err := f.client.Get(ctx, f.id)
		if err == nil && strings.HasPrefix(line.Hash(), f.hash) {
			return nil
		}
		if err != nil && !errors.Is(err, rampart.ErrNotFound) {
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
		return f.fault(rampart.VerdictPruned, frames.Start, "the first event of a log that was empty", "a log that was pruned up to "+report.Pruned.LastID)
	}
	return nil // the last event seen is the last that was pruned
}

// fault returns the WitnessError for what follows the last event seen.
func (f *follower) fault(v rampart.Verdict, resume, expected, found string) error {
	return &WitnessError{Verdict: v, Seen: f.after, Resume: resume, Expected: expected, Found: found}
}

// following returns the smallest id that is greater than id.
func following(id string) string {
	u := ulid.MustParseStrict(id)
	for i := len(u) - 1; i >= 0; i-- {
		if u[i]++; u[i] != 0 {
			break
		}
	}
	return u.String()
}
