package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// smoothness records how long the page was busy at a time, and how far apart its
// frames were.
const smoothness = `{
	window.e2eTasks = []
	new PerformanceObserver(list => { for (const e of list.getEntries()) e2eTasks.push(e.duration) }).observe({type: 'longtask', buffered: true})
	window.e2eFrames = []
	let last = performance.now()
	const frame = now => { e2eFrames.push(now - last); last = now; requestAnimationFrame(frame) }
	requestAnimationFrame(frame)
}`

// TestDashboardBurst has 200 events a second for 20 s, while a person types into
// a filter that all of them pass. Nothing is lost or out of order, neither event
// nor letter. How smooth it was is logged: it depends on the machine.
func TestDashboardBurst(t *testing.T) {
	t.Parallel()
	const seconds, each = 20, 20 // every 100 ms
	d := start(t)
	b := dashboard(t, d, "", smoothness)
	b.tall()
	eval[bool](b, `(e2eTasks.length = e2eFrames.length = 0, true)`)

	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	typing := strings.Split("burst 0123456789 of many events", "")
	b.click("#filters [name=text]")
	var want []string
	var sent time.Time
	for i := range 10 * seconds {
		<-tick.C
		sent = time.Now()
		want = append(want, d.record(numbered(fmt.Sprintf("burst 0123456789 of many events: %d", i), each)...)...)
		if i%5 == 4 && len(typing) > 0 {
			b.do(chromedp.KeyEvent(typing[0]))
			typing = typing[1:]
		}
	}
	b.newest(want[len(want)-1])
	behind := time.Since(sent)
	if got := eval[string](b, `document.querySelector('#filters [name=text]').value`); got != "burst 0123456789 of many events" {
		t.Errorf("of what was typed %q is left", got)
	}
	b.wantState("live")
	t.Logf("behind at the end by %v; %s", behind.Round(time.Millisecond), eval[string](b, `(() => {
		const at = (list, q) => Math.round(list.toSorted((a, b) => a - b)[Math.floor(q * (list.length - 1))] ?? 0)
		return e2eTasks.length + ' tasks over 50 ms, the longest ' + at(e2eTasks, 1) + ' ms, together ' + Math.round(e2eTasks.reduce((a, b) => a + b, 0)) +
			' ms; ' + e2eFrames.length + ' frames, apart by ' + at(e2eFrames, 0.5) + ' ms (median), ' + at(e2eFrames, 0.99) + ' ms (99 %), ' + at(e2eFrames, 1) + ' ms (longest)'
	})()`))
	lines := d.lines()
	b.wantRows(newestFirst(t, lines))
	b.wantChecked(len(want))
	b.wantCalm()
}
