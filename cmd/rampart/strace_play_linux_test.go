package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// played is one run of a scene under strace.
type played struct {
	t     *testing.T
	d     *daemon
	where string
	says  string // the error that was injected, in words
	calls []sysCall

	began    bool              // the daemon listened
	acked    map[string]string // id of what was acknowledged, to its command
	order    []string          // the ids, as they were acknowledged
	refused  []string          // commands of appends that got an error
	pending  map[string]bool   // approvals, those in doubt left out
	doubtful map[string]bool   // approvals whose answer got an error
	faults   []string          // errors that callers got
	writes   int               // requests to write that got an error
	failed   bool              // one of them was told that the log takes no more
	doubt    []string          // commands of the first request told so, which may be on the log
	health   int
	healthy  string
	seen     []string // lines on the stream
	head     string   // position of the last of them
}

// call makes a request that may fail in any way.
func (p *played) call(method, path, body string, headers ...string) (status int, answer string) {
	resp, err := httpClient.Do(p.d.request(p.d.token, method, path, body, headers...))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// change makes a request that writes: it succeeds or says why not.
func (p *played) change(commands []string, want int, path, body string, headers ...string) (answer string, ok bool) {
	p.t.Helper()
	status, answer := p.call("POST", path, body, headers...)
	if status == want {
		return answer, true
	}
	if status != http.StatusServiceUnavailable {
		p.t.Errorf("%s: POST %s: status %d, want 503: %s", p.where, path, status, answer)
	}
	p.writes++
	if !p.failed && strings.Contains(answer, "audit log failed") {
		p.failed, p.doubt = true, commands
	}
	p.faults = append(p.faults, answer)
	return answer, false
}

func (p *played) append(commands ...string) {
	p.t.Helper()
	var body strings.Builder
	for _, c := range commands {
		body.WriteString(event("a", c) + "\n")
	}
	answer, ok := p.change(commands, http.StatusCreated, eventsPath, body.String(), "Content-Type", "application/x-ndjson")
	if !ok {
		p.refused = append(p.refused, commands...)
		return
	}
	var got struct{ IDs []string }
	if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got.IDs) != len(commands) {
		p.t.Errorf("%s: %v in %s", p.where, err, answer)
		return
	}
	for i, id := range got.IDs {
		p.acked[id] = commands[i]
		p.order = append(p.order, id)
	}
}

func (p *played) ask(command string) (id string) {
	p.t.Helper()
	answer, ok := p.change([]string{command}, http.StatusCreated, "/v1/approvals", fmt.Sprintf(`{"tool":"exec","agent":"a","message":"m","command":%q,"ttl_seconds":86400}`, command))
	if !ok {
		p.refused = append(p.refused, command)
		return ""
	}
	var got struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		p.t.Errorf("%s: %v in %s", p.where, err, answer)
	}
	p.acked[got.ID] = command
	p.order = append(p.order, got.ID)
	p.pending[got.ID] = true
	return got.ID
}

func (p *played) answer(id string) {
	p.t.Helper()
	if id == "" {
		return
	}
	if _, ok := p.change(nil, http.StatusOK, "/v1/approvals/"+id+"/resolve", `{"approved":true}`); !ok {
		p.doubtful[id] = true
	}
	delete(p.pending, id)
}

// watch follows the stream until the daemon has stopped, again when it ends early.
func (p *played) watch(ctx context.Context) {
	for ctx.Err() == nil {
		req := p.d.request(p.d.token, "GET", "/v1/events/stream", "", "Last-Event-ID", p.head).WithContext(ctx)
		resp, err := (&http.Client{Transport: httpClient.Transport}).Do(req)
		if err != nil {
			return
		}
		w := &watcher{t: p.t, resp: resp, frames: make(chan frame)}
		go w.read(make(chan struct{}))
		for f := range w.frames {
			switch f.Type {
			case "audit":
				p.seen, p.head = append(p.seen, string(f.Event)), f.id
			case "audit_batch":
				p.t.Errorf("%s: the stream says %q", p.where, f.raw)
			}
		}
		resp.Body.Close()
	}
}

// play starts the daemon and plays the scene; whatever fails, it goes on.
func (s *scene) play(t *testing.T, in injection) *played {
	t.Helper()
	p := &played{t: t, where: fmt.Sprintf("%s: %s for %s %s, call %d of a thread", s.name, in.error, in.call, in.file, in.when), says: reasons[in.error],
		acked: map[string]string{}, pending: map[string]bool{}, doubtful: map[string]bool{}}
	for id := range s.pending {
		p.pending[id] = true
	}
	dir := s.prepare(t)
	files := in.files
	in.files = nil
	for _, f := range files {
		in.files = append(in.files, filepath.Join(dir, f))
	}
	trace := filepath.Join(t.TempDir(), "trace")
	p.d = traced(t, dir, trace, in, s.args...)
	select {
	case address := <-p.d.out.address:
		p.began = true
		p.d.base = "http://" + address
		p.d.token = strings.TrimSpace(string(readFile(t, filepath.Join(dir, "token"))))
		p.work(s)
	case <-p.d.done:
	case <-time.After(patience):
		t.Fatalf("%s: the daemon does not listen:\n%s", p.where, p.d.out)
	}
	p.d.wait()
	p.calls = readTrace(t, trace, dir)
	return p
}

var daemonPID = regexp.MustCompile(`msg=listening.* pid=(\d+)`)

func (p *played) work(s *scene) {
	p.t.Helper()
	if slices.Contains(s.args, "-keep") {
		p.d.out.waitFor(p.t, `msg="?(pruned the log|the log was not pruned)`)
	}
	p.head = s.from
	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(p.t.Context())
	watching.Go(func() { p.watch(ctx) })

	for id := range s.pending {
		p.answer(id)
	}
	for i := range 4 {
		p.append(fmt.Sprint("one ", i))
	}
	p.append("two 0", "two 1", "two 2")
	p.answer(p.ask("yes"))
	p.ask("perhaps")
	p.append("three")

	after, _, _ := strings.Cut(s.from, ".")
	if after == "0" {
		after = ""
	}
	if status, answer := p.call("GET", eventsPath+"?order=asc&limit=500&agent=a&after="+after, ""); status == http.StatusOK {
		var got page
		reply{t: p.t, body: answer}.into(&got)
		p.holds("a query", got.Events)
	} else if status > 0 {
		p.faults = append(p.faults, answer)
	} else if !strings.Contains(p.d.out.String(), "an answer was broken off") {
		p.t.Errorf("%s: a query ended with %s, and the daemon says\n%s", p.where, answer, p.d.out)
	}
	if status, answer := p.call("GET", "/v1/audit/verify", ""); status != http.StatusOK || !strings.HasPrefix(answer, `{"ok":true`) {
		p.faults = append(p.faults, answer)
		if status == http.StatusOK && !strings.Contains(answer, `"verdict":"unreadable"`) {
			p.t.Errorf("%s: verify: %s", p.where, answer)
		}
	}
	p.health, p.healthy = p.call("GET", "/healthz", "")

	pid := p.d.out.waitFor(p.t, daemonPID.String())[1]
	var n int
	fmt.Sscan(pid, &n)
	if err := syscall.Kill(n, syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	p.d.wait()
	cancel()
	watching.Wait()
}
