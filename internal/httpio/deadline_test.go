package httpio_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart/internal/httpio"
)

// limited has deadlines, as the server's own writers do.
type limited struct {
	*httptest.ResponseRecorder
	read, write time.Time
}

func (l *limited) SetReadDeadline(t time.Time) error  { l.read = t; return nil }
func (l *limited) SetWriteDeadline(t time.Time) error { l.write = t; return nil }

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later := time.Now().Add(time.Hour)
		w := &limited{httptest.NewRecorder(), later, later}
		body := func() *http.Request { return httptest.NewRequest("POST", "/", strings.NewReader("{}")) }

		httpio.NewDeadlineWriter(w, httptest.NewRequest("GET", "/", nil))
		if !w.read.IsZero() || !w.write.Equal(later) {
			t.Errorf("without a body: %v, %v", w.read, w.write)
		}
		d := httpio.NewDeadlineWriter(w, body())
		if !w.read.Equal(time.Now().Add(5 * time.Second)) {
			t.Errorf("with a body: %v", w.read)
		}
		if _, err := httpio.ReadBody(d, body(), 10); err != nil || !w.read.IsZero() {
			t.Errorf("a body that was read: %v, %v", w.read, err)
		}
		for range 2 {
			time.Sleep(time.Minute)
			if _, err := d.Write([]byte("x")); err != nil || !w.write.Equal(time.Now().Add(30*time.Second)) {
				t.Errorf("a write: %v, %v", w.write, err)
			}
		}
		// The deadline of an answer before it would reset a stream of HTTP/2.
		r := body()
		r.ProtoMajor = 2
		if httpio.NewDeadlineWriter(w, r); !w.write.IsZero() {
			t.Errorf("over HTTP/2: %v", w.write)
		}
	})
}
