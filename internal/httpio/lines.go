package httpio

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/rampartlog/rampart/internal/failure"
)

// Lines writes stored lines as one answer. The answer begins with the first
// line: an error that comes before it still gets a status of its own.
type Lines struct {
	To          http.ResponseWriter
	Log         *slog.Logger
	ContentType string
	Before      string // written before the first line
	Between     string // written between two lines

	buf   *bufio.Writer // nil until the answer begins
	count int
}

// Count returns how many lines were written.
func (l *Lines) Count() int { return l.count }

// Line writes one line, which it does not keep. An error means that the client
// has left; it is the same for all later writes.
func (l *Lines) Line(line []byte) error {
	l.begin()
	if l.count > 0 {
		l.buf.WriteString(l.Between)
	}
	l.count++
	_, err := l.buf.Write(line)
	return err
}

func (l *Lines) begin() {
	if l.buf != nil {
		return
	}
	Headers(l.To, l.ContentType)
	l.To.WriteHeader(http.StatusOK)
	l.buf = bufio.NewWriterSize(l.To, 32<<10)
	l.buf.WriteString(l.Before)
}

// Fault returns err if the answer has not begun. Otherwise it breaks the answer
// off, by a panic with [http.ErrAbortHandler], so that nobody takes it for a
// whole one. A nil err is no fault.
func (l *Lines) Fault(err error) error {
	if err != nil && l.buf != nil {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, failure.ErrClosed) {
			l.Log.Error("an answer was broken off", "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// End writes after, and with it ends an answer that is whole. If the client does
// not take it, End breaks the answer off as [Lines.Fault] does.
func (l *Lines) End(after string) {
	l.begin()
	l.buf.WriteString(after)
	if l.buf.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}
