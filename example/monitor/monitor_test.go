package main_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// wantLines compares the printed lines.
func (p *process) wantLines(want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), p.lines()); diff != "" {
		p.t.Errorf("printed (-want +got):\n%s\nand on standard error:\n%s", diff, p.errs.String())
	}
}

func denied(command string) string {
	return `deny     claude-code shop/main exec "not here": ` + command
}

func TestDenialIsPrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		d.deny("before the monitor")
		p := start(t, d, nil)
		d.append(event("allow", "ls"), event("deny", "rm -rf /"), event("watch", "git commit"), event("ask", "asked elsewhere"))
		moment()
		p.wantLines(denied("rm -rf /"), `ask      claude-code shop/main exec "not here": asked elsewhere`)
		p.stop()
	})
}

// The monitor noticed a signal only at the next list, if the signal came while it
// was busy with one event and another was waiting.
func TestStopWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		r, w := io.Pipe()
		p := startTo(t, w, d, nil)
		d.deny("one", "two")
		d.append(event("allow", "three"))
		moment() // the monitor prints the first
		began := time.Now()
		p.stopping()
		synctest.Wait()
		go io.Copy(io.Discard, r)
		p.stop()
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
		w.Close()
	})
}

func TestFromStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		d.deny("one", "two")
		p := start(t, d, nil, "-from", "start")
		p.wantLines(denied("one"), denied("two"))
		p.stop()
	})
}

func TestOnAndAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		p := start(t, d, nil, "-on", "watch,allow", "-on=denied", "-agent", "claude-code")
		other := event("watch", "another's")
		other.Agent = "codex-cli"
		id := d.ask("git push")
		d.append(event("deny", "1"), event("watch", "2"), other, event("allow", "3"))
		d.answer(id, rampart.Denied)
		settle()
		p.wantLines(
			`watch    claude-code shop/main exec "not here": 2`,
			`allow    claude-code shop/main exec "not here": 3`,
			`denied   claude-code shop/main exec approval `+id+` by ann`)
		p.stop()
	})
}

// A request may have no command. Names are matched with their case.
func TestWhatIsShownOfARequest(t *testing.T) {
	for request, want := range map[string]string{
		`{"command":"rm x","Command":"ls"}`:      "rm x",
		`{"Command":"ls"}`:                       `{"Command":"ls"}`,
		`{"path":"/etc/passwd","content":"x"}`:   "/etc/passwd",
		`{"command":["bash","-lc","rm  x"]}`:     `["bash","-lc","rm  x"]`,
		`{"url":"https://example.com/?a=1&b=2"}`: `{"url":"https://example.com/?a=1&b=2"}`,
		`{"command":7,"path":"p"}`:               "p",
		`{}`:                                     "{}",
	} {
		synctest.Test(t, func(t *testing.T) {
			d := startDaemon(t)
			p := start(t, d, nil)
			e := event("deny", "")
			e.Request = []byte(request)
			d.append(e)
			moment()
			p.wantLines(denied(want))
			p.stop()
		})
	}
}

func TestPendingAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		id := d.ask("git push --force")
		time.Sleep(10 * time.Second)
		p := start(t, d, nil)
		settle()
		p.wantLines(`pending  claude-code shop/main exec "publishes" (4m50s left): git push --force`)
		if want := regexp.MustCompile(`\n    curl -H "Authorization: Bearer \$\(cat \S+\)" -H 'Content-Type: application/json' -d '\{"approved":true\}' http://127.0.0.1:9090/v1/approvals/` + id + `/resolve\n`); !want.MatchString(p.out.String()) {
			t.Errorf("no command that answers it:\n%s", &p.out)
		}
		d.answer(id, rampart.Approved)
		settle()
		if got, want := p.lines()[1], `approved claude-code shop/main exec approval `+id+` by ann: git push --force`; got != want {
			t.Errorf("answered: %s, want %s", got, want)
		}
		time.Sleep(time.Hour) // in which the monitor lists the approvals again and again
		if n := len(p.lines()); n != 2 {
			t.Errorf("%d lines:\n%s", n, &p.out)
		}
		p.stop()
	})
}

func TestApprovalsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		state := filepath.Join(t.TempDir(), "state")
		p := start(t, d, nil, "-state", state)
		id := d.ask("one")
		settle()
		d.down() // connections are cut; the approval stays pending
		time.Sleep(time.Minute)
		d.up()
		time.Sleep(time.Minute)
		p.wantLines(`pending  claude-code shop/main exec "publishes" (5m0s left): one`)
		p.stop()

		p = start(t, d, nil, "-state", state)
		two := d.ask("two")
		settle()
		p.wantLines(`pending  claude-code shop/main exec "publishes" (5m0s left): two`)
		time.Sleep(5 * time.Minute)
		if got := p.lines(); len(got) != 3 || !strings.HasPrefix(got[1], "expired  claude-code shop/main exec approval "+id) || !strings.HasPrefix(got[2], "expired  claude-code shop/main exec approval "+two) {
			t.Errorf("expired: %q", got)
		}
		time.Sleep(2 * time.Minute) // in which the monitor lists the approvals again
		p.stop()
		if data, err := os.ReadFile(state); err != nil || strings.Contains(string(data), id) {
			t.Errorf("the state keeps what waits no longer: %s, %v", data, err)
		}
	})
}

// An approval that was requested and ended while there was no connection gets no
// alert as pending.
func TestApprovalAnsweredWhileDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		p := start(t, d, nil)
		d.down()
		gone, waits := d.ask("gone"), d.ask("waits")
		d.answer(gone, rampart.Denied)
		time.Sleep(time.Minute)
		d.up()
		time.Sleep(time.Minute)
		lines := p.lines()
		slices.Sort(lines) // the list and the events may come in either order
		want := []string{
			`denied   claude-code shop/main exec approval ` + gone + ` by ann`,
			`pending  claude-code shop/main exec "publishes" (`,
		}
		if len(lines) != 2 || lines[0] != want[0] || !strings.HasPrefix(lines[1], want[1]) || !strings.HasSuffix(lines[1], ": waits") {
			t.Errorf("%q, want %q", lines, want)
		}
		d.answer(waits, rampart.Approved)
		p.stop()
	})
}

// A burst of changes causes few lists.
func TestListsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		p := start(t, d, nil)
		var want []string
		for i := range 200 {
			d.ask(fmt.Sprint(i))
			want = append(want, fmt.Sprintf(`pending  claude-code shop/main exec "publishes" (5m0s left): %d`, i))
		}
		settle()
		p.wantLines(want...)
		if n := d.lists.Load(); n > 5 {
			t.Errorf("%d lists", n)
		}
		p.stop()
	})
}

func TestUnauthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		d.down()
		d.listen(d.r.Handler(&rampart.Auth{AdminToken: "another-token-0123456789"}))
		p := start(t, d, nil)
		<-p.done
		if p.err == nil || !strings.Contains(p.err.Error(), "401") || !strings.Contains(p.err.Error(), "-token-file") {
			t.Errorf("ended with %v", p.err)
		}
	})
}

// An outage of hours is logged a few times, and not at each try.
func TestOutageIsNotAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		d.down()
		p := start(t, d, nil)
		time.Sleep(time.Hour)
		if n := strings.Count(p.errs.String(), "\n"); n < 2 || n > 7 || !strings.Contains(p.errs.String(), "connection refused") {
			t.Errorf("an hour without a daemon:\n%s", &p.errs)
		}
		d.up()
		time.Sleep(time.Minute)
		for _, want := range []string{"works again, after 1h0m", "connected to http://127.0.0.1:9090; alerts on deny, ask"} {
			if !strings.Contains(p.errs.String(), want) {
				t.Errorf("no %q in\n%s", want, &p.errs)
			}
		}
		p.stop()
	})
}

// A monitor that can't print an alert ends; the alert comes at the next start.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t)
		state := filepath.Join(t.TempDir(), "state")
		p := startTo(t, full, d, nil, "-state", state)
		d.deny("one")
		<-p.done
		if p.err == nil || !strings.Contains(p.err.Error(), "can't be printed") {
			t.Errorf("ended with %v", p.err)
		}
		p = start(t, d, nil, "-state", state)
		p.wantLines(denied("one"))
		p.stop()
	})
}
