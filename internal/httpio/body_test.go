package httpio_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/httpio"
)

// post is a request with header name, value pairs.
func post(body io.Reader, header ...string) *http.Request {
	r := httptest.NewRequest("POST", "/", body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// code is the status of an error, or 200.
func code(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 200
	}
	var refused *httpio.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%#v is no httpio.Error", err)
	}
	return refused.Code
}

func TestMediaType(t *testing.T) {
	for given, want := range map[string]string{
		"application/json": "application/json", "Application/JSON; charset=utf-8": "application/json", "": "", "application/json; charset": "", "/": "",
	} {
		if got := httpio.MediaType(post(nil, "Content-Type", given)); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestReadBody(t *testing.T) {
	unsized := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) }
	for name, c := range map[string]struct {
		r    *http.Request
		code int
		left int // of the body, unread
	}{
		"none":                            {post(nil), 200, 0},
		"at the limit":                    {post(strings.NewReader("0123456789")), 200, 0},
		"not encoded":                     {post(strings.NewReader("x"), "Content-Encoding", "Identity"), 200, 0},
		"encoded":                         {post(strings.NewReader("x"), "Content-Encoding", "gzip"), 415, 1},
		"a little too long, and taken in": {post(unsized(15)), 413, 0},
		"much too long":                   {post(unsized(100)), 413, 100 - 11 - 10},
		"much too long, and said so":      {post(strings.NewReader(strings.Repeat("x", 21))), 413, 21},
		"too long, and not sent yet":      {post(strings.NewReader(strings.Repeat("x", 11)), "Expect", "100-continue"), 413, 11},
		"cut off":                         {post(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF))), 400, 0},
	} {
		body := c.r.Body
		data, err := httpio.ReadBody(httptest.NewRecorder(), c.r, 10)
		if got := code(t, err); got != c.code || err != nil && data != nil {
			t.Errorf("%s: %q, %v, want %d", name, data, err, c.code)
		}
		if rest, _ := io.ReadAll(body); len(rest) != c.left {
			t.Errorf("%s: %d bytes were left unread, want %d", name, len(rest), c.left)
		}
	}
	if data, err := httpio.ReadBody(httptest.NewRecorder(), post(strings.NewReader("0123456789")), 10); string(data) != "0123456789" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestReadObject(t *testing.T) {
	const kind = "application/json"
	for body, c := range map[string]struct {
		kind string
		code int
	}{
		`{"s":"x"}`:  {kind + "; charset=utf-8", 200},
		`{"s":"x" }`: {"text/plain", 415},
		`{ "s":"x"}`: {"", 415},
		`{"s":7}`:    {kind, 400},
		`{"s":"x"`:   {kind, 400},
		`{"s":"` + strings.Repeat("x", httpio.MaxObject) + `"}`: {kind, 413},
	} {
		var s string
		err := httpio.ReadObject(httptest.NewRecorder(), post(strings.NewReader(body), "Content-Type", c.kind), map[string]any{"s": &s})
		if got := code(t, err); got != c.code || err == nil && s != "x" {
			t.Errorf("%.20s as %q: %v, %q, want %d", body, c.kind, err, s, c.code)
		}
	}
}

// One credential holds 64 MiB at most, and what it holds ends with its answer.
func TestBodies(t *testing.T) {
	var bodies httpio.Bodies
	read := func(name string, n int) (release func(), err error) {
		r, release := bodies.Hold(post(strings.NewReader(strings.Repeat("\n", n))), name)
		_, err = httpio.ReadBody(httptest.NewRecorder(), r, httpio.MaxLines)
		return release, err
	}
	const most = httpio.MaxLines
	first, err := read("a", most)
	if err != nil {
		t.Fatal(err)
	}
	second, err := read("a", most)
	if err != nil {
		t.Fatal(err)
	}
	third, err := read("a", 1)
	if !errors.Is(err, failure.ErrLimit) {
		t.Errorf("a byte beyond the limit: %v", err)
	}
	if release, err := read("b", most); err != nil {
		t.Errorf("of another credential: %v", err)
	} else {
		release()
	}
	third()
	first()
	if release, err := read("a", most); err != nil {
		t.Errorf("once one was answered: %v", err)
	} else {
		release()
	}
	second()
	// What is taken in of a body beyond its limit is not held.
	if release, err := read("a", 2*most); code(t, err) != 413 {
		t.Errorf("a body that is too large: %v", err)
	} else {
		defer release()
	}
	if release, err := read("a", most-1); err != nil {
		t.Errorf("beside a body that was refused: %v", err)
	} else {
		release()
	}
}
