// Package failure holds the errors that cross package boundaries; package rampart hands them out under its own names.
package failure

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart with [errors.Is]. Every error of the package
// wraps at most one of them and says beside it what happened and what to do.
var (
	// ErrClosed: the part was closed before the call.
	ErrClosed = errors.New("rampart: closed")
	// ErrFailed: the log could not be made durable and takes no more events
	// until it is opened again.
	ErrFailed = errors.New("rampart: audit log failed")
	// ErrInvalid: the caller's input was refused; nothing of it was stored.
	ErrInvalid = errors.New("rampart: invalid")
	// ErrLocked: another process, or another chain of this one, has the log open.
	ErrLocked = errors.New("rampart: locked")
	// ErrLagged: a subscriber fell behind what is kept for it: memory, of a bus
	// without a chain; the log, when that was pruned.
	ErrLagged = errors.New("rampart: lagged")
	// ErrLimit: a configured bound was reached: subscribers, or pending approvals.
	ErrLimit = errors.New("rampart: limit reached")
	// ErrNotFound: no event or approval has that id.
	ErrNotFound = errors.New("rampart: not found")
	// ErrNotPending: the approval was resolved or has expired.
	ErrNotPending = errors.New("rampart: not pending")
	// ErrRefused: a gate did not let a call through.
	ErrRefused = errors.New("rampart: refused")
	// ErrUnauthorized: the server takes no such token, or it does not reach this.
	ErrUnauthorized = errors.New("rampart: unauthorized")
)

// CorruptError says that the log holds something that was never written by a
// chain, at which place, and what was expected there. The files are untouched.
type CorruptError struct {
	Segment  string // file name within the log's directory; empty of an anchor that is not on the log
	Line     int    // from 1; 0 when the fault is not in a line
	Offset   int64  // of the line in the segment, in bytes; 0 too where a reader that looked for the line does not know it
	ID       string // of the line, where one can be read
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
