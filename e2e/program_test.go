package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is a running program: the daemon, or a client of it.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	input  io.Writer // the program's standard input, if command.input asks for it
	output *output
	errors *output
	done   chan struct{} // closed once it has ended
	err    error         // how it ended, once done
}

// command says where a program runs, and with what.
type command struct {
	dir   string
	env   []string // besides the test's own
	input bool     // it reads what the test writes
}

// run starts a program and, at the end of the test, ends it with all that it started.
func run(t *testing.T, c command, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(name, args...), output: newOutput(), errors: newOutput(), done: make(chan struct{})}
	p.cmd.Dir = c.dir
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.errors
	inGroup(p.cmd)
	if c.input {
		var err error
		if p.input, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
		p.output.Write(nil) // wakes those that wait for output: no more will come
		p.errors.Write(nil)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *program) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the program and all that it started, as kill -9 does.
func (p *program) kill() {
	killGroup(p.cmd.Process.Pid)
	<-p.done
}

// wait waits for the program's own end.
func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end:\n%s%s", p.cmd, p.output, p.errors)
	}
}

// prints waits until the program has printed that many lines, and returns all.
func (p *program) prints(n int) []string {
	p.t.Helper()
	p.output.wait(p.t, fmt.Sprintf("%s prints %d lines", p.cmd, n), func() bool {
		return p.output.lines >= n || !p.running()
	})
	text := p.output.String()
	lines := strings.Split(text, "\n")
	if len(lines) <= n {
		p.t.Fatalf("%s ended with %v after %d lines, want %d:\n%s%s", p.cmd, p.err, len(lines)-1, n, text, p.errors)
	}
	return lines[:len(lines)-1]
}

// output keeps what a program prints.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	lines   int
	changed chan struct{} // closed by the next write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	o.lines += bytes.Count(p, []byte("\n"))
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// until waits until cond holds of all that was printed.
func (o *output) until(t *testing.T, what string, cond func(text string) bool) {
	t.Helper()
	o.wait(t, what, func() bool { return cond(o.buf.String()) })
}

// wait waits until cond holds, which is asked under the lock.
func (o *output) wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		o.mu.Lock()
		ok, changed := cond(), o.changed
		o.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: never\n%s", what, o)
		}
	}
}
