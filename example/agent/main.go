// Agent is a small tool-calling agent that embeds Rampart: every call goes
// through a [rampart.Gate], which asks the policy in policy.go, waits for a
// person if the policy says so, and records the decision and the outcome.
// The same process serves the live stream and the approvals.
//
//	go run ./example/agent               plays a task, and asks you once
//	go run ./example/agent -calls FILE   takes its calls from a file, or from - (standard input)
//
// FILE has what a model would ask for, one JSON object in a line:
//
//	{"tool":"exec","request":{"command":"ls"}}
//	{"tool":"write","request":{"path":"notes.txt","content":"hello\n"}}
//	{"tool":"read","request":{"path":"notes.txt"}}
//
// The answer to each call is printed as a line of JSON. The agent reads and writes
// files in a scratch directory only. Commands start there, but may do whatever
// your user may: that is why the policy has you asked about most of them. A real
// agent would run them as a user that can read neither the token nor the log.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
)

type config struct {
	addr  string
	dir   string
	calls string
	ttl   time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var c config
	flag.StringVar(&c.addr, "addr", "127.0.0.1:9091", "`address` to serve the stream and the approvals on")
	flag.StringVar(&c.dir, "dir", filepath.Join(os.TempDir(), "rampart-agent"), "`directory` of the log (audit/), the token and the agent's files (scratch/)")
	flag.StringVar(&c.calls, "calls", "", "`file` of calls, - for standard input; a task of its own when empty")
	flag.DurationVar(&c.ttl, "ttl", 5*time.Minute, "how long you have to answer")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "agent: unexpected argument %q: every option is a flag, see -h\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(ctx, c, os.Stdin, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// run does the work of the agent until it has no more calls or ctx is done.
func run(ctx context.Context, c config, in io.Reader, out io.Writer) (err error) {
	if err := os.MkdirAll(filepath.Join(c.dir, "scratch"), 0o700); err != nil {
		return err
	}
	r, err := rampart.Open(filepath.Join(c.dir, "audit"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	token, tokenFile := rand.Text(), filepath.Join(c.dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.addr)
	if err != nil {
		return fmt.Errorf("%w; another address can be given with -addr", err)
	}
	srv := &http.Server{Handler: r.Handler(&rampart.Auth{AdminToken: token}), ReadHeaderTimeout: 10 * time.Second}
	srv.RegisterOnShutdown(func() { r.Stream.Close() }) // streams never end by themselves
	go srv.Serve(ln)
	defer func() {
		limit, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		err = errors.Join(err, srv.Shutdown(limit))
	}()

	scratch, err := os.OpenRoot(filepath.Join(c.dir, "scratch"))
	if err != nil {
		return err
	}
	defer scratch.Close()
	calls, err := source(c.calls, in)
	if err != nil {
		return err
	}
	defer calls.Close()
	a := &agent{
		gate:  &rampart.Gate{Recorder: r.Recorder(), Policy: policy, TTL: c.ttl},
		tools: tools{scratch},
		run:   "run_" + rand.Text(),
		out:   out,
	}
	url := "http://" + ln.Addr().String()
	fmt.Fprintf(out, "# watch:  curl -N -H \"Authorization: Bearer $(cat %s)\" %s/v1/events/stream\n", tokenFile, url)
	working, stop := context.WithCancel(ctx)
	var announcing sync.WaitGroup
	defer announcing.Wait()
	defer stop()
	after := cmp.Or(r.Chain.Head().ID, "0")
	announcing.Go(func() { announce(working, r, after, out, tokenFile, url) })
	if err := a.work(ctx, calls); err != nil {
		return err
	}
	report, err := r.Chain.Verify(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "# the log has %d events, and is %s; its head is %s %s\n", report.Events, report.Verdict, report.LastID, report.HeadHash)
	return nil
}

// announce prints the approvals that wait for an answer, and how to give it.
func announce(ctx context.Context, r *rampart.Rampart, after string, out io.Writer, tokenFile, url string) {
	announced := map[string]bool{}
	for e, err := range r.Bus.Subscribe(ctx, after) {
		if err != nil {
			return // the work has ended
		}
		if e.Type != rampart.TypeApprovals {
			continue
		}
		for _, a := range r.Approvals.List(rampart.ApprovalFilter{}) {
			if announced[a.ID] {
				continue
			}
			announced[a.ID] = true
			fmt.Fprintf(out, "# wants to %s %q (%s)\n# answer: curl -H \"Authorization: Bearer $(cat %s)\" -H 'Content-Type: application/json' -d '{\"approved\":true}' %s/v1/approvals/%s/resolve\n",
				a.Tool, a.Request, a.Message, tokenFile, url, a.ID)
		}
	}
}

// source opens the file of calls.
func source(name string, in io.Reader) (io.ReadCloser, error) {
	switch name {
	case "":
		return io.NopCloser(task()), nil
	case "-":
		return io.NopCloser(in), nil
	}
	return os.Open(name)
}
