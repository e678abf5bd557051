package e2e_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/r3labs/sse/v2"
	"github.com/rampartlog/rampart"
	"gopkg.in/cenkalti/backoff.v1"
)

// watcher looks at the stream in its own manner, and keeps a digest of what it saw.
type watcher struct {
	*world
	name   string
	filter rampart.Filter
	types  []string
	habit  habit
	by     func(*watcher)

	mu      sync.Mutex
	sights  []*sight // the last is under way
	opened  int
	changed chan struct{} // closed by the next event
}

// habit is what a watcher does besides reading; times are in rounds. It reads for a
// while, then stalls, creeps or is away, and reads on.
type habit struct {
	read  float64
	stall float64 // it takes nothing: after more than 30 s it is cut off
	creep float64 // it takes a message now and then: it falls behind what memory holds, and is not cut off
	away  float64 // it hangs up
	fresh bool    // it begins anew when it comes back
	all   bool    // it reads from the start of the log until it has caught up
	never bool    // it never reads
}

// plain reports whether it does nothing but read.
func (h habit) plain() bool { return h == habit{} }

// sight is what a watcher saw in one piece: all events after a position, up to the
// last, that its filter lets through.
type sight struct {
	after, first, last string // positions
	least              string // the sight is complete up to here at least
	events             int
	digest             digest
}

// watchersOf are all that look at one daemon.
func watchersOf(w *world) []*watcher {
	all := []*watcher{
		{name: "library", by: (*watcher).follow},
		{name: "library, stalls", by: (*watcher).follow, habit: habit{read: 0.3, stall: 0.8}},
		{name: "raw", by: (*watcher).read},
		{name: "raw, denied or asked", by: (*watcher).read, filter: rampart.Filter{Action: []string{"deny", "ask"}}},
		{name: "raw, two agents", by: (*watcher).read, filter: rampart.Filter{Agent: []string{"single-1", "files"}}},
		{name: "raw, answers to one", by: (*watcher).read, filter: rampart.Filter{Agent: []string{askerName(0)}, Action: []string{"approved", "denied", "expired"}}},
		{name: "raw, no approvals", by: (*watcher).read, types: []string{string(rampart.TypeAudit), string(rampart.TypeAuditBatch)}},
		{name: "r3labs", by: (*watcher).listen},
		{name: "stalls, reads on", by: (*watcher).read, habit: habit{read: 0.1, stall: 0.25}},
		{name: "stalls, is cut off", by: (*watcher).read, habit: habit{read: 0.1, stall: 0.9}},
		{name: "creeps", by: (*watcher).read, habit: habit{read: 0.2, creep: 1}},
		{name: "comes and goes", by: (*watcher).read, habit: habit{read: 0.1, away: 0.15}},
		{name: "guest 1", by: (*watcher).read, habit: habit{read: 0.04, away: 0.02, fresh: true}},
		{name: "guest 2", by: (*watcher).read, habit: habit{read: 0.02, away: 0.02, fresh: true}},
		{name: "reads all", by: (*watcher).read, habit: habit{away: 0.4, fresh: true, all: true}},
		{name: "never reads 1", by: (*watcher).ignore, habit: habit{never: true}},
		{name: "never reads 2", by: (*watcher).ignore, habit: habit{never: true}},
	}
	for _, x := range all {
		x.world, x.changed = w, make(chan struct{})
		x.begin()
	}
	return all
}

func (x *watcher) begin() {
	s := &sight{}
	if x.habit.all {
		s.after = "0"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sights = append(x.sights, s)
}

// seen is what each watcher saw last, by its name.
func (w *world) seen() map[string]string {
	seen := make(map[string]string)
	for _, x := range w.watchers {
		x.mu.Lock()
		if last := x.current().last; last != "" {
			seen[x.name] = last
		}
		x.mu.Unlock()
	}
	return seen
}

func (w *world) newest() (position string) {
	for _, p := range w.seen() {
		position = max(position, p)
	}
	return position
}

func (x *watcher) current() *sight { return x.sights[len(x.sights)-1] }

// position is where to resume: after the last event.
func (x *watcher) position() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.current()
	return cmp.Or(s.last, s.after)
}

func positionOf(line []byte) string {
	return rampart.Record(line).ID() + "." + rampart.Record(line).Hash()[:16]
}

// connected notes the position from which a stream says that it goes on.
func (x *watcher) connected(position string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.opened++
	s := x.current()
	want := cmp.Or(s.last, s.after)
	if want == "" {
		s.after = position
	} else if position != want {
		x.fail("%s resumed after %s, and the stream goes on from %q", x.name, want, position)
	}
	close(x.changed)
	x.changed = make(chan struct{})
}

// saw takes in an event.
func (x *watcher) saw(line []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.current()
	position := positionOf(line)
	if position <= s.last {
		x.fail("%s: %s came after %s", x.name, position, s.last)
	}
	if s.first == "" {
		s.first = position
	}
	s.last = position
	s.events++
	s.digest.add(line)
	close(x.changed)
	x.changed = make(chan struct{})
}

// until waits until cond holds of the sight under way and of how often a stream was opened.
func (x *watcher) until(what string, cond func(s *sight, opened int) bool) {
	limit := time.NewTimer(2 * patience)
	defer limit.Stop()
	for {
		x.mu.Lock()
		ok, changed := cond(x.current(), x.opened), x.changed
		x.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-x.watching.Done():
			return
		case <-limit.C:
			x.fail("%s %s: never; it is at %s", x.name, what, x.position())
			return
		}
	}
}

// follow is watching by the library's client.
func (x *watcher) follow() {
	turn := x.in(x.habit.read)
	for e, err := range x.client(x.key).Events(x.watching, "") {
		switch {
		case x.watching.Err() != nil:
			return
		case err != nil:
			x.fail("%s: %v", x.name, err)
			return
		case e.Type == rampart.TypeConnected:
			x.connected(e.ID)
		case e.Type == rampart.TypeAudit:
			if e.ID != positionOf(e.Record) {
				x.fail("%s: position %s of %s", x.name, e.ID, e.Record)
			}
			x.saw(e.Record)
		case e.Type != rampart.TypeApprovals:
			x.fail("%s: message %s", x.name, e.Type)
		}
		if x.habit.stall > 0 && turn() {
			x.rest(x.habit.stall)
			x.tally.add("stalls", 1)
			turn = x.in(x.habit.read)
		}
	}
}

// listen is watching by r3labs/sse, as docs/stream.md says that it is used.
func (x *watcher) listen() {
	c := sse.NewClient(x.base + streamPath)
	c.Connection = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c.Headers["Authorization"] = "Bearer " + x.key
	for x.watching.Err() == nil {
		tries := backoff.NewExponentialBackOff()
		tries.InitialInterval, tries.MaxElapsedTime = 100*time.Millisecond, 0
		c.ReconnectStrategy = backoff.WithContext(tries, x.watching)
		c.SubscribeRawWithContext(x.watching, func(m *sse.Event) {
			line, audit := auditLine(m.Data)
			switch {
			case !json.Valid(m.Data) || audit && string(m.ID) != positionOf(line):
				return // the message was cut off, in its data or in its id: it comes again
			case bytes.HasPrefix(m.Data, []byte(`{"type":"connected"`)) && x.position() != "":
				// The client may hold an id that was cut off, after which no server can resume.
				m.ID = []byte(x.position())
			}
			x.insist(x.name, func() error {
				_, err := x.message(m.Data, string(m.ID))
				return err
			})
		})
	}
}

// read is watching with net/http and Last-Event-ID.
func (x *watcher) read() {
	for first := true; x.watching.Err() == nil && (first || !x.habit.fresh || x.load.Err() == nil); first = false {
		life := x.await()
		err := x.connection()
		switch {
		case errors.Is(err, errBadFrame) || errors.Is(err, bufio.ErrBufferFull):
			x.fail("%s: %v", x.name, err)
			return
		case errors.Is(err, errGone) || x.habit.fresh:
			x.tally.add("visits", 1)
			x.rest(x.habit.away)
			if x.habit.fresh {
				x.begin()
			}
		case x.habit.plain() && !x.ended(life):
			x.fail("%s was cut off: %v", x.name, err)
			return
		}
	}
}

// errGone: the watcher hung up.
var errGone = errors.New("gone")

// connection reads one stream until it ends, and says why.
func (x *watcher) connection() error {
	ctx, hangUp := context.WithCancel(x.watching)
	defer hangUp()
	least := x.newest()
	query := url.Values{"agent": x.filter.Agent, "action": x.filter.Action, "type": x.types}
	req, err := http.NewRequestWithContext(ctx, "GET", x.base+streamPath+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+x.key)
	if position := x.position(); position != "" {
		req.Header.Set("Last-Event-ID", position)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialSmall}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	turn, creeping := x.in(x.habit.read), false
	return eachFrame(resp.Body, func(data []byte, id string) error {
		resumed, err := x.message(data, id)
		switch {
		case err != nil:
			return err
		case x.habit.all:
			if resumed {
				x.current().least = least
				return errGone
			}
			return nil
		case x.habit.plain() || x.load.Err() != nil && !x.habit.fresh:
			return nil
		case !turn():
			if creeping {
				x.rest(0.001)
			}
			return nil
		case x.habit.away > 0:
			return errGone
		case x.habit.stall > 0:
			x.rest(x.habit.stall)
			x.tally.add("stalls", 1)
			turn = x.in(x.habit.read)
		case creeping:
			x.tally.add("creeps", 1)
			turn, creeping = x.in(x.habit.read), false
		default:
			turn, creeping = x.in(x.habit.creep), true
		}
		return nil
	})
}

// dialSmall has the kernel take in little, so that the daemon soon waits for a
// watcher that does not read.
func dialSmall(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		err = c.(*net.TCPConn).SetReadBuffer(32 << 10)
	}
	return c, err
}

// eachFrame parses a stream strictly. It leaves out a frame that is cut off.
func eachFrame(body interface{ Read([]byte) (int, error) }, do func(data []byte, id string) error) error {
	r := bufio.NewReaderSize(body, 60<<10) // the longest frame
	var data []byte
	id := ""
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("data: ")) && data == nil:
			data = bytes.Clone(line[len("data: ") : len(line)-1])
		case bytes.HasPrefix(line, []byte("id: ")) && data != nil && id == "":
			id = string(line[len("id: ") : len(line)-1])
		case len(line) == 1 && data != nil:
			if err := do(data, id); err != nil {
				return err
			}
			data, id = nil, ""
		case len(line) == 1, bytes.HasPrefix(line, []byte(": ")):
		default:
			return fmt.Errorf("%w: line %.100q", errBadFrame, line)
		}
	}
}

var errBadFrame = errors.New("not a frame of the stream")

// auditLine is the stored line in an audit message.
func auditLine(data []byte) (line []byte, ok bool) {
	line, ok = bytes.CutPrefix(data, []byte(`{"type":"audit","event":`))
	if !ok {
		return nil, false
	}
	return bytes.CutSuffix(line, []byte("}"))
}

// message takes in one message, and reports whether it is the one that follows a replay.
func (x *watcher) message(data []byte, id string) (resumed bool, err error) {
	if line, ok := auditLine(data); ok {
		if id != positionOf(line) {
			x.fail("%s: position %s of %s", x.name, id, line)
		}
		x.saw(line)
		return false, nil
	}
	var m struct {
		Type  rampart.EventType
		RunID string `json:"run_id"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return false, err
	}
	switch rampart.EventType(m.Type) {
	case rampart.TypeConnected:
		x.connected(id)
	case rampart.TypeApprovals:
		return true, nil
	case rampart.TypeAuditBatch:
		return false, x.fetch(id)
	default:
		x.fail("%s: message %s", x.name, data)
	}
	return false, nil
}

// fetch queries the events that a message stands for: all that are new, up to a
// position.
func (x *watcher) fetch(position string) error {
	last, _, _ := strings.Cut(position, ".")
	q := rampart.Query{Filter: x.filter, Ascending: true, Before: following(last)}
	if after := x.position(); after != "0" {
		q.After, _, _ = strings.Cut(after, ".")
	}
	for line, err := range x.admin.Query(x.watching, q) {
		if err != nil {
			return err
		}
		x.saw(line)
	}
	return nil
}

// following is the id right after id.
func following(id string) string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	b := []byte(id)
	for i := len(b) - 1; i >= 0; i-- {
		if n := strings.IndexByte(digits, b[i]) + 1; n < len(digits) {
			b[i] = digits[n]
			break
		}
		b[i] = digits[0]
	}
	return string(b)
}

// ignore opens a stream and never reads from it.
func (x *watcher) ignore() {
	for first := true; first || x.load.Err() == nil; first = false {
		x.await()
		if c, err := dialSmall(x.watching, "tcp", strings.TrimPrefix(x.base, "http://")); err == nil {
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", streamPath, x.key)
			x.rest(1.1)
			c.Close()
		}
	}
}
