package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// past are events of some days, each with something of its own.
func past() []string {
	var events []string
	for day := 1; day <= 9; day++ {
		for i := range 10 * day {
			events = append(events, fmt.Sprintf(`{"timestamp":"2026-03-%02dT%02d:30:00Z","agent":"agent-%d","session":"s","tool":"tool-%d","request":{"command":"rm -rf /%d"},"decision":{"action":%q}}`,
				day, i%24, i%3, i%4, i%5, []string{"allow", "deny", "watch", "allow"}[i%4]))
		}
	}
	return events
}

// ranged chooses a range of days in the history.
func (b *board) ranged(from, to string) {
	b.t.Helper()
	b.fillDate("from", from)
	b.fillDate("to", to)
	b.click("#range button:not([type=button])")
}

// TestDashboardHistory compares what the page draws and lists with the API's totals.
func TestDashboardHistory(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.record(past()...)
	b := dashboard(t, d, "#history")
	for _, days := range [][2]string{{"2026-03-02", "2026-03-04"}, {"2026-03-05", "2026-03-05"}, {"2026-03-01", "2026-03-09"}} {
		b.ranged(days[0], days[1])
		var stats struct {
			Total    int            `json:"total_events"`
			ByAction map[string]int `json:"by_action"`
			ByTool   map[string]int `json:"by_tool"`
			ByAgent  map[string]int `json:"by_agent"`
		}
		text := d.call("GET", "/v1/audit/stats?from="+days[0]+"&to="+days[1], "")
		if err := json.Unmarshal([]byte(text), &stats); err != nil {
			t.Fatal(err)
		}
		b.wantPattern("#total", fmt.Sprintf(`\b%d\b`, stats.Total))
		counts := func(list string) map[string]int {
			return eval[map[string]int](b, `Object.fromEntries([...document.querySelectorAll(`+js(list+" li")+`)].map(li =>
				[li.querySelector('.name').textContent.trim(), parseInt(li.querySelector('.count').textContent.replaceAll(/\D/g, ''))]))`)
		}
		if diff := cmp.Diff(stats.ByTool, counts("#top-tools")); diff != "" {
			t.Error(days, "tools", diff)
		}
		if diff := cmp.Diff(stats.ByAgent, counts("#top-agents")); diff != "" {
			t.Error(days, "agents", diff)
		}
		// The page asks for the denied events after it has shown the totals.
		b.until(fmt.Sprintf("%v: %d denied", days, stats.ByAction["deny"]), `[...document.querySelectorAll('#top-denied li .count')]
			.reduce((sum, c) => sum + parseInt(c.textContent.replaceAll(/\D/g, '')), 0) === `+fmt.Sprint(stats.ByAction["deny"]))
		for name := range counts("#top-denied") {
			if !strings.Contains(name, "rm -rf /") {
				t.Errorf("denied: %q", name)
			}
		}
		// Each action of the range stands in the chart, in words.
		for action := range stats.ByAction {
			b.until("the chart tells of "+action, `document.querySelector('#chart').textContent.includes(`+js(action)+`) && document.querySelector('#chart svg') !== null`)
		}
	}
	b.until("the address says which range", `location.hash.includes('from=2026-03-01') && location.hash.includes('to=2026-03-09')`)

	// From a name to its events, in that range, and back.
	agent := eval[string](b, `document.querySelector('#top-agents .name').textContent.trim()`)
	b.click("#top-agents .name")
	want := newestFirst(t, slices.DeleteFunc(d.lines(), func(line string) bool { return stored(t, line).Agent != agent }))
	b.until("the address says whose", `location.hash.startsWith('#activity?') && location.hash.includes('agent=`+agent+`')`)
	b.wantRows(want)
	eval[bool](b, `(history.back(), true)`)
	b.until("back in the history", `document.querySelector('section#history').checkVisibility() && location.hash.includes('from=2026-03-01')`)
	b.wantPattern("#total", `\b450\b`)

	shared := b.another()
	shared.do(chromedp.Navigate(eval[string](b, `location.href`)))
	shared.live()
	shared.wantPattern("#total", `\b450\b`)

	b.ranged("2020-01-01", "2020-01-02")
	b.wantPattern("#total", "no event")
	b.click("#range [data-range='7d']")
	b.until("the range is another", `!location.hash.includes('2020-01-01')`)
}

// TestDashboardExport downloads a range: the log's own lines, byte for byte.
func TestDashboardExport(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.record(append(hostileEvents(), past()...)...)
	b := dashboard(t, d, "#history")
	dir := t.TempDir()
	done := chromedp.BrowserEvents(b.ctx, cdpbrowser.DownloadProgress)
	yes := true
	if _, err := chromedp.CallBrowser(b.ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: "allowAndName", DownloadPath: dir, EventsEnabled: &yes, BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	}); err != nil {
		t.Fatal(err)
	}
	b.ranged("2026-03-03", "2026-03-03")
	b.wantPattern("#total", fmt.Sprintf(`\b%d\b`, len(hostile)+30))
	b.click("#export")
	for e, err := range done {
		if err != nil {
			t.Fatal(err)
		}
		if e.State == cdpbrowser.DownloadProgressStateCanceled {
			t.Fatal("the download was cancelled")
		}
		if e.State == cdpbrowser.DownloadProgressStateCompleted {
			break
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	got := readFile(t, dir, filepath.Base(files[0].Name()))
	lines := slices.DeleteFunc(d.lines(), func(line string) bool { return !strings.Contains(line, `"timestamp":"2026-03-03T`) })
	if want := strings.Join(lines, "\n") + "\n"; got != want {
		t.Errorf("exported are %d bytes, and the log's lines are %d", len(got), len(want))
	}
}
