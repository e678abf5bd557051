package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scroller defines e2eRows(n, enough): the ids of the rows of the activity from its
// top on, as a person who scrolls sees them. It stops when it has seen n rows and,
// unless enough is set, the end. The page places rows by style, so their order is
// that of their places. Each scroll makes the last drawn row the first, so that no
// row is passed over. A row that stands twice, or after a gap, is named.
const scroller = `window.e2eRows = async (n, enough) => {
	const box = document.querySelector('#rows'), order = [], place = new Map(), odd = []
	const frame = () => new Promise(done => setTimeout(done, 16))
	box.scrollTop = 0
	// What was filtered or resized just before is drawn by then.
	for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame)
	// still counts frames in which nothing happened: older rows may have to be loaded.
	for (let still = 0; order.length < n ? still < 900 : !enough && still < 15; still++) {
		await frame()
		const rows = [...box.querySelectorAll('.row[data-id]')].map(row => [row.getBoundingClientRect(), row.dataset.id]).sort((a, b) => a[0].top - b[0].top)
		if (rows.length === 0) continue
		const before = order.length, top = box.scrollTop, edge = box.getBoundingClientRect().top
		// The page has scrolled by itself, and has not drawn yet.
		if (top > 0 && rows[0][0].top > edge + 100) continue
		const first = place.get(rows[0][1]) ?? order.length
		rows.forEach(([at, id], i) => {
			if (i > 0 && Math.abs(at.top - rows[i - 1][0].bottom) > 2) odd.push('a hole before ' + id)
			if (place.has(id) ? place.get(id) !== first + i : first + i !== order.length) odd.push('out of order: ' + id)
			if (!place.has(id)) place.set(id, order.push(id) - 1)
		})
		box.scrollTop += Math.max(0, rows.at(-1)[0].top - edge - 100)
		if (order.length > before || box.scrollTop !== top) still = 0
	}
	box.scrollTop = 0 // where it shows what comes
	await frame()
	return [...odd, ...order]
}`

// wantRows wants exactly those, the newest first.
func (b *board) wantRows(want []string) {
	b.t.Helper()
	b.wantRead(want, false)
}

// wantFirst wants those as the first ones.
func (b *board) wantFirst(want []string) {
	b.t.Helper()
	b.wantRead(want, true)
}

func (b *board) wantRead(want []string, andOlder bool) {
	b.t.Helper()
	if len(want) > 0 {
		b.newest(want[0])
	}
	got := eval[[]string](b, fmt.Sprintf("%s; e2eRows(%d, %v)", scroller, len(want), andOlder))
	if andOlder {
		got = got[:min(len(got), len(want))]
	}
	if slices.Equal(got, want) {
		return
	}
	diff := cmp.Diff(want, got)
	b.fatal(fmt.Errorf("%d rows, want the %d of the log: %.3000s", len(got), len(want), diff))
}

// newest waits until the first row is that of the event.
func (b *board) newest(id string) {
	b.t.Helper()
	b.until("the newest row is "+id, `[...document.querySelectorAll('.row[data-id]')].reduce(
		(a, b) => a.getBoundingClientRect().top <= b.getBoundingClientRect().top ? a : b).dataset.id === `+js(id))
}

// rowOf is the selector of an event's row.
func rowOf(id string) string { return fmt.Sprintf(`.row[data-id="%s"]`, id) }

// newestFirst are the ids of stored lines, as the page lists them.
func newestFirst(t *testing.T, lines []string) []string {
	t.Helper()
	ids := make([]string, len(lines))
	for i, line := range lines {
		ids[len(lines)-1-i] = stored(t, line).ID
	}
	return ids
}

// storedEvent is what tests want to know of a stored line.
type storedEvent struct {
	ID, Hash, Agent, Session, Tool string
	RunID                          string `json:"run_id"`
	Request                        json.RawMessage
	Decision                       struct{ Action string }
}

func stored(t *testing.T, line string) storedEvent {
	t.Helper()
	var e storedEvent
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return e
}

// record appends events, each in the form that the log takes, and returns their ids.
func (d *daemon) record(events ...string) []string {
	d.t.Helper()
	body := strings.Join(events, "\n") + "\n"
	var answer struct{ IDs []string }
	if text := d.call("POST", eventsPath, body); json.Unmarshal([]byte(text), &answer) != nil || len(answer.IDs) != len(events) {
		d.t.Fatalf("%d events, and the answer is %s", len(events), text)
	}
	return answer.IDs
}

// numbered are n events whose commands say which they are.
func numbered(prefix string, n int) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = event(fmt.Sprintf("%s %d", prefix, i), []string{"allow", "watch", "deny"}[i%3])
	}
	return events
}
