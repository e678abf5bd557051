package main_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

// wantPosted compares the commands of all posted alerts.
func (r *receiver) wantPosted(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), r.commands()); diff != "" {
		r.t.Errorf("posted (-want +got):\n%s", diff)
	}
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func status(code int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		p := start(t, d, r)
		d.deny("rm -rf /")
		settle()
		id := d.ask("git push")
		settle()
		d.answer(id, rampart.Approved)
		settle()
		var got []string
		for _, post := range r.got() {
			got = append(got, regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|/\S+/token`).ReplaceAllString(post.Text, "#"))
		}
		want := []string{
			"Rampart: 1 deny\n```\n# deny     claude-code shop/main exec \"not here\": rm -rf /\n```",
			"Rampart: 1 pending\n```\n# pending  claude-code shop/main exec \"publishes\" (5m0s left): git push\n" +
				"    curl -H \"Authorization: Bearer $(cat #)\" -H 'Content-Type: application/json' -d '{\"approved\":true}' http://127.0.0.1:9090/v1/approvals/" + id + "/resolve\n```",
			"Rampart: 1 approved\n```\n# approved claude-code shop/main exec approval " + id + " by ann: git push\n```",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for i, kind := range []string{"decision", "pending", "ended"} {
			a := r.got()[i].Alerts[0]
			if a.Kind != kind || a.Agent != "claude-code" || (a.ApprovalID == id) != (i > 0) {
				t.Errorf("alert %d: %+v", i, a)
			}
		}
		p.stop()
	})
}

// TestWebhookDown tries each way of being down. Alerts are printed meanwhile, and
// posted afterwards in order.
func TestWebhookDown(t *testing.T) {
	for name, down := range map[string]func(*receiver){
		"refuses connections": func(r *receiver) { r.down() },
		"500":                 func(r *receiver) { r.set(status(500)) },
		"503":                 func(r *receiver) { r.set(status(503)) },
		"408":                 func(r *receiver) { r.set(status(408)) },
		"hangs":               func(r *receiver) { r.setHang(make(chan struct{})) },
		"hangs up":            func(r *receiver) { r.set(func(http.ResponseWriter) { panic(http.ErrAbortHandler) }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDaemon(t), startReceiver(t)
				p := start(t, d, r)
				down(r)
				var want []string
				for i := range 40 {
					d.deny(fmt.Sprint(i))
					moment()
					want = append(want, denied(fmt.Sprint(i)))
					p.wantLines(want...) // at once, whatever the webhook does
					time.Sleep(time.Minute)
				}
				r.wantPosted()
				if n := len(r.tried()); n > 60 {
					t.Errorf("tried %d times in 40 minutes", n)
				}
				if n := strings.Count(p.errs.String(), "the webhook"); n < 1 || n > 5 {
					t.Errorf("told %d times:\n%s", n, &p.errs)
				}
				r.down()
				r.set(nil)
				r.setHang(nil)
				r.listen(r)
				time.Sleep(3 * time.Minute)
				r.wantPosted(numbers(0, 40)...)
				if n := len(r.got()); n != 3 { // one was under way; the others have up to 30 alerts each
					t.Errorf("%d posts", n)
				}
				p.stop()
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for header, want := range map[string]time.Duration{
		"30": 30 * time.Second, "": time.Second, "soon": time.Second, "-5": time.Second,
		"999999999999": 10 * time.Minute, "date": 90 * time.Second,
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDaemon(t), startReceiver(t)
				p := start(t, d, r)
				value := header
				if header == "date" {
					value = at(90 * time.Second)
				}
				r.set(status(429, "Retry-After", value))
				d.deny("one")
				moment()
				r.set(nil)
				time.Sleep(20 * time.Minute)
				r.wantPosted("one")
				tries := r.tried()
				if len(tries) != 2 || tries[1].Sub(tries[0]).Round(time.Second) != want {
					t.Errorf("tries at %v, want %v between them", tries, want)
				}
				p.stop()
			})
		})
	}
}

// A message that is refused for good is dropped and logged, and the next one is
// posted.
func TestWebhookRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter)
		says   string
	}{
		{"Slack's word", func(w http.ResponseWriter) { w.WriteHeader(404); w.Write([]byte("no_service")) }, "404 Not Found: no_service"},
		{"a page that repeats the URL", func(w http.ResponseWriter) { w.WriteHeader(410); w.Write([]byte(hookURL)) }, "410 Gone"},
		{"a redirect", status(302, "Location", hookURL+"/elsewhere"), "302 Found"},
		{"a redirect that keeps the method", status(308, "Location", hookURL), "308 Permanent Redirect"},
		{"too large", status(413), "413 Request Entity Too Large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDaemon(t), startReceiver(t)
				state := filepath.Join(t.TempDir(), "state")
				p := start(t, d, r, "-state", state)
				r.set(c.answer)
				d.deny("one")
				settle()
				if want := "the webhook refused a message of 1 alerts, which is dropped: " + c.says + "\n"; !strings.Contains(p.errs.String(), want) {
					t.Errorf("no %q in\n%s", want, &p.errs)
				}
				r.set(nil)
				d.deny("two")
				settle()
				r.wantPosted("two")
				wantPosition(t, state, d.head())
				p.stop()
			})
		})
	}
}

// Of a storm of alerts some messages of bounded length are posted, and the number
// of the others.
func TestStorm(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("the webhook hangs %t", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDaemon(t), startReceiver(t)
				state := filepath.Join(t.TempDir(), "state")
				p := start(t, d, r, "-state", state)
				gate := make(chan struct{})
				if hangs {
					r.setHang(gate)
				}
				const storm = 3000
				var events []rampart.AuditEvent
				for i := range storm {
					events = append(events, event("deny", fmt.Sprint(i)))
				}
				d.append(events...)
				moment()
				if n := len(p.lines()); n != storm {
					t.Errorf("%d lines were printed", n)
				}
				close(gate)
				time.Sleep(5 * time.Minute)
				posted, counted, said := 0, 0, false
				for _, post := range r.got() {
					if len(post.Text) > 4000 {
						t.Errorf("a text of %d bytes", len(post.Text))
					}
					for _, a := range post.Alerts {
						if a.Kind == "not_posted" {
							counted += a.NotPosted
							said = said || strings.Contains(post.Text, fmt.Sprintf("%d further alerts were not posted", a.NotPosted))
						} else if a.Command != fmt.Sprint(posted+counted) { // some may be counted between two that are posted
							t.Fatalf("alert %d behind %d that are counted is of %s", posted, counted, a.Command)
						} else {
							posted++
						}
					}
				}
				if posted+counted != storm || posted < 500 || !said {
					t.Errorf("%d posted and %d counted of %d", posted, counted, storm)
				}
				if n := len(r.got()); n > 50 {
					t.Errorf("%d posts", n)
				}
				for i, post := range r.got()[1:] {
					if gap := post.at.Sub(r.got()[i].at); gap < time.Second {
						t.Errorf("two posts are %v apart", gap)
					}
				}
				wantPosition(t, state, d.head())
				d.deny("after it")
				settle()
				if got := r.commands(); got[len(got)-1] != "after it" {
					t.Errorf("after the storm came %q", got[len(got)-1])
				}
				p.stop()
			})
		})
	}
}

// A storm of denials does not keep an approval from being posted.
func TestStormHidesNoApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		p := start(t, d, r)
		r.down()
		storm := func() {
			for range 600 {
				d.append(event("deny", "x"))
			}
		}
		storm()
		settle()
		id := d.ask("git push")
		settle()
		storm()
		settle()
		r.listen(r)
		time.Sleep(3 * time.Minute)
		var got []string
		for _, post := range r.got() {
			for _, a := range post.Alerts {
				switch {
				case a.Kind == "not_posted":
					got = append(got, fmt.Sprint(a.NotPosted))
				case a.Kind == "pending" && a.ApprovalID == id:
					got = append(got, "pending")
				}
			}
		}
		if diff := cmp.Diff([]string{"100", "pending", "600"}, got); diff != "" {
			t.Error(diff)
		}
		d.answer(id, rampart.Denied)
		p.stop()
	})
}

// An approval that was answered while the webhook was down is posted all the same:
// first as pending, then as answered.
func TestApprovalAnsweredBeforeItWasPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		p := start(t, d, r)
		r.down()
		id := d.ask("git push")
		time.Sleep(2 * time.Minute)
		d.answer(id, rampart.Denied)
		time.Sleep(time.Minute)
		r.listen(r)
		time.Sleep(2 * time.Minute)
		var texts string
		for _, post := range r.got() {
			texts += post.Text
		}
		pending, ended := strings.Index(texts, " pending "), strings.Index(texts, " denied ")
		if pending < 0 || ended < pending {
			t.Errorf("posted:\n%s", texts)
		}
		p.stop()
	})
}

func TestShutdownDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		p := start(t, d, r)
		r.set(status(429, "Retry-After", "600"))
		d.deny("one")
		moment()
		r.set(nil)
		d.deny("two")
		moment()
		began := time.Now()
		p.stop() // during the pause that the webhook asked for
		r.wantPosted("one", "two")
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestShutdownIsBounded(t *testing.T) {
	for name, down := range map[string]func(*receiver){
		"refuses": func(r *receiver) { r.down() },
		"hangs":   func(r *receiver) { r.setHang(make(chan struct{})) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDaemon(t), startReceiver(t)
				state := filepath.Join(t.TempDir(), "state")
				p := start(t, d, r, "-state", state)
				before := d.head()
				down(r)
				d.deny("one", "two")
				moment()
				began := time.Now()
				p.stopping()
				<-p.done
				if d := time.Since(began); d > 6*time.Second {
					t.Errorf("it took %v", d)
				}
				if p.err == nil || !strings.Contains(p.err.Error(), "2 alerts were not posted to the webhook; they come again at the next start") {
					t.Errorf("ended with %v", p.err)
				}
				wantPosition(t, state, before)
				r.down()
				r.setHang(nil)
				r.listen(r)
				p = start(t, d, r, "-state", state)
				settle()
				r.wantPosted("one", "two")
				p.stop()
			})
		})
	}
}

// Errors of net/http name the URL, which is a secret. Every test searches the
// output for it.
func TestWebhookErrorsHaveNoURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDaemon(t), startReceiver(t)
		r.down()
		p := start(t, d, r)
		d.deny("one")
		time.Sleep(time.Minute)
		p.stopping()
		<-p.done
		if !strings.Contains(p.errs.String(), "the webhook: failing, and tried again: connection refused") {
			t.Errorf("said:\n%s", &p.errs)
		}
	})
}
