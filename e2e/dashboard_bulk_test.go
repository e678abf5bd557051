package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// group is the selector of a run's pending approvals.
func group(run string) string { return fmt.Sprintf(`#pending section.group[data-run="%s"]`, run) }

// asked are n approvals of a run that the page shows.
func (b *board) asked(d *daemon, run string, n int) []string {
	b.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = d.ask(fmt.Sprintf("git tag %s-v%d", run, i), run, 600)
	}
	b.until("they wait as a group", fmt.Sprintf(`document.querySelectorAll(%s).length === %d`, js(group(run)+" article[data-status=pending]"), n))
	return ids
}

// TestDashboardBulk answers some of a run's pending approvals together. The others,
// and one that comes meanwhile, are not touched.
func TestDashboardBulk(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#approvals")
	ids := b.asked(d, "run_1", 4)
	other := d.ask("git tag other", "run_2", 600)
	b.wantStatus(other, "pending")

	b.click(group("run_1") + " input.select-all")
	b.click(card(ids[2]) + " input.select") // not selected any more
	late := d.ask("git tag late", "run_1", 600)
	b.wantStatus(late, "pending")
	b.fill(group("run_1")+" input.group-reason", "all fine")
	b.rest()
	b.click(group("run_1") + " button.approve-selected")
	for _, i := range []int{0, 1, 3} {
		b.wantStatus(ids[i], "approved")
		if got := d.approval(ids[i]); got.Status != "approved" || got.Reason != "all fine" {
			t.Errorf("on record: %+v", got)
		}
	}
	for _, id := range []string{ids[2], late, other} {
		if got := d.approval(id); got.Status != "pending" {
			t.Errorf("%s was not chosen, and is %s", id, got.Status)
		}
		b.wantStatus(id, "pending")
	}
	if got, want := b.cards(), []string{ids[2], late, other}; len(got) != 3 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) || !slices.Contains(got, want[2]) {
		t.Errorf("pending are %q, want %q", got, want)
	}

	b.click(card(ids[2]) + " input.select")
	b.click(card(late) + " input.select")
	b.rest()
	b.click(group("run_1") + " button.deny-selected")
	b.wantStatus(ids[2], "denied")
	b.wantStatus(late, "denied")
	b.wantText("#waiting", "1")
	if got := d.approval(other); got.Status != "pending" {
		t.Errorf("%s is of another run, and is %s", other, got.Status)
	}
}

// TestDashboardBulkConflict answers three approvals, one of which was answered
// meanwhile: nothing changes, and the page says who answered that one.
func TestDashboardBulkConflict(t *testing.T) {
	t.Parallel()
	d := start(t)
	g := newGateway(t, d, "")
	b := through(t, d, g, "#approvals")
	ids := b.asked(d, "run_1", 3)
	b.click(group("run_1") + " input.select-all")
	g.justBefore("/bulk-resolve", func() { d.resolve(ids[1], false, "dave") })
	b.expects(`network: .* 409 `)
	b.rest()
	b.click(group("run_1") + " button.approve-selected")
	b.wantPattern(group("run_1")+" .group-outcome", `\w`)
	b.wantStatus(ids[1], "denied")
	b.wantPattern(card(ids[1])+" .outcome", "dave")
	for _, id := range []string{ids[0], ids[2]} {
		b.wantStatus(id, "pending")
		if got := d.approval(id); got.Status != "pending" {
			t.Errorf("%s is %s", id, got.Status)
		}
	}
	b.rest()
	b.click(group("run_1") + " button.approve-selected")
	b.wantStatus(ids[0], "approved")
	b.wantStatus(ids[2], "approved")
}

// TestDashboardHostileApprovals asks with hostile strings in every place.
func TestDashboardHostileApprovals(t *testing.T) {
	t.Parallel()
	d := start(t)
	b := dashboard(t, d, "#approvals")
	n := 0
	for _, s := range hostile {
		if len(s) > 2000 || strings.Contains(s, `\u0000`) {
			continue
		}
		for range 2 { // so that they make a group
			n++
			d.call("POST", approvalsPath, fmt.Sprintf(`{"agent":"%[1]s","session":"%[1]s","run_id":"%[1]s","tool_call_id":"%[1]s %[2]d","tool":"%[1]s",`+
				`"request":{"command":"%[1]s","%[1]s":["%[1]s"]},"message":"%[1]s","matched_policies":["%[1]s"],"ttl_seconds":600}`, s, n))
		}
	}
	b.until("all wait", fmt.Sprintf(`document.querySelectorAll('#pending article').length === %d`, n))
	b.wantHarmless("the queue")
	for _, id := range b.cards()[:3] {
		b.fill(card(id)+" input.reason", `<img src=x onerror=e2eReport('reason')>`)
		b.tabTo(card(id) + " button.deny")
		b.press(kb.Enter) // a key counts, whatever has moved
		b.wantStatus(id, "denied")
	}
	b.wantHarmless("the queue")
	b.show("activity")
	b.wantHarmless("the list")
}
