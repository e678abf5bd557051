package e2e_test

import (
	"slices"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/debugger"
	"github.com/chromedp/chromedp"
)

// TestDashboardTabs wants three tabs to share one stream, whichever is closed.
func TestDashboardTabs(t *testing.T) {
	t.Parallel()
	d := start(t)
	tabs := []*board{dashboard(t, d, "")}
	for range 2 {
		tab := tabs[0].another()
		tab.goTo("/dashboard/#activity")
		tab.live()
		tabs = append(tabs, tab)
	}
	roles := func() (leaders, followers []*board) {
		for _, tab := range tabs {
			if eval[string](tab, `document.querySelector('#connection').dataset.role`) == "leader" {
				leaders = append(leaders, tab)
			} else {
				followers = append(followers, tab)
			}
		}
		return leaders, followers
	}
	for range 2 {
		d.subscribed(1)
		leaders, followers := roles()
		if len(leaders) != 1 || len(followers) != len(tabs)-1 {
			t.Fatalf("%d tabs hold the stream, and %d don't", len(leaders), len(followers))
		}
		d.record(numbered("all of them", 50)...)
		want := newestFirst(t, d.lines())
		id := d.ask("git push", "", 600)
		want = slices.Insert(want, 0, id)
		for _, tab := range tabs {
			tab.show("activity")
			tab.wantRows(want)
		}
		// An answer in one is seen in all.
		tabs[1].show("approvals")
		tabs[1].click(card(id) + " button.approve")
		for _, tab := range tabs {
			tab.wantText("#waiting", "")
		}

		// The tab with the stream goes while events come.
		done := d.steady(100)
		leaders[0].close()
		tabs = followers
		<-done
		want = newestFirst(t, d.lines())
		for _, tab := range tabs {
			tab.show("activity")
			tab.wantRows(want)
			tab.wantChecked(len(want))
			tab.wantCalm()
		}
		if len(tabs) == 1 {
			break
		}
	}
	d.subscribed(1)
	tabs[0].wantState("live")
	if leaders, _ := roles(); len(leaders) != 1 {
		t.Error("the tab that is left does not hold the stream")
	}
}

// TestDashboardFrozenTab makes the tab with the stream stand still, as browsers do
// with tabs that nobody looks at. That tab keeps its lock, so the other one asks by
// itself. A browser freezes no tab that shows, so a debugger holds the tab instead,
// while nothing else is going on.
func TestDashboardFrozenTab(t *testing.T) {
	d := start(t)
	leader := dashboard(t, d, "")
	follower := leader.another(clock)
	follower.goTo("/dashboard/#activity")
	follower.live()
	hold := func(command cdp.Command[cdp.Empty, cdp.Empty]) {
		t.Helper()
		if _, err := chromedp.Call(leader.ctx, command, cdp.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := chromedp.Call(leader.ctx, debugger.Enable, debugger.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	held := chromedp.Events(leader.ctx, debugger.Paused)
	hold(debugger.Pause)
	d.record(event("which the tab stumbles on", "allow"))
	for _, err := range held {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	id := d.record(numbered("frozen", 30)...)[29]
	follower.skip(60)
	follower.newest(id)
	follower.wantState("reconnecting")
	if _, err := chromedp.Call(leader.ctx, debugger.Resume, debugger.ResumeParams{}); err != nil {
		t.Fatal(err)
	}
	hold(debugger.Disable)
	d.record(numbered("thawed", 30)...)
	for _, tab := range []*board{leader, follower} {
		tab.live()
		tab.wantRows(newestFirst(t, d.lines()))
		tab.wantChecked(61)
	}
	d.subscribed(1)
}
