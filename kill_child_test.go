// The process that kill_test.go kills, to keep cases 1 and 11 of docs/durability.md.

package rampart_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/vfs"
)

// victimDir and victimRound, when set, make the test binary a process that
// writes to the log in that directory until it is killed.
const (
	victimDir   = "RAMPART_TEST_VICTIM_DIR"
	victimRound = "RAMPART_TEST_VICTIM_ROUND"
)

const (
	victimWriters = 64
	victimAskers  = 8
	victimSegment = 64 << 10
)

// victimOptions are the options with which parent and child open the log.
func victimOptions(fs vfs.FS) *rampart.Options {
	return &rampart.Options{
		Audit:     *rampart.AuditOptions{}.WithFS(fs).WithSegmentSize(victimSegment),
		Bus:       rampart.BusOptions{Window: 1 << 20},
		Approvals: rampart.ApprovalOptions{TTL: 24 * time.Hour},
	}
}

// victimEvent is event n of a writer in a round, so that the parent knows the event
// beforehand.
func victimEvent(writer int, round string, n int) rampart.AuditEvent {
	e := event(n)
	e.Agent, e.Session = fmt.Sprintf("writer %d", writer), round
	size := n % 200
	if writer == 0 && n%20 == 19 {
		size = 70 << 10 // too long for a frame, and a segment of its own
	}
	e.Request = json.RawMessage(fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", size)))
	return e
}

// victimBatch is how many events a writer appends at once when it has appended n.
func victimBatch(writer, n int) int {
	switch {
	case writer == 1 && n == 0:
		return 1500 // so that some kills come in the middle of the write
	case writer%8 == 1:
		return 1 + n%5
	}
	return 1
}

// teller writes lines to the parent, each only after what the line says has happened.
type teller struct{ mu sync.Mutex }

func (t *teller) say(words ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	os.Stdout.WriteString(strings.Join(words, "\t") + "\n")
}

func (t *teller) must(err error) {
	if err != nil {
		t.say("failed", err.Error())
		os.Exit(1)
	}
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// telling is a directory that tells the parent each operation beforehand, so that
// the parent can kill the process there.
type telling struct {
	vfs.FS
	*teller
}

func (f telling) Create(name string) (vfs.File, error) {
	f.say("op", "create", name)
	file, err := f.FS.Create(name)
	return tellingFile{file, f.teller}, err
}

func (f telling) OpenWrite(name string) (vfs.File, error) {
	f.say("op", "open", name)
	file, err := f.FS.OpenWrite(name)
	return tellingFile{file, f.teller}, err
}

func (f telling) Rename(old, new string) error {
	f.say("op", "rename", old)
	return f.FS.Rename(old, new)
}

func (f telling) SyncDir() error {
	f.say("op", "sync")
	return f.FS.SyncDir()
}

func (f telling) List() ([]string, error) {
	f.say("op", "list")
	return f.FS.List()
}

type tellingFile struct {
	vfs.File
	*teller
}

func (f tellingFile) WriteAt(p []byte, off int64) (int, error) {
	if len(p) > 64<<10 {
		f.say("write")
	}
	return f.File.WriteAt(p, off)
}

// beKilled opens the log in dir, serves it, writes to it, asks, answers and
// follows, and tells the parent what was acknowledged and seen.
func beKilled(dir string) {
	var t teller
	fs, err := vfs.Dir(dir)
	t.must(err)
	r, err := rampart.Open(dir, victimOptions(telling{fs, &t}))
	t.must(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	t.must(err)
	srv := http.Server{
		Handler: r.Handler(testAuth()),
		// Small buffers, so that a slow reader holds up the stream.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			c.(*net.TCPConn).SetWriteBuffer(64 << 10)
			return ctx
		},
	}
	go srv.Serve(ln)
	t.say("listening", ln.Addr().String())

	round, ctx := os.Getenv(victimRound), context.Background()
	for _, after := range []string{"0", ""} {
		go func() {
			for e, err := range r.Bus.Subscribe(ctx, after) {
				t.must(err)
				if e.Type != rampart.TypeApprovals {
					t.say("saw", after, string(e.Type), e.ID, e.RunID, string(e.Record))
				}
			}
		}()
	}
	older := r.Approvals.List(rampart.ApprovalFilter{})
	for n := range victimAskers {
		go t.ask(ctx, r.Approvals, older, n, round)
	}
	for n := range victimWriters {
		go t.write(ctx, r.Chain, n, round)
	}
	select {}
}

func (t *teller) write(ctx context.Context, c *rampart.AuditChain, writer int, round string) {
	for n := 0; ; {
		var events []rampart.AuditEvent
		for range victimBatch(writer, n) {
			events = append(events, victimEvent(writer, round, n))
			n++
		}
		var err error
		if len(events) == 1 {
			events[0], err = c.Append(ctx, events[0])
		} else {
			events, err = c.AppendAll(ctx, events)
		}
		t.must(err)
		words := []string{"saved", fmt.Sprintf("writer %d %s", writer, round)}
		for _, e := range events {
			words = append(words, asJSON(e))
		}
		t.say(words...)
	}
}

// ask answers some of the approvals of earlier rounds, asks for others, and
// answers most of these, one by one or as a run.
func (t *teller) ask(ctx context.Context, a *rampart.Approvals, older []rampart.Approval, asker int, round string) {
	answer := func(id string, status rampart.ApprovalStatus) {
		t.say("answering", id, string(status))
		done, err := a.Resolve(ctx, id, rampart.Resolution{Status: status, ResolvedBy: "somebody", Credential: "c", Reason: "because"})
		t.must(err)
		t.say("approval", asJSON(done))
	}
	for i := asker; i < len(older); i += 3 * victimAskers {
		answer(older[i].ID, rampart.Denied)
	}
	var run []string
	for n := 0; ; n++ {
		q := rampart.ApprovalRequest{Agent: fmt.Sprintf("asker %d", asker), Session: round, Tool: "exec",
			Request: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Message: "may I?", Credential: "agent"}
		if n%4 == 3 {
			q.RunID = fmt.Sprintf("run %d %s", asker, round)
		}
		asked, err := a.Request(ctx, q)
		t.must(err)
		t.say("approval", asJSON(asked))
		switch n % 4 {
		case 1:
			answer(asked.ID, rampart.Approved)
		case 2:
			answer(asked.ID, rampart.Denied)
		case 3:
			if run = append(run, asked.ID); len(run) == 4 {
				for _, id := range run {
					t.say("answering", id, string(rampart.Approved))
				}
				all, err := a.ResolveAll(ctx, rampart.BulkResolution{RunID: q.RunID, IDs: run,
					Resolution: rampart.Resolution{Status: rampart.Approved, ResolvedBy: "somebody", Credential: "c"}})
				t.must(err)
				for _, done := range all {
					t.say("approval", asJSON(done))
				}
				run = nil
			}
		}
	}
}
