package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// heapBound is generous: the page keeps 10,000 rows, 32 Mi characters at most.
const heapBound = 300 << 20

// TestDashboardRealToolCalls has all calls of real agents come live.
func TestDashboardRealToolCalls(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "shared", "data", "toolcalls.jsonl"))
	if err != nil {
		t.Skip("no real tool calls beside the checkout: ", err)
	}
	d := start(t)
	b := dashboard(t, d, "")
	b.tall()
	actions := []string{"allow", "allow", "watch", "allow", "deny", "allow", "ask"}
	var events []string
	for call := range strings.Lines(string(data)) {
		events = append(events, strings.Replace(strings.TrimSpace(call), "{", fmt.Sprintf(`{"decision":{"action":%q},`, actions[len(events)%len(actions)]), 1))
	}
	for batch := range slices.Chunk(events, 2500) {
		var ids []string
		for few := range slices.Chunk(batch, 250) {
			ids = d.record(few...)
		}
		// A page that falls further behind would begin anew.
		b.newest(ids[len(ids)-1])
	}
	lines := d.lines()
	if n := eval[int](b, `document.querySelectorAll('.row[data-id]').length`); n > 500 {
		t.Errorf("%d rows are in the document", n)
	}
	b.wantCalm()
	if _, err := chromedp.Call(b.ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	heap, err := chromedp.Call(b.ctx, runtime.GetHeapUsage, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events, %d MiB of log; the page's heap is %.0f MiB", len(lines), len(data)>>20, heap.UsedSize/(1<<20))
	if heap.UsedSize > heapBound {
		t.Errorf("the page's heap is %.0f MiB", heap.UsedSize/(1<<20))
	}

	// Any of them can be read as it is, the long ones that no message took too.
	for i := 0; i < len(lines); i += 1500 {
		id := stored(t, lines[i]).ID
		b.goToHash("activity?event=" + id)
		b.wantText("#event-id", id)
		b.wantPattern("#event-check", "hash")
		if got := b.shownJSON(); got != lines[i] {
			t.Errorf("shown as %.500s\nwant     %.500s", got, lines[i])
		}
	}
	b.wantHarmless("the page")
	b.wantChecked(len(lines))
}
