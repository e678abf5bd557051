package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// answer is how an approval stands, as its host is told.
type answer struct {
	Status     string
	ResolvedBy string `json:"resolved_by"`
	Reason     string
}

func (d *daemon) approval(id string) (a answer) {
	d.t.Helper()
	if body := d.call("GET", approvalsPath+"/"+id, ""); json.Unmarshal([]byte(body), &a) != nil {
		d.t.Fatalf("approval %s: %s", id, body)
	}
	return a
}

// resolve answers an approval elsewhere.
func (d *daemon) resolve(id string, approved bool, by string) {
	d.t.Helper()
	d.call("POST", approvalsPath+"/"+id+"/resolve", fmt.Sprintf(`{"approved":%v,"resolved_by":%q}`, approved, by))
}

// card is the selector of an approval.
func card(id string) string { return fmt.Sprintf(`#pending article.approval[data-id="%s"]`, id) }

// wantStatus waits until the page shows that the approval stands so.
func (b *board) wantStatus(id, status string) {
	b.t.Helper()
	b.until(id+" is "+status, `document.querySelector(`+js(card(id))+`).dataset.status === `+js(status))
}

// wantUnanswerable wants that nobody can answer an approval any more.
func (b *board) wantUnanswerable(id string) {
	b.t.Helper()
	b.until("it can't be answered", `[...document.querySelectorAll(`+js(card(id)+" button, "+card(id)+" input")+`)].every(e => e.disabled || !e.checkVisibility())`)
}

// cards are the ids of the approvals that the page shows as pending, in its order.
func (b *board) cards() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll('#pending article.approval[data-status=pending]')].map(e => e.dataset.id)`)
}

func TestDashboardApprove(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := newBoard(t, d.url(""), d.token)
	b.goTo("/dashboard/#approvals")
	b.fill("#sign-in [name=name]", "Ada Lovelace")
	b.signIn(d.token)
	b.wantText("#waiting", "")
	title := eval[string](b, `document.title`)

	command := "git push --force\n\trm -rf /tmp/x \u202e" + strings.Repeat(" and more", 7000)
	ids := []string{d.ask(command, "", 600), d.ask("git tag v1", "", 600), d.ask("git tag v2", "", 600)}
	b.until("three wait", `document.querySelectorAll('#pending article').length === 3`)
	if got := b.cards(); !slices.Equal(got, ids) {
		t.Errorf("they wait in the order %q, want the oldest first: %q", got, ids)
	}
	b.wantText("#waiting", "3")
	b.until("the title says so", `document.title === `+js("(3) "+title))
	if got := b.unmasked(card(ids[0]) + " .request"); !strings.Contains(got, command) {
		t.Errorf("what would run is not there in full: %.300q", got)
	}
	for class, want := range map[string]string{"agent": "claude-code", "message": "publishes", "left": ":"} {
		if got := b.text(card(ids[0]) + " ." + class); !strings.Contains(got, want) {
			t.Errorf("its %s is %q, want %q", class, got, want)
		}
	}
	left := b.text(card(ids[0]) + " .left")
	b.until("the time counts down", `document.querySelector(`+js(card(ids[0])+" .left")+`).textContent !== `+js(left))

	b.click(card(ids[0]) + " button.approve")
	b.wantStatus(ids[0], "approved")
	b.wantPattern(card(ids[0])+" .outcome", "approved.*Ada Lovelace|Ada Lovelace.*approved")
	if got, want := d.approval(ids[0]), (answer{"approved", "Ada Lovelace", ""}); got != want {
		t.Errorf("on record: %+v, want %+v", got, want)
	}

	b.fill(card(ids[1])+" input.reason", `not "today" <b>`)
	b.click(card(ids[1]) + " button.deny")
	b.wantStatus(ids[1], "denied")
	b.wantPattern(card(ids[1])+" .outcome", `not "today" <b>`)
	if got, want := d.approval(ids[1]), (answer{"denied", "Ada Lovelace", `not "today" <b>`}); got != want {
		t.Errorf("on record: %+v, want %+v", got, want)
	}
	b.wantText("#waiting", "1")
	for _, id := range ids[:2] {
		b.wantUnanswerable(id)
	}

	// By the keyboard alone: Tab, Space and Enter.
	b.tabTo(card(ids[2]) + " input.reason")
	b.do(insert("fine"))
	b.tabTo(card(ids[2]) + " button.approve")
	b.press(" ")
	b.wantStatus(ids[2], "approved")
	if got, want := d.approval(ids[2]), (answer{"approved", "Ada Lovelace", "fine"}); got != want {
		t.Errorf("on record: %+v, want %+v", got, want)
	}
	id := d.ask("git tag v3", "", 600)
	b.wantStatus(id, "pending")
	b.tabTo(card(id) + " button.deny")
	b.press(kb.Enter)
	b.wantStatus(id, "denied")
	b.wantText("#waiting", "")
	b.until("the title is as before", `document.title === `+js(title))

	b.click("#clear-answered")
	b.until("all were cleared", `document.querySelectorAll('#pending article').length === 0`)
	b.wantPattern("#approvals-state", `\w`)
	for _, id := range append(ids, id) {
		b.until(id+" is among the answered ones", fmt.Sprintf(`document.querySelector('#answered [data-id="%s"]') !== null`, id))
	}
}

// TestDashboardApprovalChangesElsewhere has approvals expire and be answered
// while a person looks at them and types a reason.
func TestDashboardApprovalChangesElsewhere(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#approvals")
	kept := d.ask("git tag v1", "", 600)
	b.fill(card(kept)+" input.reason", "half a rea")

	expires := d.ask("git tag v2", "", 2)
	answered := d.ask("git tag v3", "", 600)
	b.wantStatus(expires, "pending")
	b.wantStatus(answered, "pending")
	d.resolve(answered, false, "bob")
	b.wantStatus(answered, "denied")
	b.wantPattern(card(answered)+" .outcome", "denied.*bob|bob.*denied")
	b.wantStatus(expires, "expired")
	b.wantPattern(card(expires)+" .outcome", "expired")
	for _, id := range []string{answered, expires} {
		b.wantUnanswerable(id)
	}

	// The text that was being typed is still there, and typing goes on in its place.
	b.do(insert("son"))
	b.until("the reason was not lost", `document.querySelector(`+js(card(kept)+" input.reason")+`).value === 'half a reason'`)
	b.wantText("#waiting", "1")
}

// TestDashboardAnsweredAtTheMoment answers an approval that was answered elsewhere
// just before, when the page could not know of that yet.
func TestDashboardAnsweredAtTheMoment(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "#approvals")
	id := d.ask("git push", "", 600)
	b.wantStatus(id, "pending")
	g.justBefore("/resolve", func() { d.resolve(id, false, "carol") })
	b.expects(`network: .* 410 `)
	b.click(card(id) + " button.approve")
	b.wantStatus(id, "denied")
	b.wantPattern(card(id)+" .outcome", "carol")
	b.wantUnanswerable(id)
	if got := d.approval(id); got.Status != "denied" || got.ResolvedBy != "carol" {
		t.Errorf("on record: %+v", got)
	}
}

// TestDashboardClickOnWhatMoves clicks just after another approval has moved into
// the place: the click was meant for what stood there before.
func TestDashboardClickOnWhatMoves(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#approvals")
	b.asked(d, "run_1", 2)
	last := d.ask("git tag below", "", 600)
	b.wantStatus(last, "pending")
	eval[bool](b, `(() => {
		const button = document.querySelector(`+js(card(last)+" button.approve")+`)
		new MutationObserver((_, observer) => {
			observer.disconnect()
			button.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true, detail: 1}))
		}).observe(document.querySelector(`+js(group("run_1")+" .list")+`), {childList: true})
		return true
	})()`)
	d.ask("git tag run_1-v2", "run_1", 600)
	b.wantPattern(card(last)+" .outcome", "moved")
	if got := d.approval(last); got.Status != "pending" {
		t.Errorf("it was %s", got.Status)
	}
	b.rest()
	b.click(card(last) + " button.approve")
	b.wantStatus(last, "approved")
}

// TestDashboardTamperedRequest alters what would run on its way to the page.
func TestDashboardTamperedRequest(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "#approvals")
	g.alters(func(r *http.Request, part []byte) []byte {
		if r.URL.Path != approvalsPath {
			return part
		}
		return bytes.ReplaceAll(part, []byte("rm -rf /"), []byte("ls -l  /"))
	})
	id := d.ask("rm -rf /", "", 600)
	b.wantStatus(id, "pending")
	b.wantPattern(card(id), "not the one")
}

// TestDashboardAnswerIsSentOnce clicks twice, and has the network lose requests
// and answers.
func TestDashboardAnswerIsSentOnce(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "#approvals")
	ids := []string{d.ask("git tag v1", "", 600), d.ask("git tag v2", "", 600), d.ask("git tag v3", "", 600), d.ask("git tag v4", "", 600)}
	b.wantStatus(ids[3], "pending")

	var answers atomic.Int32
	held := make(chan struct{})
	g.serves(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/resolve") {
			answers.Add(1)
			<-held
		}
		return false
	})
	b.clickTimes(card(ids[0])+" button.approve", 2)
	close(held)
	b.wantStatus(ids[0], "approved")
	b.tabTo(card(ids[3]) + " button.approve")
	b.press(kb.Enter + kb.Enter)
	b.wantStatus(ids[3], "approved")
	if n := answers.Load(); n != 2 {
		t.Errorf("two clicks and two strokes sent %d answers", n)
	}

	// An answer that never arrives: the approval is as pending as before, and can be
	// answered again.
	b.expects(`network: .*net::ERR_EMPTY_RESPONSE.*resolve`)
	lose := func(deliver bool) {
		g.serves(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/resolve") {
				return false
			}
			// A browser tries again by itself on another connection.
			if deliver && d.approval(ids[2]).Status == "pending" {
				d.resolve(ids[2], true, "me")
			}
			panic(http.ErrAbortHandler)
		})
	}
	lose(false)
	b.click(card(ids[1]) + " button.deny")
	b.wantPattern(card(ids[1])+" .outcome", "still waits") // the browser has tried, and the page has asked
	b.wantStatus(ids[1], "pending")
	if got := d.approval(ids[1]); got.Status != "pending" {
		t.Errorf("on record: %+v", got)
	}
	g.serves(nil)
	b.rest() // the new words moved what is below them
	b.click(card(ids[1]) + " button.deny")
	b.wantStatus(ids[1], "denied")

	// An answer that arrives, but whose outcome is lost.
	lose(true)
	b.rest()
	b.click(card(ids[2]) + " button.approve")
	b.wantStatus(ids[2], "approved")
	b.wantUnanswerable(ids[2])
	var resolved int
	for _, line := range d.lines() {
		if strings.Contains(line, "approval_resolved") {
			resolved++
		}
	}
	if resolved != 4 {
		t.Errorf("%d answers on record, want 4", resolved)
	}
}
