package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// controls names what can be used in the page, each once.
const controls = `window.e2eName = e => (e.id || e.className || e.name || e.textContent.trim().slice(0, 20)) + ' ' + [...document.querySelectorAll(e.localName)].indexOf(e) + ' ' + e.localName
window.e2eControls = () => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
	.filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0).map(e2eName)`

// tabbed presses Tab from the page's beginning to its end, and returns the elements
// that had the focus. Each has to look focused.
func (b *board) tabbed() (names []string) {
	b.t.Helper()
	eval[bool](b, `(document.body.tabIndex = -1, document.body.focus(), document.body.removeAttribute('tabindex'), true)`)
	for range 300 {
		b.press(kb.Tab)
		at := eval[struct {
			Name    string
			Visible bool
			InView  bool
		}](b, `(() => {
			const e = document.activeElement, style = getComputedStyle(e), r = e.getBoundingClientRect()
			const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== 'none'
			return {name: e === document.body ? '' : e2eName(e), visible: ring, inView: r.width > 0 && r.bottom > 0 && r.top < innerHeight}
		})()`)
		if len(names) > 0 && at.Name == names[len(names)-1] {
			continue // a date has several places
		}
		if at.Name == "" || slices.Contains(names, at.Name) {
			return names
		}
		if !at.Visible || !at.InView {
			b.t.Errorf("the focus on %s: visible %v, in the window %v", at.Name, at.Visible, at.InView)
		}
		names = append(names, at.Name)
	}
	b.t.Errorf("the Tab key leads on and on: %q", names[len(names)-5:])
	return names
}

// TestDashboardKeyboard reaches everything in each view with the Tab key.
func TestDashboardKeyboard(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	d.record(past()...)
	for i := range 3 {
		d.ask(fmt.Sprint("git tag v", i), "run_1", 600)
	}
	b.wantText("#waiting", "3")
	eval[bool](b, "(() => {"+controls+"})() || true")
	want := func(view string) {
		t.Helper()
		all := eval[[]string](b, `e2eControls()`)
		if len(all) < 5 {
			t.Errorf("%s has %q", view, all)
		}
		reached := b.tabbed()
		for _, name := range all {
			if !slices.Contains(reached, name) {
				t.Errorf("%s: the Tab key does not reach %s, but %q", view, name, reached)
			}
		}
	}
	for _, view := range []string{"activity", "approvals", "history", "proof"} {
		b.tabTo(`nav a[href^="#` + view + `"]`)
		b.press(kb.Enter)
		b.until(view+" shows", `document.querySelector('section#`+view+`').checkVisibility() && document.querySelector('nav a[href^="#`+view+`"]').getAttribute('aria-current') === 'page'`)
		want(view)
	}

	// The form, and the way to it.
	b.tabTo("#sign-out")
	b.press(" ")
	b.until("signed out", `document.querySelector('#sign-in').checkVisibility()`)
	b.tabTo("#sign-in [name=token]")
	b.do(insert(d.token))
	b.tabTo("#sign-in button:not([type=button])")
	b.press(kb.Enter)
	b.live()
}

// TestDashboardFocusStays wants the focus, and the place where a person reads, to
// stay while events arrive.
func TestDashboardFocusStays(t *testing.T) {
	t.Parallel()
	d := start(t)
	ids := d.record(numbered("git show", 300)...)
	b := dashboard(t, d, "")
	b.newest(ids[299])
	b.click(rowOf(ids[295]))
	b.wantText("#event-id", ids[295])
	b.press(kb.Escape)
	b.until("the focus is back", `document.querySelector('#rows').contains(document.activeElement)`)
	b.newest(d.record(numbered("git log", 5)...)[4])
	b.press(kb.Enter)
	b.wantText("#event-id", ids[295])
	b.do(chromedp.KeyEvent(kb.Escape))
}
