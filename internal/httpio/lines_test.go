package httpio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/httpio"
)

// aborts reports whether fn breaks an answer off.
func aborts(fn func()) (broken bool) {
	defer func() { broken = recover() == http.ErrAbortHandler }()
	fn()
	return false
}

func TestLines(t *testing.T) {
	for want, lines := range map[string][]string{`[]`: nil, `[1]`: {"1"}, `[1,2,3]`: {"1", "2", "3"}} {
		rec := httptest.NewRecorder()
		l := &httpio.Lines{To: rec, ContentType: "text/x", Before: "[", Between: ","}
		for i, s := range lines {
			if err := l.Line([]byte(s)); err != nil || l.Count() != i+1 {
				t.Errorf("%d lines, %v", l.Count(), err)
			}
		}
		if err := l.Fault(nil); err != nil {
			t.Error(err)
		}
		if l.End("]"); rec.Code != 200 || rec.Body.String() != want || rec.Header().Get("Content-Type") != "text/x" || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v %s, want %s", rec.Code, rec.Header(), rec.Body, want)
		}
	}
}

// Before its first line an answer may still be another one.
func TestLinesFaultBeforeTheAnswer(t *testing.T) {
	rec, bad := httptest.NewRecorder(), errors.New("bad")
	l := &httpio.Lines{To: rec, Before: "["}
	if err := l.Fault(bad); err != bad || len(rec.Header()) > 0 || rec.Body.Len() > 0 {
		t.Errorf("%v, %v %s", err, rec.Header(), rec.Body)
	}
}

// After it the answer is broken off, and the log says why unless the client or
// the host wanted it.
func TestLinesFaultWithinTheAnswer(t *testing.T) {
	for _, c := range []struct {
		err    error
		logged bool
	}{{errors.New("disk on fire"), true}, {fmt.Errorf("x: %w", context.Canceled), false}, {fmt.Errorf("x: %w", failure.ErrClosed), false}} {
		var log bytes.Buffer
		l := &httpio.Lines{To: httptest.NewRecorder(), Log: slog.New(slog.NewTextHandler(&log, nil))}
		if err := l.Line([]byte("1")); err != nil {
			t.Fatal(err)
		}
		if !aborts(func() { l.Fault(c.err) }) {
			t.Errorf("%v: the answer goes on", c.err)
		}
		if strings.Contains(log.String(), c.err.Error()) != c.logged {
			t.Errorf("%v: logged %q", c.err, &log)
		}
	}
}

// gone is a client that has left.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestLinesOfAClientThatLeft(t *testing.T) {
	l := &httpio.Lines{To: gone{httptest.NewRecorder()}}
	long := bytes.Repeat([]byte("x"), 64<<10)
	if err := l.Line(long); err == nil {
		t.Error("the first line was taken")
	}
	if err := l.Line([]byte("x")); err == nil {
		t.Error("the second line was taken")
	}
	if !aborts(func() { l.End("") }) {
		t.Error("the answer was whole")
	}
}
