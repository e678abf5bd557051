package e2e_test

import (
	"fmt"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSampleBrowser runs the long sample. The sample has the daemon's whole URL, so
// its page may come from anywhere: here from another origin, which the daemon was
// told to allow.
func TestSampleBrowser(t *testing.T) {
	pages := newSite(t)
	d := startAtDefault(t, "-allow-origin", pages.origin)
	pages.run("/", strings.ReplaceAll(d.sample("browser.js"), "your-token-here", d.token))
	p := open(t, pages.origin)
	p.says(1)
	d.play()
	want := append([]string{"Connected to Rampart event stream"},
		played("Audit event: exec ", "Approval queue changed — refreshing...", "Bulk audit event for run: run_1")...)
	if diff := cmp.Diff(want, p.says(len(want))); diff != "" {
		t.Errorf("the page said %s", diff)
	}
	p.wantNoFaults()
}

// TestSampleDashboard runs the dashboard's sample, whose URL has no host: its
// page must come from where the stream does. The daemon has no pages, so both
// come through one server, as they do from a host that mounts the library. The test
// adds the functions that the sample calls, and a token.
func TestSampleDashboard(t *testing.T) {
	d, pages := startAtDefault(t), newSite(t)
	pages.Handle("/v1/", httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: d.address}))
	pages.run("/", fmt.Sprintf(`
const token = %q;
function addToActivityFeed(event) {
  console.log(event.tool, event.decision.action);
}
async function refreshApprovalQueue() {
  const response = await fetch('/v1/approvals', { headers: { Authorization: 'Bearer ' + token } });
  const queue = await response.json();
  console.log(queue.approvals.length, 'pending');
}
`, d.token)+d.sample("dashboard.js"))
	p := open(t, pages.origin)
	d.subscribed(1)

	var id string
	want := []string{}
	for _, step := range []struct {
		do   func()
		says []string
	}{
		{func() { d.append("git status", "allow") }, []string{"exec allow"}},
		{func() { d.append("rm -rf /", "deny") }, []string{"exec deny"}},
		{func() { id = d.ask("git push", "", 60) }, []string{"exec ask", "1 pending"}},
		{func() { d.call("POST", approvalsPath+"/"+id+"/resolve", `{"approved":false}`) }, []string{"exec denied", "0 pending"}},
		{func() { d.ask("git tag v1", "run_1", 60) }, []string{"exec ask", "1 pending"}},
		{func() { d.ask("git tag v2", "run_1", 60) }, []string{"exec ask", "2 pending"}},
		{func() { d.call("POST", approvalsPath+"/bulk-resolve", `{"run_id":"run_1","action":"approve"}`) }, []string{"0 pending"}},
	} {
		step.do()
		want = append(want, step.says...)
		if diff := cmp.Diff(want, p.says(len(want))); diff != "" {
			t.Fatalf("the page said %s", diff)
		}
	}
	p.wantNoFaults()
}
