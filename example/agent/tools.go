package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rampartlog/rampart"
)

const (
	maxOutput   = 64 << 10 // bytes of output that the model gets of a call
	commandTime = 2 * time.Minute
)

// tools are the agent's tools. They work in its scratch directory.
type tools struct{ scratch *os.Root }

// parse reads a request, for the policy and for the tools. Names are matched with
// their case: a person is shown "command", so "Command" must not run.
func parse(request json.RawMessage) (members map[string]string, err error) {
	err = json.Unmarshal(request, &members)
	return members, err
}

// call runs a request: the same bytes that were recorded and, if a person was
// asked, approved.
func (t tools) call(ctx context.Context, tool string, request json.RawMessage) (output string, resp rampart.Response, err error) {
	r, err := parse(request)
	if err != nil {
		return "", resp, err
	}
	switch tool {
	case "exec":
		return t.exec(ctx, r["command"])
	case "read":
		output, err = t.read(r["path"])
	case "write":
		err = t.write(r["path"], r["content"])
	default:
		err = fmt.Errorf("no tool %q", tool)
	}
	return output, resp, err
}

func (t tools) exec(ctx context.Context, command string) (string, rampart.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = t.scratch.Name()
	var out limited
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // in case a child of the command holds its output open
	err := cmd.Run()
	var exit *exec.ExitError
	var resp rampart.Response
	if errors.As(err, &exit) || err == nil {
		code := cmd.ProcessState.ExitCode()
		resp.ExitCode, err = &code, ctx.Err() // a command that fails is no fault of the tool
	}
	if out.cut {
		resp.Flags = append(resp.Flags, "output_cut")
	}
	return out.String(), resp, err
}

// read and write reach nothing outside the scratch directory, whatever links or
// dots a path has: tools.scratch is an os.Root.
func (t tools) read(path string) (string, error) {
	f, err := t.scratch.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var out limited
	_, err = io.Copy(&out, io.LimitReader(f, maxOutput))
	return out.String(), err
}

func (t tools) write(path, content string) error {
	if dir := filepath.Dir(path); dir != "." {
		if err := t.scratch.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return t.scratch.WriteFile(path, []byte(content), 0o600)
}

// limited keeps the first maxOutput bytes.
type limited struct {
	bytes.Buffer
	cut bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-l.Len())
	l.cut = l.cut || n < len(p)
	l.Buffer.Write(p[:n])
	return len(p), nil
}
