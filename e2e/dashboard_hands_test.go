package e2e_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// dashboard opens a view of the daemon's own dashboard, signed in and live.
func dashboard(t *testing.T, d *daemon, view string, scripts ...string) *board {
	t.Helper()
	b := newBoard(t, d.url(""), d.token, scripts...)
	b.goTo("/dashboard/" + view)
	b.signIn(d.token)
	return b
}

// goTo opens a path of the board's origin.
func (b *board) goTo(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.origin + path))
}

// signIn gives a token to the form, and waits until the page is live.
func (b *board) signIn(token string) {
	b.t.Helper()
	b.fill("#sign-in [name=token]", token)
	b.press(kb.Enter)
	b.live()
}

func (b *board) live() {
	b.t.Helper()
	b.until("signed in", `document.body.dataset.state === 'signed-in'`)
	b.until("live", `document.querySelector('#connection').dataset.state === 'live'`)
}

// show goes to a view by its link.
func (b *board) show(view string) {
	b.t.Helper()
	b.click(`nav a[href="#` + view + `"], nav a[href^="#` + view + `?"]`)
	b.until(view+" shows", `document.querySelector('section#`+view+`').checkVisibility()`)
}

// click clicks the first element of the selector, once a person could: the element
// is there, enabled, in sight and under nothing else.
func (b *board) click(selector string) {
	b.t.Helper()
	b.clickTimes(selector, 1)
}

func (b *board) clickTimes(selector string, times int) {
	b.t.Helper()
	b.until(selector+" can be clicked", `(() => {
		const e = document.querySelector(`+js(selector)+`)
		e.scrollIntoView({block: 'nearest', behavior: 'instant'})
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2
		window.e2eAt = [x, y]
		const top = document.elementFromPoint(x, y)
		return !e.matches(':disabled, [aria-disabled=true]') && r.width > 0 && (e.contains(top) || top.contains(e) && top.closest('label'))
	})()`)
	at := eval[[]float64](b, `e2eAt`)
	for n := range times {
		b.do(chromedp.MouseClickXY(at[0], at[1], chromedp.ClickCount(n+1)))
	}
}

// rest waits for as long as the page takes no click on what has just moved.
func (b *board) rest() {
	b.t.Helper()
	eval[bool](b, `new Promise(done => setTimeout(done, 800, true))`)
}

// fill puts text in the place of what an input holds, by the keyboard.
func (b *board) fill(selector, text string) {
	b.t.Helper()
	b.click(selector)
	b.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(kb.ModifierCtrl)), chromedp.KeyEvent(kb.Delete), insert(text))
}

// insert types text at once, as an input method does.
func insert(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		return call(ctx, tab, input.InsertText, input.InsertTextParams{Text: text})
	})
}

func (b *board) press(keys string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// tabTo presses Tab until the selector has the focus, as a person without a mouse
// does.
func (b *board) tabTo(selector string) {
	b.t.Helper()
	for range 200 {
		if eval[bool](b, `document.activeElement.matches(`+js(selector)+`)`) {
			return
		}
		b.press(kb.Tab)
	}
	b.fatal(fmt.Errorf("the Tab key does not lead to %s", selector))
}

// text is that of the first element of the selector, as it is in the document.
func (b *board) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `document.querySelector(`+js(selector)+`)?.textContent.trim() ?? 'is not there'`)
}

// wantText waits until that is the element's text.
func (b *board) wantText(selector, want string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s says %q", selector, want), fmt.Sprintf(`document.querySelector(%s).textContent.trim() === %s`, js(selector), js(want)))
}

// wantPattern waits until the element's text matches.
func (b *board) wantPattern(selector, pattern string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s says %q", selector, pattern), fmt.Sprintf(`new RegExp(%s, 'i').test(document.querySelector(%s).textContent)`, js(pattern), js(selector)))
}

// goToHash goes to a view by its address, as a person who follows a link does.
func (b *board) goToHash(view string) {
	b.t.Helper()
	eval[bool](b, `(location.hash = `+js(view)+`, true)`)
}

// fillDate sets an input of dates, and types nothing, since what keys do there
// depends on the locale.
func (b *board) fillDate(name, day string) {
	b.t.Helper()
	eval[bool](b, `(() => {
		const input = document.querySelector('#range [name=`+name+`]')
		input.value = `+js(day)+`
		for (const type of ['input', 'change']) input.dispatchEvent(new Event(type, {bubbles: true}))
		return true
	})()`)
}
