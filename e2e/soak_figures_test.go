package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// figures are those of a process at one moment. One that the system does not tell
// is zero.
type figures struct {
	appended, streams      int
	cutOff, pruned         int // streams that were cut off; events that were pruned
	faults                 []string
	rss, heap              float64 // bytes; heap is what was live at the last collection
	goroutines, descriptor float64
}

// figures asks the daemon for its own. Faults are watchers that were told that
// the log is not the one they saw, and whatever went wrong with the log.
func (w *world) figures() figures {
	w.t.Helper()
	values := make(map[string]float64)
	var faults []string
	for line := range strings.Lines(w.call("GET", "/metrics", "")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		values[name] = v
		for _, fault := range []string{
			`rampart_stream_resumes_total{result="unknown"}`, `rampart_stream_resumes_total{result="mismatch"}`,
			`rampart_stream_closed_total{reason="error"}`, `rampart_witness_mismatches_total`, `rampart_audit_errors_total{`,
		} {
			if strings.HasPrefix(name, fault) && v != 0 {
				faults = append(faults, name)
			}
		}
	}
	if values["rampart_audit_pruned_events_total"] > 0 {
		// The watcher that reads all had yet to be given what was dropped.
		faults = slices.DeleteFunc(faults, func(name string) bool { return strings.Contains(name, `"error"`) })
	}
	return figures{
		appended: int(values["rampart_audit_appended_total"]), streams: int(values["rampart_stream_subscribers"]),
		cutOff: int(values[`rampart_stream_closed_total{reason="write_timeout"}`]), pruned: int(values["rampart_audit_pruned_events_total"]),
		faults: faults, rss: values["process_resident_memory_bytes"], heap: values["go_memstats_next_gc_bytes"] / 2,
		goroutines: values["go_goroutines"], descriptor: values["process_open_fds"],
	}
}

// ownFigures are those of the test, which holds the other ends of everything.
func ownFigures(t *testing.T) figures {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return figures{heap: float64(s[0].Value.Uint64()), goroutines: float64(runtime.NumGoroutine()), descriptor: openDescriptors(t)}
}

func openDescriptors(t *testing.T) float64 {
	t.Helper()
	// The first of its kind makes the runtime open two of its own, for good.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	open, _ := os.ReadDir("/proc/self/fd")
	return float64(len(open))
}

// flat wants the last third of a process' life to be like the second. In the first
// third the process comes to size: the bus' memory fills, watchers fall behind.
//
// Two things grow by design in that time: the indexes of full segments, a quarter
// of a megabyte for each of up to 32, and the approvals that ended, a kilobyte each.
// The collector lets the heap become twice what is live. The margins leave room for
// all that and for chance, which the medians make small. If each opened stream kept
// a goroutine, or each event 100 bytes, that would exceed the margins within ten
// minutes.
func flat(t *testing.T, whose string, samples []figures) {
	t.Helper()
	n := len(samples) / 3
	if n < 3 {
		t.Logf("%-24s too short to tell: %d samples", whose, len(samples))
		return
	}
	for _, f := range []struct {
		name   string
		of     func(figures) float64
		margin float64
	}{
		{"resident memory", func(f figures) float64 { return f.rss }, 8 << 20},
		{"live heap", func(f figures) float64 { return f.heap }, 4 << 20},
		{"goroutines", func(f figures) float64 { return f.goroutines }, 10},
		{"descriptors", func(f figures) float64 { return f.descriptor }, 6},
	} {
		middle, last := median(samples[n:2*n], f.of), median(samples[len(samples)-n:], f.of)
		if last == 0 {
			continue // the system does not tell
		}
		verdict := "flat"
		if last > 1.15*middle+f.margin {
			verdict = "it grows"
			t.Errorf("%s: %s grew from %.0f in the second third to %.0f in the last", whose, f.name, middle, last)
		}
		t.Logf("%-24s %-16s %12.0f %12.0f  %s", whose, f.name, middle, last, verdict)
	}
}

func median(samples []figures, of func(figures) float64) float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// row is a line of the table: a round, at its end.
type row struct {
	figures
	acknowledged, segments, ends int
}

func (w *world) table() string {
	var out bytes.Buffer
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\t\t\t\t\t\t\t\t\t\t\t\t\n", w.name)
	fmt.Fprintln(t, "round\tappended\tacknowledged\tpruned\tsegments\tends\tstreams\tcut off\tRSS MB\theap MB\tgoroutines\tdescriptors\t")
	for i, r := range w.rows {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.0f\t%.0f\t\n", i+1, r.appended, r.acknowledged, r.pruned, r.segments, r.ends,
			r.streams, r.cutOff, r.rss/1e6, r.heap/1e6, r.goroutines, r.descriptor)
	}
	t.Flush()
	return out.String()
}

// settled waits until the daemon is as it was before anybody came.
func (w *world) settled() {
	w.t.Helper()
	w.http.CloseIdleConnections()
	var f figures
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		f = w.figures()
		if f.streams == 0 && f.goroutines <= w.idle.goroutines && f.descriptor <= w.idle.descriptor {
			return
		}
	}
	w.t.Errorf("%s: when all have left there are %d streams, %.0f goroutines and %.0f descriptors; before there were %.0f and %.0f",
		w.name, f.streams, f.goroutines, f.descriptor, w.idle.goroutines, w.idle.descriptor)
}
