package e2e_test

import (
	"bytes"
	"encoding/json"
)

// unmask defines e2eUnmask(element): its text, with the hidden characters put back
// in place of the marks that show them.
const unmask = `window.e2eUnmask = element => [...element.childNodes].map(n => {
	if (n.nodeType === Node.TEXT_NODE) return n.data
	if (!n.matches('.hidden-char')) return e2eUnmask(n)
	const [, hex, times] = n.textContent.match(/^U\+([0-9A-F]+)(?: ×([\d,]+))?$/) ?? []
	if (hex) return String.fromCodePoint(parseInt(hex, 16)).repeat(times ? parseInt(times.replaceAll(',', '')) : 1)
	return n.textContent.replaceAll('⏎', '\n').replaceAll('⇥', '\t')
}).join('')`

// unmasked is what a person reads in the element.
func (b *board) unmasked(selector string) string {
	b.t.Helper()
	return eval[string](b, unmask+`; e2eUnmask(document.querySelector(`+js(selector)+`))`)
}

// shownJSON is the JSON of the open event, without the white space that the page
// put in: the stored line, unless the page parsed or rounded something. It has the
// page show all parts of a long event.
func (b *board) shownJSON() string {
	b.t.Helper()
	eval[bool](b, `(() => {
		for (let more; (more = document.querySelector('#event-more button'));) more.click()
		return true
	})()`)
	text := b.unmasked("#event-json")
	var line bytes.Buffer
	if err := json.Compact(&line, []byte(text)); err != nil {
		b.t.Errorf("%v in %s", err, text)
	}
	return line.String()
}
