package rampart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart/internal/vfs"
)

// AuditEvent is one tool call, as the host reports it and as the log keeps it.
type AuditEvent struct {
	ID         string          `json:"id"`        // given by the chain: a ULID, rising in log order
	Timestamp  time.Time       `json:"timestamp"` // of the call; the time of appending when zero
	Agent      string          `json:"agent"`     // required
	Session    string          `json:"session"`
	RunID      string          `json:"run_id,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Tool       string          `json:"tool"`    // required
	Request    json.RawMessage `json:"request"` // an object, kept byte for byte but for insignificant white space; {} when nil
	Decision   Decision        `json:"decision"`
	Response   *Response       `json:"response,omitempty"`
	Approval   json.RawMessage `json:"approval,omitempty"` // written by [Approvals] alone
	PrevHash   string          `json:"prev_hash"`          // given by the chain
	Hash       string          `json:"hash"`               // given by the chain
}

// Decision is what the host's policy said.
type Decision struct {
	Action           string   `json:"action"` // required, a lower-case word: allow, deny, watch, ask, …
	MatchedPolicies  []string `json:"matched_policies"`
	EvaluationTimeUS int64    `json:"evaluation_time_us"`
	Message          string   `json:"message,omitempty"`
	Suggestions      []string `json:"suggestions,omitempty"`
}

// Response is what came of the call.
type Response struct {
	ExitCode   *int     `json:"exit_code,omitempty"`
	DurationMS int64    `json:"duration_ms"`
	Flags      []string `json:"flags,omitempty"`
}

// SyncPolicy says when appended events are forced to the disk. What a crash of
// the process alone leaves behind is the same under all of them.
type SyncPolicy string

const (
	// SyncAlways makes events durable before Append returns and before anyone
	// sees them. A power cut loses nothing that was acknowledged.
	SyncAlways SyncPolicy = "always"
	// SyncInterval does so every [AuditOptions.SyncEvery]. A power cut may lose
	// events of that time that were acknowledged and seen; a disk that kept later
	// ones of them and lost earlier ones leaves a log that Open refuses.
	SyncInterval SyncPolicy = "interval"
	// SyncNever leaves it to the operating system, except when a segment is
	// full and at Close. A power cut may lose what was not written back, often
	// half a minute of events, and leave a log that Open refuses, as above.
	SyncNever SyncPolicy = "never"
)

// AuditOptions configures [OpenAuditChain]. Nil, and each zero value, is the
// documented default.
type AuditOptions struct {
	Bus       *EventBus     // told of each event once it is durable; none when nil
	Sync      SyncPolicy    // SyncAlways when empty
	SyncEvery time.Duration // for SyncInterval; 1 s when zero
	Logger    *slog.Logger  // nil discards

	fs          vfs.FS // in place of the directory; tests
	segmentSize int64  // tests
}

const (
	maxEvent    = 1 << 20  // bytes of a line
	maxAppend   = 64 << 20 // bytes in one AppendAll
	maxQueued   = 64 << 20 // bytes that wait for the committer
	maxWrite    = 8 << 20  // bytes after which a write takes no further request
	segmentSize = 16 << 20
)

// lineOverhead is what a line has around the part that its caller encodes.
const lineOverhead = len(`{"id":"",`) + 26 + len(`"prev_hash":"","hash":""}`) + 2*64

var zeroHash = func() (h [64]byte) {
	copy(h[:], bytes.Repeat([]byte("0"), len(h)))
	return h
}()

// AuditChain is an append-only log in a directory, in which each event carries
// the hash of the one before. All methods may be called concurrently.
type AuditChain struct {
	opts   AuditOptions
	fs     vfs.FS
	log    *slog.Logger
	unlock func() error

	queue queue
	tail  tail
	state state

	pruning sync.Mutex // held from what is to be pruned until that is in the state

	stopped  chan struct{}  // closed when the committer has ended
	sealing  sync.WaitGroup // sidecars on their way to the disk
	closing  sync.Once
	closeErr error

	appends histogram
	errors  counters
}

// Append makes e durable, links it to the log's head and returns it as stored.
//
// When it returns nil the event is on disk as [AuditOptions.Sync] says, and
// every subscriber of the bus will see it; concurrent appends share a sync.
// ctx limits the wait for a turn: once the event is being written, its outcome
// is waited for and reported whatever ctx says.
//
// ErrInvalid: e breaks a rule below, and nothing was stored. ErrFailed: the log
// takes no more events. ErrClosed. Any other error is of the write, such as a
// full disk: the event is not in the log and may be appended again.
//
// ID, Approval, PrevHash and Hash must be empty. Strings are UTF-8. Request is
// an object without duplicate member names, at most 64 levels deep. The whole
// event is at most 1 MiB in its stored form.
func (c *AuditChain) Append(ctx context.Context, e AuditEvent) (AuditEvent, error) {
	if e.Approval != nil {
		return AuditEvent{}, invalid(0, 1, approvalGiven)
	}
	r := new(request)
	r.event[0] = e
	r.op.events = r.event[:]
	if err := c.commitRequest(ctx, r); err != nil {
		return AuditEvent{}, err
	}
	return r.event[0], nil
}

const approvalGiven = "approval is written by the approvals queue alone"

// AppendAll appends events in one write: they follow one another in the log,
// and when it returns all are stored or none. A crash before that may leave the
// first of them. At most 65536 events and 64 MiB. For the rest it is
// [AuditChain.Append].
func (c *AuditChain) AppendAll(ctx context.Context, events []AuditEvent) ([]AuditEvent, error) {
	for i := range events {
		if events[i].Approval != nil {
			return nil, invalid(i, len(events), approvalGiven)
		}
	}
	return c.commit(ctx, op{events: events})
}

// op is one append on its way through the committer.
type op struct {
	events    []AuditEvent
	batch     bool                     // announce as one audit_batch in place of single audit messages
	runID     string                   // of the audit_batch
	sync      bool                     // make durable whatever the policy
	approvals bool                     // announce approvals after them
	apply     func(saved []AuditEvent) // called once durable, before anything is announced; must not block or append
}

// commit is AppendAll for the parts of this package: it does not refuse an
// approval member.
func (c *AuditChain) commit(ctx context.Context, o op) ([]AuditEvent, error) {
	o.events = slices.Clone(o.events)
	if err := c.commitRequest(ctx, &request{op: o}); err != nil {
		return nil, err
	}
	return o.events, nil
}

// commitRequest is commit for events that are the request's own.
func (c *AuditChain) commitRequest(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(r.op.events) == 0 {
		return nil
	}
	began := time.Now()
	if err := r.encode(); err != nil {
		return err
	}
	if c.queue.alone() {
		c.writeAlone(r)
	} else if err := c.await(ctx, r); err != nil {
		return err
	}
	if r.err == nil {
		c.appends.observe(time.Since(began).Seconds())
	}
	return r.err
}

// await has the committer write r.
func (c *AuditChain) await(ctx context.Context, r *request) error {
	r.done = make(chan struct{})
	if err := c.queue.push(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if c.queue.withdraw(r) {
			return ctx.Err()
		}
		<-r.done
	}
	return nil
}

func invalid(i, n int, format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	if n > 1 {
		return fmt.Errorf("%w: event %d: %s", ErrInvalid, i+1, s)
	}
	return fmt.Errorf("%w: %s", ErrInvalid, s)
}

// request is an op with what its caller could encode of it.
type request struct {
	op     op
	bodies [][]byte
	size   int
	done   chan struct{}
	err    error // set before done is closed

	// Of a single event, so that it takes one allocation.
	event [1]AuditEvent
	body  [1][]byte
}

// encode checks the request's events and encodes what does not depend on their
// place in the log.
func (r *request) encode() error {
	n := len(r.op.events)
	if n > maxBatch {
		return fmt.Errorf("%w: %d events in one append, at most %d are taken; append them in parts", ErrInvalid, n, maxBatch)
	}
	if r.bodies = r.body[:]; n > 1 {
		r.bodies = make([][]byte, n)
	}
	for i := range r.op.events {
		body, err := encode(&r.op.events[i])
		if err != nil {
			return invalid(i, n, "%v", err)
		}
		if line := len(body) + lineOverhead; line > maxEvent {
			return invalid(i, n, "%d bytes in its stored form, at most %d are taken; keep the large part elsewhere and record its digest", line, maxEvent)
		}
		r.bodies[i] = body
		r.size += len(body) + lineOverhead + 1
		if r.size > maxAppend {
			return fmt.Errorf("%w: more than %d bytes in one append; append them in parts", ErrInvalid, maxAppend)
		}
	}
	return nil
}

// encode checks e, fills in what it leaves open and returns its part of the line.
func encode(e *AuditEvent) ([]byte, error) {
	switch {
	case e.ID != "" || e.PrevHash != "" || e.Hash != "":
		return nil, fmt.Errorf("id, prev_hash and hash are given by the log; leave them empty")
	case e.Tool == "":
		return nil, fmt.Errorf("tool is required")
	case e.Agent == "":
		return nil, fmt.Errorf("agent is required")
	case !lowerWord(e.Decision.Action):
		return nil, fmt.Errorf("decision.action %.70q is not a lower-case word (a-z, 0-9, _ and -, 64 characters at most)", e.Decision.Action)
	case e.Decision.EvaluationTimeUS < 0:
		return nil, fmt.Errorf("decision.evaluation_time_us is negative")
	case e.Response != nil && e.Response.DurationMS < 0:
		return nil, fmt.Errorf("response.duration_ms is negative")
	}
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now()
	}
	e.Timestamp = e.Timestamp.Round(0).UTC()
	if y := e.Timestamp.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("timestamp has the year %d, RFC 3339 ends with 9999", y)
	}
	if e.Decision.MatchedPolicies == nil {
		e.Decision.MatchedPolicies = []string{}
	}
	ev := toRecord(e)
	body, request, err := ev.AppendBody(make([]byte, 0, 256+len(e.Request)+len(e.Decision.Message)))
	if err != nil {
		return nil, err
	}
	e.Request = request
	return body, nil
}

func lowerWord(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Err returns nil while the chain takes events, otherwise why it does not: an
// error that is ErrFailed or ErrClosed.
func (c *AuditChain) Err() error {
	if err := c.queue.err(); err != nil {
		return err
	}
	return c.state.failure()
}

// Close takes no further appends, finishes those admitted, makes the log
// durable and gives the directory free. Further calls return the same.
func (c *AuditChain) Close() error {
	c.closing.Do(func() {
		c.queue.close()
		<-c.stopped
		c.pruning.Lock() // until one under way has ended
		defer c.pruning.Unlock()
		c.sealing.Wait()
		c.closeErr = c.shut()
	})
	return c.closeErr
}
