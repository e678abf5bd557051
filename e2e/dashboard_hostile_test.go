package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// hostile are strings that want to be more than text, in the form that JSON has
// between quotes. Those with code in them call e2eReport, which fails the test.
var hostile = []string{
	`<script>e2eReport('script')</script>`,
	`<img src=x onerror=e2eReport('onerror')>`,
	`\"><svg onload=e2eReport('onload')>`,
	`' autofocus onfocus=e2eReport('onfocus') x='`,
	`javascript:e2eReport('javascript')`,
	`</title></textarea></pre><iframe srcdoc=\"<script>parent.e2eReport('srcdoc')</script>\">`,
	`{{constructor.constructor('e2eReport(1)')()}} ${e2eReport('template')}`,
	`<a href=\"javascript:e2eReport('a')\" style=\"position:fixed;inset:0\">x</a><style>*{display:none}</style>`,
	`<!--`, `]]>`, `&lt;b&gt;&amp;&#60;`, `\\u003cscript\\u003e`, `\u003cb\u003e`,
	"safe\u202e txt.exe\u202c", "\u2066isolated\u2069\u200f", "zero\u200bwidth\u200d\u2060\ufeff", "next\u0085line\u2028and\u2029paragraph",
	"C1 \u009b31m \u009d0;title\u009c", "DEL\u007f", `\u001b[31mred\u001b[0m\u001b]8;;http://evil.invalid\u0007`, `NUL\u0000, BEL\u0007, BS\b\b`,
	`lone \ud800 and \udfff, pair \ud83d\ude00`, "tags \U000e0041\U000e0042", "soft\u00adhyphen", "combining e\u0301\u0301\u0301",
	"\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", `__proto__`, `constructor`, `hasOwnProperty`, `toString`, `null`, `undefined`, `-1`, `=HYPERLINK(\"x\")`, `%s%n%d`,
	`a b\tc\r\nd`, `#activity?agent=x&event=y`, `+ %20 %2B ?&=#`,
	strings.Repeat("x", 4000), strings.Repeat(`<b>`, 1000),
}

// hostileEvents has each of them in each place for a string.
func hostileEvents() []string {
	var events []string
	for i, s := range hostile {
		name := s
		if strings.Contains(s, `\u0000`) || len(s) > 2000 {
			name = "long" // not every place takes long strings
		}
		events = append(events, fmt.Sprintf(`{"timestamp":"2026-03-03T10:15:30Z","agent":"%[2]s","session":"%[2]s","run_id":"%[2]s","tool_call_id":"%[2]s","tool":"%[2]s",`+
			`"request":{"command":"%[1]s","path":"%[1]s","%[2]s":{"%[1]s":["%[1]s",1.50,12345678901234567890,1e400,-0,0.1e-7]}},`+
			`"decision":{"action":%[3]q,"matched_policies":["%[1]s","%[1]s"],"evaluation_time_us":9007199254740993,"message":"%[1]s","suggestions":["%[1]s"]},`+
			`"response":{"exit_code":1,"duration_ms":1,"flags":["%[1]s"]}}`, s, name, []string{"deny", "constructor", "valueof"}[i%3]))
	}
	return events
}

// foreign are the elements and attributes of the page that no script of its own
// would make.
const foreign = `(() => {
	const known = new Set(('html head meta title link script body header a h1 img nav p button div main noscript form h2 h3 h4 label input section span datalist ' +
		'option aside dl dt dd pre code ul ol li figure figcaption article time details summary small strong em b table thead tbody tr th td svg g rect path line ' +
		'text title desc circle polyline defs pattern footer output meter bdi fieldset legend textarea select hr br kbd progress').split(' '))
	const found = []
	for (const e of document.querySelectorAll('*')) {
		const name = e.localName
		const strange = !known.has(name) || name === 'script' && !e.src.startsWith(location.origin) || name === 'img' && !e.src.startsWith(location.origin) && !e.src.startsWith('data:')
		if (strange) found.push(e.outerHTML.slice(0, 200))
		for (const a of e.attributes) {
			if (/^on/.test(a.name) || /^(href|src|action|xlink:href|srcdoc)$/.test(a.name) && /^\s*(javascript|data:text)/i.test(a.value) || a.name === 'style' && !/^(top|height): [\d.]+px;$/.test(a.value)) found.push(name + ' ' + a.name + '=' + a.value.slice(0, 200))
		}
	}
	if ({}.polluted !== undefined || Array.prototype.polluted !== undefined) found.push('a polluted prototype')
	return found
})()`

// concealed are texts in the page with characters that a person does not see. An
// option that an input offers is left out, since it must be what the input takes.
const concealed = `(() => {
	const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\u{e0000}-\u{e007f}]/u
	const found = []
	const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT)
	for (let n; (n = walk.nextNode());) {
		if (n.nodeType === Node.TEXT_NODE) {
			if (hidden.test(n.data)) found.push(n.parentNode.outerHTML.slice(0, 300))
		} else if (n.localName !== 'option') {
			for (const a of n.attributes) if (!a.name.startsWith('data-') && hidden.test(a.value)) found.push(n.localName + ' ' + a.name + '=' + a.value.slice(0, 200))
		}
	}
	if (hidden.test(document.title)) found.push(document.title)
	return found
})()`

func (b *board) wantHarmless(where string) {
	b.t.Helper()
	if found := eval[[]string](b, foreign); len(found) > 0 {
		b.t.Errorf("%s has what is not of its own: %.1000q", where, found[:min(3, len(found))])
	}
	if found := eval[[]string](b, concealed); len(found) > 0 {
		b.t.Errorf("%s conceals: %.1000q", where, found[:min(3, len(found))])
	}
}

// TestDashboardHostileEvents opens, for each hostile string, an event that has the
// string in every place, and reads the event in full.
func TestDashboardHostileEvents(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	ids := d.record(hostileEvents()...)
	lines := d.lines()
	b.newest(ids[len(ids)-1])
	b.wantHarmless("the list")
	for i, id := range ids {
		b.goToHash("activity?event=" + id)
		b.wantText("#event-id", id)
		b.wantPattern("#event-check", "hash")
		if got := b.shownJSON(); got != lines[i] {
			t.Errorf("shown as %q\nwant     %q", got, lines[i])
		}
		b.wantHarmless(fmt.Sprintf("the event with %.50q", hostile[i]))
	}
	b.click("#event-close")
	b.wantRows(newestFirst(t, lines))
	for _, view := range []string{"history", "proof", "approvals", "activity"} {
		b.show(view)
		if view == "history" {
			b.fillDate("from", "2026-03-01")
			b.fillDate("to", "2026-03-05")
			b.click("#range button:not([type=button])")
			b.until("the totals are there", `document.querySelectorAll('#top-agents li').length > 0`)
		}
		b.wantHarmless(view)
	}
	if alarms := b.text("#alarms"); alarms != "" {
		t.Errorf("alarms: %s", alarms)
	}

	// As filters, from a link that somebody else made.
	for i := range hostile {
		var agent string
		if json.Unmarshal([]byte(lines[i]), &struct{ Agent *string }{&agent}) != nil || agent == "long" || strings.Contains(agent, "\ufffd") {
			continue // several events have it, or an address can't hold it
		}
		b.goToHash("activity?" + eval[string](b, `new URLSearchParams({agent: `+js(agent)+`}).toString()`))
		b.newest(ids[i])
	}
	b.wantHarmless("the filters")
}

// TestDashboardRowsAreAsRecorded looks at one-line forms of requests that have no
// command: numbers and escapes stay as they are on the log.
func TestDashboardRowsAreAsRecorded(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	for _, request := range []string{
		`{"amount":12345678901234567890}`,
		`{"price":1.50,"tiny":1e-400}`,
		`{"b":1,"a":2,"10":3,"9":4}`,
		`{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}}}`,
		`{"path":"/etc/passwd"}`,
		`{"url":"https://example.com/?a=b#c"}`,
		`{}`,
	} {
		id := d.record(`{"agent":"a","tool":"t","request":` + request + `,"decision":{"action":"allow"}}`)[0]
		b.newest(id)
		var one struct{ Path, URL string }
		if err := json.Unmarshal([]byte(request), &one); err != nil {
			t.Fatal(err)
		}
		want := request
		if s := one.Path + one.URL; s != "" {
			want = s
		}
		if got := b.unmasked(rowOf(id) + " .request"); strings.Join(strings.Fields(got), "") != want {
			t.Errorf("the row of %s says %s", request, got)
		}
	}
	b.wantHarmless("the list")
}

// TestDashboardLongAndDeep has events that are as long and as deep as the log
// takes; those over 60 KiB are not in the stream.
func TestDashboardLongAndDeep(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "")
	deep := strings.Repeat(`{"a":[`, 30) + `"deepest"` + strings.Repeat(`]}`, 30)
	for _, e := range []string{
		event(strings.Repeat("60 KiB of text ", 4000), "allow"),
		event("echo "+strings.Repeat("longer than a message ", 4000), "deny"),
		event(strings.Repeat("\u202e\u202d", 50000), "allow"),
		event(strings.Repeat("\n", 300000), "allow"),
		event(strings.Repeat("x", 1_000_000), "watch"),
		`{"agent":"a","tool":"t","request":` + deep + `,"decision":{"action":"allow"}}`,
	} {
		id := d.record(e)[0]
		b.newest(id)
		if h := eval[float64](b, `document.querySelector(`+js(rowOf(id))+`).getBoundingClientRect().height`); h > 60 {
			t.Errorf("a row is %v high", h)
		}
		b.click(rowOf(id))
		b.wantText("#event-id", id)
		b.until("it was checked", `document.querySelector('#event-check').textContent !== ''`)
		lines := d.lines()
		// Where there are too many marks, they are text.
		if !strings.Contains(e, "\u202e") {
			if got, want := b.shownJSON(), lines[len(lines)-1]; got != want {
				t.Errorf("shown as %.300s\nwant     %.300s", got, want)
			}
		}
		b.click("#event-close")
	}
	b.wantHarmless("the list")
	b.wantChecked(6)
}
