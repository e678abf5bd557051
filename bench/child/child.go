// Package child runs the parts of a benchmark in processes of their own, so that
// CPU and memory can be measured for each part. A child is the same program, started
// again. Parent and child exchange JSON over the child's standard streams.
package child

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"sync"
)

// Func is the work of a child process. It ends the process by returning.
type Func func(c *Conn) error

var funcs = map[string]Func{}

// Register gives the work of a child a name. Call it from main or TestMain, before
// [Main].
func Register(name string, f Func) { funcs[name] = f }

const mark = "RAMPART_BENCH_CHILD"

// Main does a child's work and exits if this process is one.
func Main() {
	name := os.Getenv(mark)
	if name == "" {
		return
	}
	if err := run(name); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(name string) error {
	f := funcs[name]
	if f == nil {
		return fmt.Errorf("no such child")
	}
	c := newConn(os.Stdin, os.Stdout)
	os.Stdout = os.Stderr // a library that prints must not disturb the exchange
	var profile string
	if err := c.Receive(&profile); err != nil {
		return err
	}
	if profile != "" {
		out, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return f(c)
}

// Conn is one end of the exchange. One goroutine may send while another receives.
type Conn struct {
	enc *json.Encoder
	dec *json.Decoder
}

func newConn(r io.Reader, w io.Writer) *Conn { return &Conn{json.NewEncoder(w), json.NewDecoder(r)} }

// Send sends one JSON value.
func (c *Conn) Send(v any) error { return c.enc.Encode(v) }

// Receive waits for one JSON value. It returns io.EOF when the other end has closed.
func (c *Conn) Receive(v any) error { return c.dec.Decode(v) }

// Process is a child, as its parent sees it.
type Process struct {
	*Conn
	cmd   *exec.Cmd
	stdin io.Closer
	wait  sync.Once
	err   error
}

// Start starts the child called name. It writes a CPU profile to the file profile,
// unless that is "".
func Start(name, profile string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), mark+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{Conn: newConn(out, in), cmd: cmd, stdin: in}
	return p, p.Send(profile)
}

// Close closes the child's input and waits for it to end.
func (p *Process) Close() error {
	p.wait.Do(func() {
		p.stdin.Close()
		p.err = p.cmd.Wait()
	})
	return p.err
}

// Kill kills the child and waits for it to end.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	p.Close()
}
