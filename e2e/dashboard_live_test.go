package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
)

// TestDashboardRow reads each cell of a row, in a time zone other than UTC.
func TestDashboardRow(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := newBoard(t, d.url(""), d.token)
	if _, err := chromedp.Call(b.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"}); err != nil {
		t.Fatal(err)
	}
	b.goTo("/dashboard/")
	b.signIn(d.token)
	id := d.record(`{"timestamp":"2026-03-03T10:15:30.123456Z","agent":"claude-code","session":"myapp/main","run_id":"run_7","tool":"exec",` +
		`"request":{"command":"git add .\ngit commit"},"decision":{"action":"deny","matched_policies":["no-commits","friday"],"evaluation_time_us":1500,"message":"not today"}}`)[0]
	b.newest(id)
	cells := eval[map[string]string](b, `Object.fromEntries(['agent', 'session', 'tool', 'request', 'action', 'policies', 'took'].map(
		name => [name, document.querySelector(`+js(rowOf(id))+` + ' .' + name).textContent.trim()]))`)
	want := map[string]string{
		"agent": "claude-code", "session": "myapp/main", "tool": "exec", "request": "git add .⏎git commit",
		"action": "deny", "policies": "no-commits, friday", "took": "1.5 ms",
	}
	if diff := cmp.Diff(want, cells); diff != "" {
		t.Error(diff)
	}
	at := eval[[]string](b, `(() => {
		const row = document.querySelector(`+js(rowOf(id))+`), time = row.querySelector('.time time')
		return [time.getAttribute('datetime'), time.title, time.textContent, row.querySelector('.action').dataset.action]
	})()`)
	if at[0] != "2026-03-03T10:15:30.123456Z" || !strings.Contains(at[1], "2026-03-03") || !strings.Contains(at[1], "10:15:30.123456") || !strings.Contains(at[2], "15:45") || at[3] != "deny" {
		t.Errorf("the row's time and action are %q", at)
	}
}

// TestDashboardLive follows the log from its first event on.
func TestDashboardLive(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	b.wantPattern("#rows-state", `\w`) // an empty log says what to do
	var want []string
	for i := range 10 {
		want = slices.Insert(want, 0, d.record(event(fmt.Sprint("git show ", i), "allow"))...)
		b.newest(want[0])
	}
	for _, id := range d.record(numbered("git log", 90)...) {
		want = slices.Insert(want, 0, id)
	}
	b.wantRows(want)
	b.wantChecked(100)
}

// TestDashboardPause reads while more comes.
func TestDashboardPause(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	old := d.record(numbered("before", 5)...)
	b.newest(old[4])

	b.click("#pause")
	b.until("paused", `document.querySelector('#pause').ariaPressed === 'true'`)
	var all []string
	all = append(all, old...)
	for range 3 {
		all = append(all, d.record(numbered("meanwhile", 4)...)...)
	}
	b.wantPattern("#meanwhile", `^12 `)
	b.newest(old[4])
	b.click("#meanwhile")
	slices.Reverse(all)
	b.wantRows(all)
	b.until("going on", `document.querySelector('#pause').ariaPressed === 'false' && !document.querySelector('#meanwhile').checkVisibility()`)

	// By its own button, and with Space.
	b.tabTo("#pause")
	b.press(" ")
	b.until("paused", `document.querySelector('#pause').ariaPressed === 'true'`)
	id := d.record(event("while paused", "deny"))[0]
	b.wantPattern("#meanwhile", `^1 `)
	b.press(" ")
	b.newest(id)
	b.wantRows(append([]string{id}, all...))
}

// TestDashboardEvent opens events and walks the chain from one to the next.
func TestDashboardEvent(t *testing.T) {
	t.Parallel()
	d := start(t)
	ids := d.record(numbered("git show", 300)...)
	lines := d.lines()
	b := dashboard(t, d, "")
	b.newest(ids[299])

	wantOpen := func(i int) {
		t.Helper()
		b.wantText("#event-id", ids[i])
		b.wantText("#event-hash", stored(t, lines[i]).Hash)
		b.wantPattern("#event-check", "hash")
		b.until("the URL names it", `location.hash.includes('event=`+ids[i]+`')`)
		if got := b.shownJSON(); got != lines[i] {
			t.Errorf("event %d shows as %s\nwant %s", i, got, lines[i])
		}
	}
	b.click(rowOf(ids[297]))
	wantOpen(297)
	b.click("#event-newer")
	wantOpen(298)
	b.click("#event-newer")
	wantOpen(299)
	b.until("there is none newer", `document.querySelector('#event-newer').disabled`)
	b.click("#event-older")
	wantOpen(298)

	// Once another event comes, the open one has a newer neighbour.
	b.click("#event-newer")
	wantOpen(299)
	ids = append(ids, d.record(event("git gc", "allow"))...)
	lines = d.lines()
	b.click("#event-newer")
	wantOpen(300)
	b.click("#event-close")
	b.until("closed", `!document.querySelector('#event').checkVisibility() && !location.hash.includes('event=')`)

	// A link to an old event, which somebody shared.
	b.do(chromedp.Navigate("about:blank"))
	b.goTo("/dashboard/#activity?event=" + ids[0])
	b.live()
	wantOpen(0)
	b.until("there is none older", `document.querySelector('#event-older').disabled`)

	// By the keyboard alone: the arrows move, Enter opens, and the focus comes back.
	b.click("#event-close")
	b.tabTo("#rows")
	b.press(kb.ArrowDown)
	b.press(kb.ArrowDown)
	b.press(kb.Enter)
	b.until("one is open", `document.querySelector('#event').checkVisibility() && document.querySelector('#event-id').textContent !== ''`)
	opened := b.text("#event-id")
	if !slices.Contains(ids[295:], opened) {
		t.Errorf("the second row from the top opens %s, which is none of the newest", opened)
	}
	b.press(kb.Escape)
	b.until("closed, and the focus is among the rows", `!document.querySelector('#event').checkVisibility() && document.querySelector('#rows').contains(document.activeElement)`)
}
