package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// idle is how often the position is written while it only moves past events
// without alerts. After a crash these events are read again, which does no harm.
const idle = time.Second

// state is how far alerts have been delivered. It is kept in a file, unless path
// is empty.
type state struct {
	path   string
	broken *outage // while the file can't be written

	mu       sync.Mutex
	told     kept
	unsaved  bool
	lastSave time.Time
}

// kept is the content of the file.
type kept struct {
	Position  string   `json:"position"`            // the alerts of all events up to here were delivered; empty at first
	Approvals []string `json:"approvals,omitempty"` // ids of those that wait and whose alerts were delivered
}

// openState reads the file, and writes it back, so that a file that can't be
// written is an error at the start.
func openState(path string, broken *outage) (*state, error) {
	s := &state{path: path, broken: broken}
	if path == "" {
		return s, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("-state: %w", err)
	default:
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields() // a file with other members is another program's
		if d.Decode(&s.told) != nil {
			return nil, fmt.Errorf("-state: %s is not a monitor's state; give another file, or move it away to begin anew", path)
		}
	}
	if err := s.write(); err != nil {
		return nil, fmt.Errorf("-state: %w", err)
	}
	return s, nil
}

// delivered saves that the alerts of these entries were delivered.
func (s *state) delivered(entries ...entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if e.position != "" {
			s.told.Position = e.position
		}
		s.told.Approvals = append(s.told.Approvals, e.approvals...)
	}
	s.save()
}

// advance notes that the alerts of all events up to the position were delivered.
func (s *state) advance(position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if position == s.told.Position {
		return
	}
	s.told.Position, s.unsaved = position, true
	if time.Since(s.lastSave) >= idle {
		s.save()
	}
}

// forget drops the approvals that no longer wait.
func (s *state) forget(waits func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []string
	for _, id := range s.told.Approvals {
		if waits(id) {
			left = append(left, id)
		}
	}
	s.unsaved = s.unsaved || len(left) != len(s.told.Approvals)
	s.told.Approvals = left
}

// close saves what is unsaved.
func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved {
		s.save()
	}
}

// save writes the file. If it can't, it logs that, and the next change tries
// again.
func (s *state) save() {
	s.unsaved, s.lastSave = true, time.Now()
	if s.path == "" {
		return
	}
	if err := s.write(); err != nil {
		s.broken.failed(err.Error())
		return
	}
	s.unsaved = false
	s.broken.over()
}

// write replaces the whole file. After a power cut the former file may be back;
// alerts that it does not know of are then delivered again.
func (s *state) write() error {
	data, err := json.Marshal(s.told)
	if err != nil {
		return err
	}
	aside := s.path + ".tmp"
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(aside, s.path)
}
