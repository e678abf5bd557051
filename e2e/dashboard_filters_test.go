package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// varied are n events in which each field to filter by changes at its own rhythm.
func varied(n int) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(`{"timestamp":"2026-03-03T10:15:30Z","agent":"agent-%d","session":"app/%d","run_id":"run-%d","tool":%q,"request":{"command":"make target-%d # Größe \"%d\""},"decision":{"action":%q}}`,
			i%2, i%3, i%5, []string{"exec", "read", "write", "exec"}[i%4], i, i, []string{"allow", "allow", "deny", "watch", "allow", "ask", "allow"}[i%7])
	}
	return events
}

// TestDashboardFilters types each filter, and all together. The address shows
// somebody else the same, and the browser's Back button goes back.
func TestDashboardFilters(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.record(varied(700)...)
	b := dashboard(t, d, "")
	b.tall()
	lines := d.lines()
	matching := func(filter map[string]string) (ids []string) {
		for _, line := range lines {
			e := stored(t, line)
			has := map[string]string{"agent": e.Agent, "session": e.Session, "tool": e.Tool, "action": e.Decision.Action, "run_id": e.RunID}
			if slices.ContainsFunc(slices.Collect(maps.Keys(filter)), func(name string) bool {
				if name == "text" {
					return !strings.Contains(strings.ToLower(line), strings.ToLower(strings.ReplaceAll(filter[name], `"`, `\"`)))
				}
				return !slices.Contains(strings.Fields(filter[name]), has[name])
			}) {
				continue
			}
			ids = append(ids, e.ID)
		}
		slices.Reverse(ids)
		return ids
	}
	field := func(name string) string { return "#filters [name=" + name + "]" }

	for _, filter := range []map[string]string{
		{"agent": "agent-1"},
		{"session": "app/2"},
		{"tool": "read write"},
		{"action": "deny ask"},
		{"run_id": "run-3"},
		{"text": `grösse`},
		{"text": `größe "6`},
		{"agent": "agent-0", "session": "app/0 app/1", "tool": "exec", "action": "allow", "run_id": "run-4", "text": "target-"},
		{"agent": "nobody"},
	} {
		for name, value := range filter {
			b.fill(field(name), value)
		}
		b.press(kb.Enter)
		want := matching(filter)
		b.until("the address names the filter", `Object.entries(`+js(filter)+`).every(([name, value]) =>
			new URLSearchParams(location.hash.split('?')[1]).getAll(name).join(' ') === value)`)
		if len(want) == 0 {
			b.until("there are none", `document.querySelectorAll('.row[data-id]').length === 0`)
			b.wantPattern("#rows-state", `\w`)
		} else {
			b.newest(want[0])
		}
		b.wantRows(want)
		b.click("#clear-filters")
		b.until("the address names none", `!/[?&](agent|session|tool|action|run_id|text)=/.test(location.hash)`)
		b.newest(stored(t, lines[len(lines)-1]).ID)
	}

	// Events that come while a filter is set go through it, too.
	b.fill(field("agent"), "agent-1")
	b.until("typing is enough", `location.hash.includes('agent=agent-1')`)
	d.record(varied(4)...)
	lines = d.lines()
	want := matching(map[string]string{"agent": "agent-1"})
	b.wantRows(want)

	b.fill(field("action"), "deny")
	b.press(kb.Enter)
	both := matching(map[string]string{"agent": "agent-1", "action": "deny"})
	b.wantRows(both)
	shared := b.another()
	shared.do(chromedp.Navigate(eval[string](b, `location.href`)))
	shared.live()
	shared.wantRows(both)
	if got := eval[string](shared, `['agent', 'action'].map(name => document.querySelector('#filters [name=' + name + ']').value).join()`); got != "agent-1,deny" {
		t.Errorf("the fields say %s", got)
	}
	eval[bool](b, `(history.back(), true)`)
	b.until("back to one filter", `document.querySelector('#filters [name=action]').value === ''`)
	b.wantRows(want)
}

// TestDashboardScrollsBack begins after 12,000 events. The page holds 10,000 of
// them at most, and shows each once, in order, while more arrive.
func TestDashboardScrollsBack(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.record(numbered("old", 12_000)...)
	b := dashboard(t, d, "")
	b.tall()
	lines := d.lines()
	b.newest(stored(t, lines[len(lines)-1]).ID)
	if n := eval[int](b, `document.querySelectorAll('.row[data-id]').length`); n > 500 {
		t.Errorf("%d rows are in the document", n)
	}
	b.wantRows(newestFirst(t, lines))
	b.wantPattern("#rows-state", `\w`)

	// Events that come do not move what is being read.
	b.until("in the middle", `(document.querySelector('#rows').scrollTop = 100000) > 0 && document.querySelectorAll('.row[data-id]').length > 0`)
	d.record(numbered("new", 500)...)
	lines = d.lines()
	eval[bool](b, `(document.querySelector('#rows').scrollTop = 0, true)`)
	b.until("the newest are at hand", `document.querySelector(`+js(rowOf(stored(t, lines[len(lines)-1]).ID))+`) !== null || !!document.querySelector('#meanwhile')?.checkVisibility()`)
	if eval[bool](b, `document.querySelector('#meanwhile').checkVisibility()`) {
		b.click("#meanwhile")
	}
	b.wantFirst(newestFirst(t, lines)[:1000])
}

// TestDashboardOddAddresses has malformed times in the address, at which the page
// stopped, and a person who goes elsewhere before a filter has been applied, at
// which the address went back.
func TestDashboardOddAddresses(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.record(numbered("git show", 5)...)
	b := dashboard(t, d, "#activity?since=yesterday&until=9999-99-99")
	b.wantRows(newestFirst(t, d.lines()))
	if at := eval[string](b, `new Promise(done => {
		const field = document.querySelector('#filters [name=text]')
		field.focus()
		field.value = 'git'
		field.dispatchEvent(new Event('input', {bubbles: true}))
		location.hash = '#proof'
		setTimeout(() => done(location.hash), 800)
	})`); at != "#proof" {
		t.Errorf("the address is %s", at)
	}
}

// tall makes the window high, so that few steps scroll far, and its pixels few,
// so that they are drawn soon.
func (b *board) tall() {
	b.t.Helper()
	b.size(1200, 4000, 0.1)
}

func (b *board) size(width, height int64, scale float64) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: scale,
	}); err != nil {
		b.t.Fatal(err)
	}
}
