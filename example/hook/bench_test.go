package main_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
)

// BenchmarkHook is what Claude Code waits for at each call: a process from its
// start to its end, which does nothing, or puts a call on record at a daemon
// that leaves the disk to the operating system, or at one that waits for it.
//
//	go test -run '^$' -bench Hook ./example/hook
func BenchmarkHook(b *testing.B) {
	for _, c := range []struct {
		name, input string
		sync        rampart.SyncPolicy
	}{
		{"start", testdata(b, "stop"), rampart.SyncNever},
		{"record/sync=never", testdata(b, "bash"), rampart.SyncNever},
		{"record/sync=always", testdata(b, "bash"), rampart.SyncAlways},
	} {
		b.Run(c.name, func(b *testing.B) {
			site := newSite(b, c.sync)
			for b.Loop() {
				cmd := exec.Command(binary, site.args([]string{"-deny", `rm\s+-rf`, "-ask", "git push"})...)
				cmd.Stdin = strings.NewReader(c.input)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
