package e2e_test

import (
	"slices"
	"testing"
)

// TestDashboardTabs has one stream for three tabs, whichever of them are closed.
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
