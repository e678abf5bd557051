package main_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	monitor "github.com/rampartlog/rampart/example/monitor"
)

// wantPosition compares the position in the state's file.
func wantPosition(t *testing.T, file, id string) {
	t.Helper()
	var got struct{ Position string }
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if position, _, _ := strings.Cut(got.Position, "."); err != nil || position != id && !(id == "" && position == "0") {
		t.Errorf("the state is at %s (%v), want %s", got.Position, err, id)
	}
}

func TestResume(t *testing.T) {
	for _, posts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := startDaemon(t)
			var r *receiver
			if posts {
				r = startReceiver(t)
			}
			state := filepath.Join(t.TempDir(), "state")
			d.deny("before the first start")
			p := start(t, d, r, "-state", state)
			wantPosition(t, state, d.head()) // although nothing has happened yet
			p.stop()
			d.deny("1", "2")
			p = start(t, d, r, "-state", state)
			p.wantLines(denied("1"), denied("2"))
			d.deny("3")
			d.append(event("allow", "no alert"))
			settle()
			p.stop()
			wantPosition(t, state, d.head())
			d.deny("4")
			d.stop()
			d.start()
			d.deny("5")
			p = start(t, d, r, "-state", state, "-from", "start")
			d.stop()
			d.start()
			d.deny("6")
			time.Sleep(time.Minute)
			p.wantLines(denied("4"), denied("5"), denied("6"))
			p.stop()
			if posts {
				r.wantPosted("1", "2", "3", "4", "5", "6")
			}
		})
	}
}

// The file is never ahead of the delivered alerts: a monitor that starts with a
// copy of it from any moment loses no alert, and repeats one alert, or the alerts
// of one post, at most.
func TestCrash(t *testing.T) {
	for _, posts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := startDaemon(t)
			var r *receiver
			if posts {
				r = startReceiver(t)
			}
			dir := t.TempDir()
			state := filepath.Join(dir, "state")
			p := start(t, d, r, "-state", state)
			for i, command := range numbers(0, 20) {
				if posts && i%5 == 3 {
					r.down()
				}
				d.deny(command)
				moment()
				copied := filepath.Join(dir, "copy")
				data, err := os.ReadFile(state)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(copied, data, 0o600); err != nil {
					t.Fatal(err)
				}
				told := i + 1
				if posts {
					told = len(r.commands())
				}
				again := start(t, d, nil, "-state", copied)
				var want []string
				for _, c := range numbers(told, i+1) {
					want = append(want, denied(c))
				}
				again.wantLines(want...)
				again.stop()
				if posts && i%5 == 4 {
					r.listen(r)
					time.Sleep(time.Minute)
				}
			}
			settle()
			p.stop()
			if posts {
				r.wantPosted(numbers(0, 20)...)
			}
		})
	}
}

func TestBadState(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, says string }{
		"empty":           {"", "is not a monitor's state"},
		"cut off":         {`{"position":"01K`, "is not a monitor's state"},
		"somebody else's": {`{"version":1}`, "is not a monitor's state"},
		"no position":     {`{"position":"here"}`, `no position: rampart: invalid: "here" is no position`},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := monitor.Parse([]string{"-token-file", token, "-state", file}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		err = monitor.Run(t.Context(), cfg, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg, err := monitor.Parse([]string{"-token-file", token, "-state", filepath.Join(dir, "none", "state")}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Run(t.Context(), cfg, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "-state") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// When the state can't be written any more, the monitor logs it and goes on.
func TestStateCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		dir := filepath.Join(t.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := start(t, d, nil, "-state", filepath.Join(dir, "state"))
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		d.deny("one", "two")
		moment()
		p.wantLines(denied("one"), denied("two"))
		if n := strings.Count(p.errs.String(), ": failing, and tried again: open "); n != 1 {
			t.Errorf("told %d times:\n%s", n, &p.errs)
		}
		wantPosition(t, filepath.Join(dir+".away", "state"), "")
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		d.deny("three")
		moment()
		wantPosition(t, filepath.Join(dir, "state"), d.head())
		if !strings.Contains(p.errs.String(), "works again") {
			t.Errorf("said:\n%s", &p.errs)
		}
		p.stop()
	})
}
