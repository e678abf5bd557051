package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rampartlog/rampart"
)

// scene is a directory in which the daemon is started, and what it does there.
type scene struct {
	name    string
	args    []string
	prepare func(t *testing.T) (dir string)
	from    string // the position from which it is watched and queried
	pending map[string]bool
	stored  []string // the lines that are there before
}

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
	doubt    []string          // commands of the first such, which may be on the log
	health   int
	healthy  string
	seen     []string // lines on the stream
	head     string   // position of the last
}

// call makes a request that may fail in any way.
func (p *played) call(method, path, body string, headers ...string) (status int, answer string) {
	resp, err := client.Do(p.d.request(p.d.token, method, path, body, headers...))
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
		resp, err := (&http.Client{Transport: client.Transport}).Do(req)
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

// play starts the daemon and does what there is to do; whatever fails, it goes on.
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

// holds wants lines to have all that was acknowledged, in that order.
func (p *played) holds(what string, lines []json.RawMessage) {
	p.t.Helper()
	var got []string
	for _, line := range lines {
		e := parse(p.t, string(line))
		if command, ok := p.acked[e.ID]; ok {
			got = append(got, e.ID)
			if string(e.Request.Command) != command {
				p.t.Errorf("%s: %s has %s in place of %q", p.where, what, line, command)
			}
		}
	}
	if !slices.Equal(got, p.order) {
		p.t.Errorf("%s: %s has %v of what was acknowledged, want %v", p.where, what, got, p.order)
	}
}

// fresh is the first start of all.
func fresh(t *testing.T) *scene {
	return &scene{name: "first start", from: "0", prepare: func(t *testing.T) string { return filepath.Join(t.TempDir(), "new") }}
}

// killed is a start after a kill in the middle of a write.
func killed(t *testing.T) *scene {
	s := &scene{name: "start after a kill", from: "0", pending: map[string]bool{}}
	d := start(t)
	d.append(d.token, event("x", "before"), event("x", "the kill"))
	s.pending[d.askFor("before the kill")] = true
	d.kill()
	s.stored = d.lines()
	torn := []byte(s.stored[0][:len(s.stored[0])/2])
	segment := d.segments()[0]
	if err := os.WriteFile(segment, append(readFile(t, segment), torn...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.prepare = func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "audit"), os.DirFS(filepath.Join(d.dir, "audit"))); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "token", d.token+"\n", 0o600)
		return dir
	}
	return s
}

// pruning is a start that drops a full segment, and soon fills the next.
func pruning(t *testing.T) *scene {
	s := &scene{name: "a segment is full", args: []string{"-keep", "1ms"}, pending: map[string]bool{}}
	made := t.TempDir()
	audit := filepath.Join(made, "audit")
	r, err := rampart.Open(audit, &rampart.Options{Audit: rampart.AuditOptions{Sync: rampart.SyncNever}, Approvals: rampart.ApprovalOptions{TTL: 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	const full = 16 << 20
	last := func() int64 {
		files, err := filepath.Glob(filepath.Join(audit, "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(files[len(files)-1])
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	fill := func(size int64) {
		e, err := r.Chain.Append(t.Context(), rampart.AuditEvent{Agent: "x", Tool: "write", Decision: rampart.Decision{Action: "allow"},
			Request: json.RawMessage(`{"content":"` + strings.Repeat("x", int(size)) + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
		s.from = e.ID + "." + e.Hash[:16]
	}
	for last() < full {
		fill(1000 << 10)
	}
	a, err := r.Approvals.Request(t.Context(), rampart.ApprovalRequest{Agent: "a", Tool: "exec"})
	if err != nil {
		t.Fatal(err)
	}
	s.pending[a.ID] = true
	for last() < full-2<<20 {
		fill(1000 << 10)
	}
	fill(full - last() - 1000<<10)
	fill(full - last() - 2500)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(audit, "0*"))
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	s.prepare = func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "audit"), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "token", "a-token-of-the-admin\n", 0o600)
		for i, name := range names {
			to := filepath.Join(dir, "audit", filepath.Base(name))
			var err error
			if i < 2 { // never written again
				err = os.Link(name, to)
			} else {
				err = os.WriteFile(to, readFile(t, name), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	return s
}

var reasons = map[string]string{"EIO": "input/output error", "ENOSPC": "no space left on device"}

// hits are the errors that were injected.
func (p *played) hits() (list []sysCall) {
	for _, c := range p.calls {
		if c.injected {
			list = append(list, c)
		}
	}
	return list
}

// final reports whether an error was one after which a log takes no more events:
// of making what was written to a segment durable, or of cutting it off again.
func (p *played) final() bool {
	written := map[string]bool{}
	for _, c := range p.calls {
		switch segment := strings.HasSuffix(c.file, "segment"); {
		case segment && c.name == "pwrite64":
			written[c.path] = true
		case segment && c.injected && (c.name == "fdatasync" && written[c.path] || c.name == "ftruncate"):
			return true
		}
	}
	return false
}

// silent are the calls whose failure is nobody's loss, and why.
var silent = map[string]string{
	"ftruncate LOCK":    "the process id in it is for people",
	"pwrite64 LOCK":     "the same",
	"newfstatat LOCK":   "opening it follows no link either",
	"newfstatat .":      "it is made, or is there",
	"mkdirat audit":     "it is there; where it is not, the start fails and says so",
	"newfstatat token":  "before a renaming Go looks at the new name, and goes on",
	"newfstatat index":  "a cache: it is built again",
	"openat index":      "the same",
	"fstat index":       "the same",
	"pread64 index":     "the same",
	"close index":       "it was read",
	"close PRUNED":      "it was read",
	"close token":       "it was read",
	"close audit":       "it was listed; of one that was synced it is an error",
	"close segment":     "what was written to it was synced before",
	"close new segment": "the same",

	"newfstatat+renameat index":   "before a renaming Go looks at the new name, and goes on",
	"newfstatat+renameat segment": "the same",
	"newfstatat+renameat PRUNED":  "the same",
}

// judge wants of a run what docs/operations.md says of errors.
func (p *played) judge(s *scene) {
	p.t.Helper()
	hits, final, out := p.hits(), p.final(), p.d.out.String()
	bad := func(format string, args ...any) {
		p.t.Helper()
		p.t.Errorf("%s: %s; hit %v, callers got %q, the daemon printed\n%s", p.where, fmt.Sprintf(format, args...), hits, p.faults, out)
	}
	printed := strings.Split(strings.TrimSpace(out), "\n")
	end := printed[len(printed)-1]
	saysWhy := strings.HasPrefix(end, "rampart: ") && strings.Contains(end, p.says)
	if code := p.d.exitCode(); code != 0 && (code != 1 || !saysWhy) {
		bad("it ended with code %d", code)
	}
	if !p.began && (p.d.exitCode() == 0 || len(hits) == 0) {
		bad("it did not start, and ended well")
	}
	if strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") {
		bad("it printed that")
	}
	for _, f := range p.faults {
		if !strings.Contains(f, p.says) {
			bad("an answer does not say why: %s", f)
		}
	}
	switch {
	case !p.began:
	case final != p.failed:
		bad("whether it failed for good: %t", p.failed)
	case final && (p.health != http.StatusServiceUnavailable || !strings.Contains(p.healthy, p.says)):
		bad("healthz: %d %s", p.health, p.healthy)
	case !final && p.health != http.StatusOK:
		bad("healthz: %d %s", p.health, p.healthy)
	case !final && p.writes > len(hits):
		bad("%d writes were refused", p.writes)
	}
	told := strings.Contains(out+strings.Join(p.faults, ""), p.says)
	for _, c := range hits {
		if silent[c.site()] == "" && !told {
			bad("nobody was told of %s", c.site())
		}
	}
	p.restart(s, final)
}

// restart verifies the log as it is, and what a daemon makes of it without strace.
func (p *played) restart(s *scene, final bool) {
	p.t.Helper()
	if p.began {
		args := []string{"-verify"}
		for _, line := range p.seen {
			args = append(args, "-anchor", position(p.t, line))
		}
		v := launch(p.t, p.d.dir, args...)
		if v.wait(); v.exitCode() != 0 && !strings.Contains(v.out.String(), "torn tail") {
			p.t.Errorf("%s: -verify: %s", p.where, v.out)
		}
	}
	if err := os.MkdirAll(p.d.dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	d := startIn(p.t, p.d.dir)
	defer d.stop()
	log := d.lines()
	p.holdsAll(s, log)

	pending := d.pending()
	for id := range p.pending {
		if !slices.Contains(pending, id) {
			p.t.Errorf("%s: approval %s is no longer pending", p.where, id)
		}
	}
	for _, id := range pending {
		if !p.pending[id] && !p.doubtful[id] && !slices.Contains(p.refused, d.approval(id).Command) {
			p.t.Errorf("%s: approval %s was answered and is pending", p.where, id)
		}
	}
	for id := range p.doubtful {
		if !final && !slices.Contains(pending, id) {
			p.t.Errorf("%s: approval %s, whose answer was refused, is answered", p.where, id)
		}
	}
	if got := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK).object(); got["ok"] != true {
		p.t.Errorf("%s: verify after a restart: %v", p.where, got)
	}
}

// holdsAll wants all that was there before, was acknowledged or was seen, and
// nothing that was refused, unless the error left that open.
func (p *played) holdsAll(s *scene, log []string) {
	p.t.Helper()
	for i, line := range s.stored {
		if log[i] != line {
			p.t.Errorf("%s: the log has %s where %s was before", p.where, log[i], line)
		}
	}
	id, _, _ := strings.Cut(s.from, ".")
	var since []string
	var raw []json.RawMessage
	for _, line := range log {
		if e := parse(p.t, line); e.ID > id {
			since, raw = append(since, line), append(raw, json.RawMessage(line))
			command := string(e.Request.Command)
			if slices.Contains(p.refused, command) && !slices.Contains(p.doubt, command) {
				p.t.Errorf("%s: the log has %s, which was refused", p.where, line)
			}
		}
	}
	p.holds("the log", raw)
	if len(p.seen) > len(since) || !slices.Equal(p.seen, since[:len(p.seen)]) {
		p.t.Errorf("%s: the stream had\n%s\nthe log has\n%s", p.where, strings.Join(p.seen, "\n"), strings.Join(since, "\n"))
	}
}

// tally is which calls of a scene were hit.
type tally struct {
	runs, single int
	total        map[string]int
	hit          map[string]map[int]bool
}

func (y *tally) add(calls []sysCall) (hits int) {
	nth := map[string]int{}
	for _, c := range calls {
		nth[c.site()]++
		if c.injected {
			hits++
			if y.hit[c.site()] == nil {
				y.hit[c.site()] = map[int]bool{}
			}
			y.hit[c.site()][nth[c.site()]] = true
		}
	}
	y.runs++
	if hits == 1 {
		y.single++
	}
	return hits
}

func (y *tally) String() string {
	calls, hit := 0, 0
	var missed []string
	for _, site := range slices.Sorted(maps.Keys(y.total)) {
		calls += y.total[site]
		hit += min(len(y.hit[site]), y.total[site])
		if len(y.hit[site]) == 0 {
			missed = append(missed, site)
		}
	}
	return fmt.Sprintf("%d runs, %d of them with one error; %d of %d calls were hit, of %d of %d kinds; not %q",
		y.runs, y.single, hit, calls, len(y.hit), len(y.total), missed)
}

// sites of the sample: the calls on which most depends.
var sample = map[string][]string{
	"first start":        {"mkdirat audit", "flock LOCK", "fsync audit"},
	"start after a kill": {"renameat segment.tmp", "fdatasync segment", "openat audit"},
	"a segment is full":  {"pwrite64 segment", "renameat PRUNED.tmp", "fdatasync new segment"},
}

// full are the calls that a full disk fails.
var full = []string{"openat", "mkdirat", "pwrite64", "write", "ftruncate", "fsync", "fdatasync", "renameat"}

// TestCrashStrace lets the real daemon's calls of a real file system fail. It
// wants callers to get what docs/operations.md says, the daemon to say why, and
// all that was acknowledged or seen to be there after a restart.
func TestCrashStrace(t *testing.T) {
	needStrace(t)
	for name, make := range map[string]func(*testing.T) *scene{"first": fresh, "killed": killed, "pruning": pruning} {
		t.Run(name, func(t *testing.T) { make(t).sweep(t, os.Getenv("RAMPART_CRASH") == "all") })
	}
}

// sweep plays the scene with each error for each call, or with a sample of them.
func (s *scene) sweep(t *testing.T, every bool) {
	p := s.play(t, injection{})
	p.judge(s)
	y := &tally{total: map[string]int{}, hit: map[string]map[int]bool{}}
	for _, c := range p.calls {
		y.total[c.site()]++
	}
	if !every {
		for _, site := range sample[s.name] {
			call, file, _ := strings.Cut(site, " ")
			p := s.play(t, injection{call: call, file: file, files: filesOf(p, file), error: "EIO", when: 1})
			if p.judge(s); len(p.hits()) == 0 {
				t.Errorf("%s: nothing was hit", p.where)
			}
		}
		return
	}
	for _, site := range slices.Sorted(maps.Keys(y.total)) {
		call, file, _ := strings.Cut(site, " ")
		call, _, _ = strings.Cut(call, "+")
		files := filesOf(p, file)
		if files == nil && (call == "write" || call == "close") {
			continue // strace would have to count those of the daemon's log and sockets
		}
		errors := []string{"EIO"}
		if slices.Contains(full, call) {
			errors = append(errors, "ENOSPC")
		}
		for _, e := range errors {
			for when := 1; when <= 12; when++ {
				p := s.play(t, injection{call: call, file: file, files: files, error: e, when: when})
				hits := y.add(p.calls)
				if hits > 0 {
					p.judge(s)
				}
				if files == nil && len(y.hit[site]) > 0 || files != nil && hits == 0 {
					break // that one was hit; or no thread makes as many
				}
			}
		}
	}
	t.Logf("%v", y)
}

// filesOf are the files of a kind that the daemon may use in a scene. A name
// that nobody knows beforehand has none: then strace counts all that a thread does.
func filesOf(p *played, file string) (names []string) {
	if file == "token.tmp" {
		return nil
	}
	for _, c := range p.calls {
		rel, err := filepath.Rel(p.d.dir, c.path)
		if err != nil {
			p.t.Fatal(err)
		}
		if c.file != file || slices.Contains(names, rel) {
			continue
		}
		names = append(names, rel)
		// A segment begins earlier when events were refused.
		var first int
		var suffix string
		if n, _ := fmt.Sscanf(filepath.Base(rel), "%020d.%s", &first, &suffix); n == 2 {
			for other := max(first-9, 1); other < first; other++ {
				names = append(names, fmt.Sprintf("audit/%020d.%s", other, suffix))
			}
		}
	}
	return names
}
