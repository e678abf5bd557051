package e2e_test

import (
	"strings"
	"testing"
)

// spy stands in for a person who looks elsewhere and allows notifications, and
// keeps what would be shown: headless browsers neither ask nor show.
const spy = `{
	document.hasFocus = () => false
	window.e2eShown = []
	window.Notification = class extends EventTarget {
		static permission = 'default'
		static async requestPermission() { return this.permission = 'granted' }
		constructor(title, options) { super(); e2eShown.push(title + '\n' + (options?.body ?? '')) }
		close() {}
	}
}`

// TestDashboardNotifies wants the page to ask for the permission to notify when a
// person wants that, and then to notify.
func TestDashboardNotifies(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := newBoard(t, d.url(""), d.token, spy)
	b.goTo("/dashboard/#approvals")
	b.signIn(d.token)
	first := d.ask("git tag v1", "", 600)
	b.wantStatus(first, "pending")
	if shown := eval[[]string](b, `e2eShown`); len(shown) > 0 {
		t.Errorf("without a permission: %q", shown)
	}
	b.until("it offers to notify", `document.querySelector('#notify').checkVisibility()`)
	b.click("#notify")
	b.until("it offers that no more", `!document.querySelector('#notify').checkVisibility()`)

	d.ask("git push \u202etxt", "", 600)
	b.until("a notification is shown", `e2eShown.length > 0 && e2eShown.some(text => text.includes('git push'))`)
	for _, text := range eval[[]string](b, `e2eShown`) {
		if strings.Contains(text, "\u202e") {
			t.Errorf("a notification conceals: %q", text)
		}
	}
	n := eval[int](b, `e2eShown.length`)
	d.append("git status", "allow")
	d.resolve(first, true, "bob")
	b.wantStatus(first, "approved")
	if shown := eval[[]string](b, `e2eShown`); len(shown) != n {
		t.Errorf("what does not wait is told of, too: %q", shown)
	}
}
