package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const loud = "!!! THE AUDIT LOG IS NOT WHAT IT WAS !!! "

// wantWitness wants n alerts about the log, each with that verdict.
func (p *process) wantWitness(n int, verdict string) {
	p.t.Helper()
	found := 0
	for _, line := range p.lines() {
		if rest, ok := strings.CutPrefix(line, loud); ok {
			found++
			if !strings.Contains(rest, verdict) {
				p.t.Errorf("%s, want %s", line, verdict)
			}
		}
	}
	if found != n {
		p.t.Errorf("%d alerts about the log, want %d:\n%s%s", found, n, &p.out, &p.errs)
	}
}

// denials returns the lines without the alerts about the log.
func (p *process) wantDenials(commands ...string) {
	p.t.Helper()
	var got []string
	for _, line := range p.lines() {
		if _, command, ok := strings.Cut(line, `"not here": `); ok {
			got = append(got, command)
		}
	}
	if strings.Join(got, " ") != strings.Join(commands, " ") {
		p.t.Errorf("denials %q, want %q", got, commands)
	}
}

// anew gives the daemon a new log.
func (d *daemon) anew() {
	d.t.Helper()
	d.stop()
	d.dir = d.t.TempDir()
	d.start()
}

func TestLogReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		state := filepath.Join(t.TempDir(), "state")
		p := start(t, d, r, "-state", state)
		d.deny("old")
		settle()
		d.down()
		d.stop()
		d.dir = t.TempDir()
		time.Sleep(time.Minute)
		d.start() // with the events that came since
		d.deny("unseen", "unseen too")
		time.Sleep(2 * time.Minute)
		d.deny("new")
		settle()
		p.wantWitness(1, "truncated")
		p.wantDenials("old", "unseen", "unseen too", "new")
		if got := r.got(); len(got) < 2 || !strings.HasPrefix(got[1].Text, "Rampart: the audit log is not what it was\n") || got[1].Alerts[0].Kind != "witness" {
			t.Errorf("posted %+v", got)
		}
		p.stop()
		wantPosition(t, state, d.head())
		p = start(t, d, r, "-state", state)
		p.wantLines() // the alert comes only once
		p.stop()
	})
}

func TestLogEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		state := filepath.Join(t.TempDir(), "state")
		p := start(t, d, nil, "-state", state)
		d.deny("old")
		settle()
		p.stop()
		d.anew()
		p = start(t, d, nil, "-state", state)
		time.Sleep(time.Minute)
		d.deny("new")
		settle()
		p.wantWitness(1, "truncated")
		p.wantDenials("new")
		p.stop()
		wantPosition(t, state, d.head())
	})
}

// The log is cut back to an earlier state, and goes on from there.
func TestLogCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		p := start(t, d, nil)
		d.deny("kept")
		settle()
		d.stop()
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(d.dir)); err != nil {
			t.Fatal(err)
		}
		d.start()
		d.deny("cut away")
		time.Sleep(time.Minute)
		d.stop()
		d.dir = copied
		d.start()
		d.deny("in its place")
		time.Sleep(2 * time.Minute)
		d.deny("new")
		settle()
		p.wantWitness(1, "truncated")
		p.wantDenials("kept", "cut away", "in its place", "new")
		p.stop()
	})
}

// Somebody edits the log of a running daemon, and a monitor that starts later reads
// the edited lines. From a place that is no line any more the daemon can read
// nothing, and tells that only a client that has it verify the log.
func TestEventEdited(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		alerts         int
		denials        []string
	}{
		{"other words", `"two"`, `"TWO"`, 1, []string{"one", "TWO", "three", "four"}},
		{"no JSON", `"two"`, `"tw""`, 2, []string{"four"}},
		{"longer", `"two"`, `"two or more"`, 2, []string{"four"}},
		{"a line in two", `"two"`, "\n", 2, []string{"four"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := startDaemon(t)
				state := filepath.Join(t.TempDir(), "state")
				start(t, d, nil, "-state", state).stop()
				d.deny("one", "two", "three")
				d.edit(c.from, c.to)
				p := start(t, d, nil, "-state", state)
				time.Sleep(5 * time.Minute)
				last := d.append(event("deny", "four"))
				settle()
				p.wantWitness(c.alerts, "")
				if !strings.Contains(p.out.String(), "tampered: expected ") {
					t.Errorf("printed\n%s", &p.out)
				}
				p.wantDenials(c.denials...)
				if n := strings.Count(p.errs.String(), "\n"); n > 10 {
					t.Errorf("%d lines on standard error:\n%s", n, &p.errs)
				}
				p.stop()
				wantPosition(t, state, last)
			})
		})
	}
}

// edit changes the log's file while the daemon has it open. The daemon goes on
// recording only if the file keeps its length, so that edit pads the end.
func (d *daemon) edit(from, to string) {
	d.t.Helper()
	segment := filepath.Join(d.dir, "00000000000000000001.jsonl")
	data, err := os.ReadFile(segment)
	if err != nil {
		d.t.Fatal(err)
	}
	edited := append(bytes.Replace(data, []byte(from), []byte(to), 1), "    "...)[:len(data)]
	if err := os.WriteFile(segment, edited, 0o600); err != nil {
		d.t.Fatal(err)
	}
}
