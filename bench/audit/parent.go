//go:build linux

package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rampartlog/rampart/bench/child"
	"github.com/rampartlog/rampart/bench/suite"
)

// part is a child process that works on a job.
type part struct {
	*child.Process
	job  job
	stop func() bool
}

func start(ctx context.Context, j job, profile string) (*part, error) {
	p, err := child.Start("audit", profile)
	if err != nil {
		return nil, err
	}
	w := &part{p, j, context.AfterFunc(ctx, p.Kill)}
	if err := p.Send(&j); err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// receive waits for v. If the child ends instead, receive returns its error.
func (p *part) receive(v any) error {
	err := p.Receive(v)
	if err == nil {
		return nil
	}
	if end := p.Close(); end != nil {
		err = end
	}
	return fmt.Errorf("%s, %s: the child ended without an answer: %w", p.job.Target, p.job.Work, err)
}

func (p *part) end() error {
	p.stop()
	return p.Close()
}

func (p *part) kill() {
	p.stop()
	p.Kill()
}

// ask has a child do one job.
func ask(ctx context.Context, j job, profile string) (figures, error) {
	p, err := start(ctx, j, profile)
	if err != nil {
		return nil, err
	}
	defer p.kill()
	var f figures
	if err := p.receive(&f); err != nil {
		return nil, err
	}
	if j.Leave {
		return f, nil // killed, with its log open
	}
	return f, p.end()
}

// profile returns the file for the CPU profile of a job of rampart's; "" for none.
func profile(r *suite.Run, name string, j *job) string {
	if j.Target != ours {
		return ""
	}
	cell := j.Work
	if j.Writers > 0 {
		cell += fmt.Sprintf("-%d", j.Writers)
	}
	if j.Events > 0 {
		cell += fmt.Sprintf("-%d", j.Events)
	}
	if j.Work == "bulk" && !j.Mode.NoSync {
		cell += "-durable"
	}
	if j.Decode {
		cell += "-decoded"
	}
	return r.Profile(name, cell)
}

// appender is one target in a cell of durable appends.
type appender struct {
	row    string
	target string
	mode   mode
}

// appends measures the targets in turns, one slice of time each.
func appends(ctx context.Context, r *suite.Run, name string, writers int, list []appender, turns int, slice time.Duration) (map[string]figures, error) {
	dir, err := os.MkdirTemp(r.Dir, "append-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var parts []*part
	defer func() {
		for _, p := range parts {
			p.kill()
		}
	}()
	for i, a := range list {
		j := job{Work: "append", Target: a.target, Dir: filepath.Join(dir, fmt.Sprint(i)), Mode: a.mode, Writers: writers}
		p, err := start(ctx, j, profile(r, name, &j))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		var opened string
		if err := p.receive(&opened); err != nil {
			return nil, err
		}
	}
	for turn := range turns {
		for i := range parts {
			if turn%2 == 1 {
				i = len(parts) - 1 - i
			}
			var done string
			if err := parts[i].Send(slice); err != nil {
				return nil, err
			}
			if err := parts[i].receive(&done); err != nil {
				return nil, err
			}
		}
	}
	out := map[string]figures{}
	for i, p := range parts {
		var f figures
		if err := p.Send(time.Duration(0)); err != nil {
			return nil, err
		}
		if err := p.receive(&f); err != nil {
			return nil, err
		}
		if err := p.end(); err != nil {
			return nil, err
		}
		out[list[i].row] = f
		check := job{
			Work: "verify", Target: p.job.Target, Dir: p.job.Dir, Events: int(f["events"]),
			Check: p.job.Target != limit, // the limit writes the same line again and again
		}
		if _, err := ask(ctx, check, ""); err != nil {
			return nil, err
		}
	}
	return out, nil
}
