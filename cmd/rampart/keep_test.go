package main_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeep drops what is older than -keep when the daemon starts, but not what
// is pending, and tells everybody what it did.
func TestKeep(t *testing.T) {
	d := start(t)
	var large []string // enough to fill one segment of 16 MiB
	for range 17 {
		large = append(large, event("a", strings.Repeat("x", 1<<20-1000)))
	}
	gone := d.append(d.token, large...)
	last := position(t, d.lines()[16])
	d.append(d.token, event("a", "one"), event("a", "two"))
	id := d.askFor("three")
	d.append(d.token, large...) // and the fourth segment is the last
	d.append(d.token, event("a", "four"))
	if n := len(d.segments()); n != 3 {
		t.Fatalf("%d segments, want 3", n)
	}
	d.stop()

	d = startIn(t, d.dir, "-keep", "1ms")
	d.out.waitFor(t, `pruned the log.*events=17 last_id=`+gone[16])
	lines := d.lines()
	if n := len(d.segments()); n != 2 || len(lines) != 3+17+1+1 {
		t.Errorf("%d segments with %d events left", n, len(lines))
	}
	statement := lines[len(lines)-1]
	if file := string(readFile(t, d.dir+"/audit/PRUNED")); file != statement+"\n" || parse(t, file).Decision.Action != "pruned" {
		t.Errorf("PRUNED holds %s, the log ends with %s", file, statement)
	}
	d.admin("GET", "/v1/audit/events/"+gone[16], "").want(http.StatusNotFound)
	if got := commands(t, d.query("order=asc&limit=3").Events); cmp.Diff([]string{"one", "two", "three"}, got) != "" {
		t.Errorf("the log begins with %q", got)
	}
	if got := d.approval(id).Status; got != "pending" {
		t.Errorf("the approval is %s", got)
	}
	got := d.admin("GET", "/v1/audit/verify?id="+gone[16], "").want(http.StatusOK).object()
	want := map[string]any{"records": 17.0, "last_id": gone[16], "last_hash": parse(t, lines[0]).PrevHash}
	if got["ok"] != true || got["events"] != 22.0 || cmp.Diff(want, got["pruned"]) != "" {
		t.Errorf("verify: %v, want pruned %v", got, want)
	}
	if got := d.admin("GET", "/v1/audit/verify?id="+gone[0], "").want(http.StatusOK).object(); got["ok"] != false || got["verdict"] != "pruned" {
		t.Errorf("verify of an event that was dropped: %v", got)
	}
	d.wantMetric("rampart_audit_pruned_events_total", 17)
	d.wantMetric("rampart_audit_events", 22)
	for _, from := range []string{"0", last} {
		w := d.watch("type=audit&action=allow&last_event_id=" + from)
		if got := commands(t, []string{w.audit(), w.audit()}); cmp.Diff([]string{"one", "two"}, got) != "" {
			t.Errorf("after %s come %q", from, got)
		}
	}
	if f := d.watch("last_event_id="+gone[15]).types("audit_batch", "approvals")[0]; *f.RunID != "" || f.id != position(t, statement) {
		t.Errorf("after what was dropped: %q", f.raw)
	}
	d.wantMetric("rampart_witness_mismatches_total", 0)

	// Once its answer is older than -keep, the approval goes as well.
	d.resolve(id, `{"approved":false}`).want(http.StatusOK)
	d.stop()
	d = startIn(t, d.dir, "-keep", "1ms")
	d.out.waitFor(t, `pruned the log.*events=`)
	d.admin("GET", "/v1/approvals/"+id, "").want(http.StatusNotFound)
	d.kill()
	d = startIn(t, d.dir)
	if got := d.admin("GET", "/v1/audit/verify", "").object(); got["ok"] != true || got["pruned"] == nil {
		t.Errorf("after a kill: %v", got)
	}
}

func TestKeepIsReadAsDays(t *testing.T) {
	for _, keep := range []string{"90d", "0", "0d", "2160h", "65535d"} {
		d := launch(t, t.TempDir(), "-keep", keep)
		d.out.waitFor(t, "listening")
		d.stop()
	}
	for _, keep := range []string{"-1h", "90", "d", "-1d", "1.5d", "1000000d", ""} {
		d := launch(t, t.TempDir(), "-keep", keep)
		refused(t, d, "", "-keep", "90d")
		if d.exitCode() != 2 {
			t.Errorf("-keep %s: exit code %d, want 2", keep, d.exitCode())
		}
	}
}
