//go:build linux

package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// subscriber reads the stream and checks everything that comes.
type subscriber struct {
	conn net.Conn
	in   *bufio.Reader
	data []byte // data of the message that is being read
	last string // id of the newest event read
}

// frame is an audit frame that the subscriber has read.
type frame struct {
	id   string
	read time.Time
}

func subscribe(conn net.Conn, addr string) (*subscriber, error) {
	conn.SetDeadline(time.Now().Add(hung))
	_, err := fmt.Fprintf(conn, "GET /v1/events/stream HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", addr, adminToken)
	if err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the stream: %s", res.Status)
	}
	s := &subscriber{conn: conn, in: bufio.NewReaderSize(res.Body, 64<<10)}
	// The connected frame comes first; every event after it is on the stream.
	data, err := s.message()
	if err != nil {
		return nil, err
	}
	if want := `{"type":"connected"}`; string(data) != want {
		return nil, fmt.Errorf("the stream begins with %s, want %s", data, want)
	}
	return s, nil
}

// message returns the data of the next message, valid until the following call.
func (s *subscriber) message() ([]byte, error) {
	for s.data = s.data[:0]; ; {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		switch {
		case bytes.HasPrefix(line, dataPrefix):
			s.data = append(s.data, line[len(dataPrefix):len(line)-1]...)
		case len(line) == 1 && len(s.data) > 0:
			return s.data, nil
		}
	}
}

var (
	dataPrefix = []byte("data: ")
	auditHead  = []byte(`{"type":"audit","event":{"id":"`)
	callMark   = []byte(callKey)
)

// read waits for n events, numbered from first on, and returns their frames by
// number. It fails unless each comes once, in the order of ids.
func (s *subscriber) read(first, n int) ([]frame, error) {
	frames := make([]frame, n)
	for left := n; left > 0; left-- {
		if s.in.Buffered() == 0 {
			s.conn.SetDeadline(time.Now().Add(hung))
		}
		data, err := s.message()
		if err != nil {
			return nil, fmt.Errorf("the stream, with %d of %d events yet to come: %w", left, n, err)
		}
		at := time.Now()
		rest, ok := bytes.CutPrefix(data, auditHead)
		_, call, found := bytes.Cut(rest, callMark)
		if !ok || !found || len(call) < digits {
			return nil, fmt.Errorf("a message that is no event of ours: %s", data)
		}
		id := string(rest[:26])
		if id <= s.last {
			return nil, fmt.Errorf("event %s came after %s", id, s.last)
		}
		s.last = id
		i, err := strconv.Atoi(string(call[:digits]))
		if err != nil {
			return nil, err
		}
		if i -= first; i < 0 || i >= n || frames[i].id != "" {
			return nil, fmt.Errorf("event %s came twice, or was never sent", id)
		}
		frames[i] = frame{id, at}
	}
	return frames, nil
}

// idsOf returns the ids in the answer to a POST.
func idsOf(answer []byte) ([]string, error) {
	var a struct{ IDs []string }
	err := json.Unmarshal(answer, &a)
	return a.IDs, err
}
