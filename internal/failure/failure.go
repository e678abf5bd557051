// Package failure holds the errors that cross the walls between packages.
// Package rampart hands them out under its own names, and documents them there.
package failure

import (
	"errors"
	"fmt"
	"strings"
)

var (
	ErrClosed   = errors.New("rampart: closed")
	ErrFailed   = errors.New("rampart: audit log failed")
	ErrInvalid  = errors.New("rampart: invalid")
	ErrLocked   = errors.New("rampart: locked")
	ErrLagged   = errors.New("rampart: lagged")
	ErrLimit    = errors.New("rampart: limit reached")
	ErrNotFound = errors.New("rampart: not found")
)

// CorruptError has the fields of rampart.CorruptError, which is made of it.
type CorruptError struct {
	Segment  string
	Line     int
	Offset   int64
	ID       string
	Expected string
	Found    string
}

func (e *CorruptError) Error() string {
	s := "rampart: corrupt log:"
	if e.Segment != "" {
		s += " " + e.Segment
	}
	if e.Line > 0 {
		s += fmt.Sprintf(" line %d", e.Line)
	}
	if e.Offset > 0 {
		s += fmt.Sprintf(" (byte %d)", e.Offset)
	}
	if e.ID != "" {
		s += " event " + e.ID
	}
	return strings.TrimSuffix(s, ":") + ": expected " + e.Expected + ", found " + e.Found
}

// At sets the place of the fault and returns e.
func (e *CorruptError) At(segment string, line int, offset int64) *CorruptError {
	e.Segment, e.Line, e.Offset = segment, line, offset
	return e
}
