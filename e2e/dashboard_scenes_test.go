package e2e_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// scene is a state of the page that people see.
type scene struct {
	name string
	set  func(b *board)
}

// scenes begin with the form and lead through the whole page. The board is one
// that goes through the gateway, so that something can be wrong with the log.
func scenes(d *daemon, g *gateway) []scene {
	return []scene{
		{"sign-in", func(b *board) {
			b.goTo("/dashboard/")
			b.until("the form shows", `document.querySelector('#sign-in').checkVisibility()`)
		}},
		{"wrong-token", func(b *board) {
			b.expects(`network: .* 401 `)
			b.fill("#sign-in [name=token]", "wrong")
			b.press("\r")
			b.wantPattern("#sign-in-error", `\w`)
		}},
		{"empty", func(b *board) {
			b.signIn(d.token)
			b.wantPattern("#rows-state", `\w`)
		}},
		{"nothing-waits", func(b *board) { b.show("approvals") }},
		{"activity", func(b *board) {
			b.show("activity")
			d.record(day()...)
			b.until("rows are there", `document.querySelectorAll('.row[data-id]').length > 5`)
		}},
		{"paused", func(b *board) {
			b.click("#pause")
			d.record(day()[:3]...)
			b.wantPattern("#meanwhile", "^3 ")
		}},
		{"event", func(b *board) {
			b.click("#meanwhile")
			b.until("going on", `document.querySelector('#pause').ariaPressed === 'false'`)
			b.click(".row[data-id]:nth-child(3)")
			b.wantPattern("#event-json", `decision`)
			b.wantPattern("#event-check", `\w`)
		}},
		{"nothing-found", func(b *board) {
			b.click("#event-close")
			b.fill("#filters [name=agent]", "nobody")
			b.until("nothing is there", `document.querySelectorAll('.row[data-id]').length === 0`)
			b.wantPattern("#rows-state", `\w`)
		}},
		{"approvals", func(b *board) {
			b.click("#clear-filters")
			b.show("approvals")
			d.ask("git push --force origin main", "", 600)
			var ids []string
			for i := range 3 {
				ids = append(ids, d.ask(fmt.Sprintf("terraform apply -target=module.db%d\nterraform output \u202e secret", i), "run_nightly", 600))
			}
			gone := d.ask("rm -rf node_modules", "", 600)
			b.wantStatus(gone, "pending")
			d.resolve(gone, false, "bob")
			b.wantStatus(gone, "denied")
			b.click(card(ids[1]) + " input.select")
		}},
		{"history", func(b *board) {
			b.show("history")
			b.ranged("2026-03-01", "2026-03-09")
			b.until("the chart is drawn", `document.querySelector('#chart svg') !== null && document.querySelectorAll('#top-tools li').length > 0`)
		}},
		{"proof", func(b *board) {
			b.show("proof")
			b.click("#verify")
			b.until("it is whole", `document.querySelector('#verify-result').dataset.ok === 'true'`)
		}},
		{"alarm", func(b *board) {
			tamperNext(g)
			d.record(event("git tampered", "deny"))
			b.until("an alarm", `document.querySelectorAll('#alarms .alarm').length > 0`)
			g.alters(nil)
			b.show("activity")
		}},
		{"reconnecting", func(b *board) {
			b.expects(daemonIsDown)
			g.serves(down)
			g.cut()
			b.wantState("reconnecting")
		}},
	}
}

// day is what some agents do in a day.
func day() []string {
	events := append(past(), varied(20)...)
	for i, s := range hostile[:12] {
		events = append(events, fmt.Sprintf(`{"agent":"claude-code","session":"myapp/main","tool":"exec","request":{"command":"echo '%s'"},`+
			`"decision":{"action":%q,"matched_policies":["no-html","second"],"evaluation_time_us":%d}}`, s, []string{"allow", "deny", "watch", "ask"}[i%4], i*37))
	}
	return events
}

// shapes are the windows in which the page is looked at. Rules of accessibility go
// by colours or by places: two of the shapes have all colours and all places.
var shapes = []struct {
	name          string
	width, height int64
	scheme        string
	rules         bool
}{
	{"light", 1280, 800, "light", true},
	{"dark", 1280, 800, "dark", false},
	{"narrow-light", 320, 640, "light", false},
	{"narrow-dark", 320, 640, "dark", true},
}

// look gives the window a shape; nothing may move then.
func (b *board) look(width, height int64, scheme string) {
	b.t.Helper()
	b.size(width, height, 1)
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}); err != nil {
		b.t.Fatal(err)
	}
	// After two frames the listeners to the size have done their work.
	eval[bool](b, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

// TestDashboardScenes looks at each state of the page in each shape: the page keeps
// the rules of accessibility, nothing is wider than the window, and nothing moves
// for a person who does not want that. The test writes a picture of each.
func TestDashboardScenes(t *testing.T) {
	t.Parallel()
	axe := axeScript(t)
	d := start(t)
	g := newGateway(t, d, "")
	b := newBoard(t, g.origin, d.token)
	for _, s := range scenes(d, g) {
		s.set(b)
		for _, shape := range shapes {
			b.look(shape.width, shape.height, shape.scheme)
			where := s.name + ", " + shape.name
			png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			b.keep(s.name+"-"+shape.name, png)
			if wide := eval[int](b, `Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)`); int64(wide) > shape.width {
				t.Errorf("%s: the page is %d wide: %q", where, wide, eval[[]string](b, wider))
			}
			if broken := eval[[]string](b, brokenWords); len(broken) > 0 {
				t.Errorf("%s: words are broken: %q", where, broken)
			}
			if moves := eval[int](b, `document.getAnimations().filter(a => a.playState === 'running').length`); moves > 0 {
				t.Errorf("%s: %d animations run", where, moves)
			}
			if shape.rules {
				b.wantAccessible(where, axe)
			}
		}
		b.look(1280, 800, "light")
	}
}

// wider are the elements that reach beyond the window.
const wider = `[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
	.slice(0, 8).map(e => e.localName + '#' + e.id + '.' + e.className + ' ' + Math.round(e.getBoundingClientRect().right))`

// brokenWords are words on buttons and the like that stand in two lines.
const brokenWords = `[...document.querySelectorAll('nav a, button, label, h1, h2, h3, .action, th')].filter(e => e.checkVisibility()).flatMap(e =>
	[...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).flatMap(n => [...n.data.matchAll(/[A-Za-z]+/g)].filter(({0: word, index}) => {
		const range = new Range()
		range.setStart(n, index)
		range.setEnd(n, index + word.length)
		return new Set([...range.getClientRects()].map(r => r.top)).size > 1
	}).map(m => m[0])))`
