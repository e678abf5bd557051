package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// auditDir is where the daemon has its log.
func (d *daemon) auditDir() string { return filepath.Join(d.home, ".rampart", "audit") }

// edit replaces text on the disk, in one place of the log.
func (d *daemon) edit(old, with string) {
	d.t.Helper()
	segments, err := filepath.Glob(filepath.Join(d.auditDir(), "*.jsonl"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range segments {
		if data := readFile(d.t, path); strings.Count(data, old) == 1 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte(with), int64(strings.Index(data, old)))
				f.Close()
			}
			if err != nil {
				d.t.Fatal(err)
			}
			return
		}
	}
	d.t.Fatalf("%s is not on the log, or more than once", old)
}

// wantAlarm waits for an alarm about that event which says what does not fit.
func (b *board) wantAlarm(id, pattern string) {
	b.t.Helper()
	b.until("an alarm about "+id, `[...document.querySelectorAll('#alarms .alarm')].some(e => e.textContent.includes(`+js(id)+`) && new RegExp(`+js(pattern)+`, 'i').test(e.textContent))`)
}

// wantCalm wants the page to say that nothing is wrong with the log.
func (b *board) wantCalm() {
	b.t.Helper()
	if text := b.text("#alarms"); text != "" {
		b.t.Errorf("an alarm: %s", text)
	}
}

// TestDashboardProof compares the page's figures with the daemon's, and has the page
// verify a log that is whole and one that is not.
func TestDashboardProof(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#proof")
	d.record(numbered("git show", 20)...)
	var status struct {
		Head   struct{ ID, Hash string }
		Events int
	}
	if err := json.Unmarshal([]byte(d.call("GET", "/v1/status", "")), &status); err != nil {
		t.Fatal(err)
	}
	b.wantText("#head-id", status.Head.ID)
	b.wantText("#head-hash", status.Head.Hash)
	b.wantText("#events-count", fmt.Sprint(status.Events))
	b.wantText("#checked", "20")
	b.click("#verify")
	b.until("it is whole", `document.querySelector('#verify-result').dataset.ok === 'true'`)
	b.wantPattern("#verify-result", "20")

	d.edit("git show 7", "git shoo 7")
	b.click("#verify")
	b.until("it is not", `document.querySelector('#verify-result').dataset.ok === 'false'`)
	b.wantPattern("#verify-result", stored(t, d.lines()[7]).ID)
	d.edit("git shoo 7", "git show 7")
	b.click("#verify")
	b.until("it is whole", `document.querySelector('#verify-result').dataset.ok === 'true'`)
	b.wantCalm()
}

// TestDashboardWitness leaves the page, and comes back to a log that was cut, to an
// older copy of it that went on, and to another log.
func TestDashboardWitness(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(d *daemon, old string){
		"cut": func(d *daemon, _ string) {
			lines := d.lines()
			if err := os.RemoveAll(d.auditDir()); err != nil {
				d.t.Fatal(err)
			}
			if err := os.Mkdir(d.auditDir(), 0o700); err != nil {
				d.t.Fatal(err)
			}
			text := strings.Join(lines[:len(lines)-2], "\n") + "\n"
			if err := os.WriteFile(filepath.Join(d.auditDir(), "00000000000000000001.jsonl"), []byte(text), 0o600); err != nil {
				d.t.Fatal(err)
			}
		},
		"older copy": func(d *daemon, old string) {
			if err := os.RemoveAll(d.auditDir()); err != nil {
				d.t.Fatal(err)
			}
			if err := os.CopyFS(d.auditDir(), os.DirFS(old)); err != nil {
				d.t.Fatal(err)
			}
		},
		"another log": func(d *daemon, _ string) {
			if err := os.RemoveAll(d.auditDir()); err != nil {
				d.t.Fatal(err)
			}
		},
	} {
		for _, reload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reload %v", name, reload), func(t *testing.T) {
				t.Parallel()
				d := start(t)
				d.record(numbered("git show", 5)...)
				d.stop()
				old := t.TempDir()
				if err := os.CopyFS(filepath.Join(old, "audit"), os.DirFS(d.auditDir())); err != nil {
					t.Fatal(err)
				}
				d.restart()
				b := dashboard(t, d, "#proof")
				ids := d.record(numbered("git log", 5)...)
				last := ids[4]
				b.wantPattern("#witness", last)
				b.wantCalm()

				b.expects(daemonIsDown)
				b.expects(`network: .* 404 .*audit/events/` + last) // the page looks for what it saw
				b.do(chromedp.Reload())                             // a reload alone raises no alarm
				b.live()
				b.wantPattern("#witness", last)
				b.wantCalm()

				if reload {
					b.do(chromedp.Navigate("about:blank"))
				}
				d.stop()
				tamper(d, filepath.Join(old, "audit"))
				d.restart()
				if name == "older copy" {
					d.record(numbered("something else", 7)...)
				}
				if reload {
					b.goTo("/dashboard/#proof")
				}
				b.live()
				b.wantAlarm(last, "not on the log|written anew")
				b.do(chromedp.Reload())
				b.live()
				b.wantAlarm(last, "not on the log|written anew")

				// The page goes on with the log that is there.
				id := d.record(event("git gc", "allow"))[0]
				b.show("activity")
				b.newest(id)
				b.wantRows(newestFirst(t, d.lines()))
				b.click("#alarms .alarm button.dismiss")
				b.until("dismissed", `document.querySelectorAll('#alarms .alarm').length === 0`)
				b.do(chromedp.Reload())
				b.live()
				b.wantCalm()
			})
		}
	}
}

// daemonIsDown matches what the console says while the daemon is down.
const daemonIsDown = `network: .*net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE|NETWORK_IO_SUSPENDED|SOCKET_NOT_CONNECTED)`

// TestDashboardTamperedStream alters events on their way to the page.
func TestDashboardTamperedStream(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]func(line []byte) []byte{
		"request": func(line []byte) []byte { return bytes.Replace(line, []byte("rm -rf /"), []byte("rm -rf ."), 1) },
		"hash": func(line []byte) []byte {
			return regexp.MustCompile(`"hash":"....`).ReplaceAllLiteral(line, []byte(`"hash":"beef`))
		},
		"no event at all": func(line []byte) []byte {
			return regexp.MustCompile(`"request":\{"command":"rm -rf /"\}`).ReplaceAllLiteral(line, []byte(`"request":7`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			g := newGateway(t, d, "")
			b := through(t, d, g, "")
			first := d.record(event("git status", "allow"))[0]
			b.newest(first)
			b.wantCalm()
			g.alters(func(_ *http.Request, part []byte) []byte {
				if bytes.HasPrefix(part, []byte("data:")) && bytes.Contains(part, []byte("rm -rf /")) {
					return alter(part)
				}
				return part
			})
			id := d.record(event("rm -rf /", "deny"))[0]
			if name == "no event at all" {
				id = ""
			}
			b.wantAlarm(id, "hash|form")
			g.alters(nil)

			// The log itself is whole, and the page gets all of it.
			d.record(event("git log", "allow"))
			b.wantRows(newestFirst(t, d.lines()))
		})
	}
}

// TestDashboardTamperedAndHashedAgain alters an event and makes its hash right: the
// link of the next event shows it.
func TestDashboardTamperedAndHashedAgain(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "")
	b.newest(d.record(event("git status", "allow"))[0])
	tail := regexp.MustCompile(`,"hash":"[0-9a-f]{64}"\}\}\n$`)
	g.alters(func(_ *http.Request, part []byte) []byte {
		line, ok := bytes.CutPrefix(part, []byte(`data: {"type":"audit","event":`))
		if !ok || !bytes.Contains(line, []byte("rm -rf /")) {
			return part
		}
		line = tail.ReplaceAllLiteral(bytes.Replace(line, []byte("rm -rf /"), []byte("rm -rf ."), 1), []byte("}"))
		return fmt.Appendf(nil, "data: {\"type\":\"audit\",\"event\":%s,\"hash\":\"%x\"}}\n", line[:len(line)-1], sha256.Sum256(line))
	})
	b.newest(d.record(event("rm -rf /", "deny"))[0])
	b.wantCalm()
	b.wantAlarm(d.record(event("git log", "allow"))[0], "link")
}

// TestDashboardTamperedDisk alters an old event on the disk under a running daemon:
// a person who scrolls there is told, by the page or in the daemon's words.
func TestDashboardTamperedDisk(t *testing.T) {
	t.Parallel()
	d := start(t)
	ids := d.record(numbered("git show", 1000)...)
	b := dashboard(t, d, "")
	b.tall()
	b.newest(ids[999])
	d.edit(`git show 30"`, `git shoo 30"`)
	b.expects(`network: .* 500 .*audit/events`)
	b.wantFirst(newestFirst(t, d.lines())[:400])
	b.until("scrolling down tells of it", `(e => (e.scrollTop = e.scrollHeight,
		[document.querySelector('#alarms'), document.querySelector('#rows-state')].some(e => e.textContent.includes(`+js(ids[30])+`))))(document.querySelector('#rows'))`)
	b.expects(daemonIsDown)
	d.kill() // its log is not whole, and would fail the verification at the end
}

// TestDashboardTamperedLink follows a link to an old event, which is altered on its
// way. The page used to say so only beside the event.
func TestDashboardTamperedLink(t *testing.T) {
	t.Parallel()
	d := start(t)
	ids := d.record(numbered("git show", 300)...)
	g := newGateway(t, d, "")
	g.alters(func(r *http.Request, part []byte) []byte {
		if r.URL.Path != eventsPath+"/"+ids[7] {
			return part
		}
		return bytes.Replace(part, []byte(`git show 7"`), []byte(`git shoo 7"`), 1)
	})
	b := through(t, d, g, "#activity?event="+ids[7])
	b.wantPattern("#event-check", "DOES NOT FIT")
	b.wantAlarm(ids[7], "hash")
}

// TestDashboardStreamWithholds takes an event out of the stream. The page gets it
// from the log.
func TestDashboardStreamWithholds(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "")
	withheld := false
	g.alters(func(_ *http.Request, part []byte) []byte {
		withheld = bytes.HasPrefix(part, []byte("data:")) && bytes.Contains(part, []byte("rm -rf /")) || withheld && bytes.HasPrefix(part, []byte("id:"))
		if withheld {
			return nil
		}
		return part
	})
	d.record(event("git status", "allow"))
	d.record(event("rm -rf /", "deny"))
	id := d.record(event("git log", "allow"))[0]
	b.newest(id)
	b.wantRows(newestFirst(t, d.lines()))
	b.wantCalm()
}

// TestDashboardTamperedHistory alters an old event, which the page asks for when a
// person scrolls to it.
func TestDashboardTamperedHistory(t *testing.T) {
	t.Parallel()
	d := start(t)
	ids := d.record(numbered("git show", 1000)...)
	for name, alter := range map[string]func(part []byte) []byte{
		"request": func(part []byte) []byte {
			return bytes.Replace(part, []byte(`git show 30"`), []byte(`git shoo 30"`), 1)
		},
		"link": func(part []byte) []byte { // an event is left out
			i := bytes.Index(part, []byte(`{"id":"`+ids[31]))
			j := bytes.Index(part, []byte(`{"id":"`+ids[30]))
			if i < 0 || j < 0 {
				return part
			}
			return append(slices.Clone(part[:i]), part[j:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, d, "")
			b := through(t, d, g, "")
			b.tall()
			b.newest(ids[999])
			b.wantCalm()
			g.alters(func(r *http.Request, part []byte) []byte {
				if r.URL.Path == eventsPath {
					return alter(part)
				}
				return part
			})
			b.wantFirst(newestFirst(t, d.lines())[:900]) // the others are loaded meanwhile
			if name == "request" {
				b.wantAlarm(ids[30], "hash")
				b.until("its row is marked", `(e => (e.scrollTop = 0.969 * e.scrollHeight - e.clientHeight / 2, document.querySelector(`+js(rowOf(ids[30])+".broken")+`) !== null))(document.querySelector('#rows'))`)
			} else {
				b.wantAlarm(ids[32], "link")
			}
		})
	}
}

// wantChecked wants that the page has recomputed so many events, without a gap.
func (b *board) wantChecked(n int) {
	b.t.Helper()
	b.show("proof")
	b.until(fmt.Sprintf("%d events were checked", n), fmt.Sprintf(`document.querySelector('#checked').textContent.replaceAll(',', '') === '%d'`, n))
}
