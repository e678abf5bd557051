// What the readers of kill_test.go were told, to keep cases 1 and 11 of docs/durability.md.

package rampart_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
)

// sighting is what one reader was told, over all its connections.
type sighting struct {
	name  string
	after string // the position to resume from; empty before the first connection of a live one
	slow  bool   // it takes a message only when somebody was told of an event
	until string // the event after which it stops

	messages []sight
	position int // of the reader's next event in the log; negative until that is known
	checked  int // messages
}

// sight is one message: an event, or an audit_batch that stands for several.
type sight struct {
	typ             rampart.EventType
	id, runID, line string
}

func (s *sighting) add(typ rampart.EventType, id, runID, line string) {
	s.messages = append(s.messages, sight{typ, id, runID, line})
	s.after = id
}

// read follows the stream at address until that is cut off, or the reader has seen
// until.
func (s *sighting) read(t *testing.T, address string, turns <-chan struct{}) {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && s.slow {
			err = c.(*net.TCPConn).SetReadBuffer(128 << 10)
		}
		return c, err
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/v1/events/stream", nil)
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if s.after != "" {
		req.Header.Set("Last-Event-ID", s.after)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DialContext: dial}).RoundTrip(req)
	if err != nil {
		return // the process was killed
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("stream %q: %s", s.name, resp.Status)
		return
	}
	var data, id string
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // a message that was cut off was not seen
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data = text
		} else if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = strings.TrimSuffix(text, "\n")
		}
		if line != "\n" || data == "" {
			continue
		}
		if s.slow {
			<-turns
		}
		var m struct {
			Type  rampart.EventType
			Event json.RawMessage
			RunID string `json:"run_id"`
		}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Errorf("stream %q: %v in %s", s.name, err, data)
			return
		}
		switch {
		case m.Type == rampart.TypeConnected && s.after != "" && id != s.after:
			t.Errorf("stream %q goes on from %s, not from %s", s.name, id, s.after)
		case m.Type == rampart.TypeConnected:
			if s.after == "" {
				s.messages = append(s.messages, sight{typ: m.Type, id: id})
				s.after = id
			}
		case m.Type != rampart.TypeApprovals:
			s.add(m.Type, id, m.RunID, string(m.Event))
		}
		if s.until != "" && strings.HasPrefix(s.after, s.until) {
			return
		}
		data, id = "", ""
	}
}

// check wants the messages to be the log's events from where the reader began:
// none missing, none twice, each with its bytes and its position. It returns
// anchors for the messages that came since the last check.
func (s *sighting) check(k *killer, log []string) (anchors []rampart.Anchor) {
	k.t.Helper()
	for _, m := range s.messages[s.checked:] {
		id, hash, _ := strings.Cut(m.id, ".")
		if s.position < 0 {
			s.begin(m, id, log)
		}
		n := 0
		switch {
		case m.typ == rampart.TypeConnected:
		case m.typ == rampart.TypeAudit:
			n = 1
			if s.position < len(log) && log[s.position] != m.line {
				k.t.Fatalf("%s: %q saw\n%.500s\nwhere the log has\n%.500s", k.where, s.name, m.line, log[s.position])
			}
		default:
			for s.position+n < len(log) && rampart.Record(log[s.position+n]).ID() <= id {
				line := log[s.position+n]
				n++
				e, err := rampart.Record(line).Event()
				if err != nil || m.runID != e.RunID || (m.runID == "") != (len(line) > 60<<10) {
					k.t.Fatalf("%s: %q: %+v stands for %.500s (%v)", k.where, s.name, m, line, err)
				}
			}
			if n == 0 || m.runID == "" && n > 1 {
				k.t.Fatalf("%s: %q: %+v stands for %d events", k.where, s.name, m, n)
			}
		}
		if s.position += n; s.position > len(log) {
			k.t.Fatalf("%s: %q saw %+v, which is not on the log", k.where, s.name, m)
		}
		if n > 0 {
			if last := rampart.Record(log[s.position-1]); last.ID() != id || last.Hash()[:16] != hash {
				k.t.Fatalf("%s: %q saw %+v where the log has %.500s", k.where, s.name, m, last)
			}
			anchors = append(anchors, rampart.Anchor{ID: id, Hash: hash})
		}
		s.checked++
	}
	return anchors
}

// begin finds the place of a live reader's first message.
func (s *sighting) begin(m sight, id string, log []string) {
	s.position = 0
	if id != "0" {
		s.position = 1 + slices.IndexFunc(log, func(line string) bool { return rampart.Record(line).ID() == id })
	}
	if m.typ == rampart.TypeAudit {
		s.position--
	}
}
