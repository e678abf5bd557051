package main_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// resources are what connections must give back when they are gone.
type resources struct{ files, goroutines int }

func (d *daemon) resources() resources {
	d.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return resources{len(files), int(d.metric("go_goroutines"))}
}

// wantResources waits until the daemon holds no more than before, but for what
// other requests may hold at the moment.
func (d *daemon) wantResources(before resources) {
	d.t.Helper()
	const slack = 8 // the request that asks, a segment's file, a worker of the runtime
	d.until(fmt.Sprintf("no more than %+v", before), func() bool {
		r := d.resources()
		return r.files <= before.files+slack && r.goroutines <= before.goroutines+slack
	})
}

// wantPeak wants the most memory that the daemon has ever had to be below so
// many MiB. The race detector takes ten times as much, and is not looked at.
func (d *daemon) wantPeak(mib int) {
	d.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		d.t.Fatalf("no peak in %s", status)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	d.t.Logf("peak: %d MiB", kb>>10)
	if !raceEnabled && kb>>10 > mib {
		d.t.Errorf("the daemon took %d MiB, want %d at most", kb>>10, mib)
	}
}
