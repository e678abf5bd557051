//go:build linux

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart"
)

// chain is the hash chain that a Go programmer would write around a log library:
// marshal the event with an empty hash, take SHA-256 over the previous hash and
// that, and marshal again. All peers use it.
type chain struct {
	head string // hash of the newest event
}

// link gives e an id, links it to the head, and encodes it.
func (c *chain) link(e rampart.AuditEvent) ([]byte, error) {
	e.ID, e.PrevHash = ulid.Make().String(), c.head
	var err error
	if e.Hash, err = hashOf(e); err != nil {
		return nil, err
	}
	line, err := json.Marshal(&e)
	if err != nil {
		return nil, err
	}
	c.head = e.Hash
	return line, nil
}

func (c *chain) linkAll(es []rampart.AuditEvent) (lines [][]byte, err error) {
	lines = make([][]byte, len(es))
	for i, e := range es {
		if lines[i], err = c.link(e); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func hashOf(e rampart.AuditEvent) (string, error) {
	e.Hash = ""
	b, err := json.Marshal(&e)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte(e.PrevHash))
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// resume continues the chain after line, the newest line of the log, or nil if the
// log is empty.
func (c *chain) resume(line []byte) error {
	var e rampart.AuditEvent
	if line != nil {
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
	}
	c.head = e.Hash
	return nil
}

// follow checks that line links to the head and has the right hash, and makes it
// the head.
func (c *chain) follow(line []byte) error {
	var e rampart.AuditEvent
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	if e.PrevHash != c.head {
		return fmt.Errorf("event %s follows %q, not %q", e.ID, e.PrevHash, c.head)
	}
	want, err := hashOf(e)
	if err != nil {
		return err
	}
	if e.Hash != want {
		return fmt.Errorf("event %s is not what was written", e.ID)
	}
	c.head = e.Hash
	return nil
}
