package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// watcher reads one stream as the bytes come.
type watcher struct {
	t      *testing.T
	resp   *http.Response
	frames chan frame
	err    error // how the body ended, once frames is closed
}

// frame is one frame of the stream, up to a blank line.
type frame struct {
	raw   string // with its newlines, the blank line included
	data  string
	id    string
	Type  string          `json:"type"`
	Event json.RawMessage `json:"event"`
	RunID *string         `json:"run_id"`
}

// watch opens a stream with the admin token and reads its connected frame.
func (d *daemon) watch(query string, headers ...string) *watcher {
	d.t.Helper()
	w := d.open(d.token, query, headers...)
	if f := w.next(); f.data != `{"type":"connected"}` {
		d.t.Fatalf("first frame: %q", f.raw)
	}
	return w
}

// open opens a stream and reads nothing of it yet.
func (d *daemon) open(token, query string, headers ...string) *watcher {
	d.t.Helper()
	path := "/v1/events/stream"
	if query != "" {
		path += "?" + query
	}
	// Its own client: a stream has no timeout.
	resp, err := (&http.Client{Transport: httpClient.Transport}).Do(d.request(token, "GET", path, "", headers...))
	if err != nil {
		d.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("GET %s: %s", path, resp.Status)
	}
	w := &watcher{t: d.t, resp: resp, frames: make(chan frame)}
	quit := make(chan struct{})
	go w.read(quit)
	d.t.Cleanup(func() {
		close(quit)
		resp.Body.Close()
	})
	return w
}

func (w *watcher) read(quit chan struct{}) {
	defer close(w.frames)
	lines := bufio.NewReader(w.resp.Body)
	var f frame
	for {
		line, err := lines.ReadString('\n')
		f.raw += line
		if err != nil {
			w.err = err
			if f.raw != "" {
				w.err = errors.New("the body ended inside " + f.raw)
			}
			return
		}
		switch line = line[:len(line)-1]; {
		case strings.HasPrefix(line, "data: "):
			f.data = line[len("data: "):]
		case strings.HasPrefix(line, "id: "):
			f.id = line[len("id: "):]
		case line == "":
			if f.data != "" {
				// Data that is not JSON leaves the type empty.
				_ = json.Unmarshal([]byte(f.data), &f)
			}
			select {
			case w.frames <- f:
			case <-quit:
				return
			}
			f = frame{}
		}
	}
}

// next is the next frame, keepalives left out.
func (w *watcher) next() frame {
	w.t.Helper()
	for {
		f := w.any()
		if !strings.HasPrefix(f.raw, ":") {
			return f
		}
	}
}

// any is the next frame or keepalive.
func (w *watcher) any() frame {
	w.t.Helper()
	select {
	case f, ok := <-w.frames:
		if !ok {
			w.t.Fatalf("the stream ended: %v", w.err)
		}
		return f
	case <-time.After(patience):
		w.t.Fatal("nothing comes on the stream")
	}
	panic("unreachable")
}

// audit is the line in the next frame, which must be an audit event.
func (w *watcher) audit() string {
	w.t.Helper()
	f := w.next()
	if f.Type != "audit" {
		w.t.Fatalf("want an audit frame, got %q", f.raw)
	}
	return string(f.Event)
}

// types wants frames of just these types and returns them.
func (w *watcher) types(types ...string) []frame {
	w.t.Helper()
	var list []frame
	for _, want := range types {
		f := w.next()
		if f.Type != want {
			w.t.Fatalf("want %s after %d frames, got %q", want, len(list), f.raw)
		}
		list = append(list, f)
	}
	return list
}

// end reads on until the stream ends and wants it to end cleanly.
func (w *watcher) end() {
	w.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case _, ok := <-w.frames:
			if ok {
				continue
			}
			if w.err != io.EOF {
				w.t.Errorf("the stream ended with %v, want a terminated body", w.err)
			}
			return
		case <-limit:
			w.t.Fatal("the stream does not end")
		}
	}
}
