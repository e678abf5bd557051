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
// that are no alerts: to read them again after a crash costs nothing else.
const idle = time.Second

// state is what has been told, kept in a file unless its path is empty.
type state struct {
	path   string
	broken *outage // of writing it

	mu       sync.Mutex
	told     kept
	unsaved  bool
	lastSave time.Time
}

// kept is what the file holds.
type kept struct {
	Position  string   `json:"position"`            // up to here everything was told; empty when nothing is known
	Approvals []string `json:"approvals,omitempty"` // that wait and were told of
}

// openState reads the file, and writes it, so that what can't be written is
// known at once.
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
		d.DisallowUnknownFields() // somebody else's file
		if d.Decode(&s.told) != nil {
			return nil, fmt.Errorf("-state: %s is not a monitor's state; give another file, or move it away to begin anew", path)
		}
	}
	if err := s.write(); err != nil {
		return nil, fmt.Errorf("-state: %w", err)
	}
	return s, nil
}

// delivered notes what was told, before it returns.
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

// advance notes that everything up to the position was told.
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

// forget drops the approvals that wait no longer.
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

// close writes what is left to write.
func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved {
		s.save()
	}
}

// save writes the file or says that it can't; the next change tries again.
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

// write replaces the file as a whole. A power cut may bring the one before
// back, and with it alerts that were told already.
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
