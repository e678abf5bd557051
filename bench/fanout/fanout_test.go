//go:build linux

package fanout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/bench/report"
	"github.com/rampartlog/rampart/bench/suite"
)

func tiny(t *testing.T) *suite.Run {
	dir := t.TempDir()
	return &suite.Run{Tiny: true, Runs: 1, Dir: t.TempDir(), Output: report.Output{Dir: dir}, Log: t.Logf}
}

func TestSuites(t *testing.T) {
	for _, s := range Suites {
		r := tiny(t)
		r.Profiles = t.TempDir()
		if err := s.Run(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if s.Name == "growth-fanout" {
			for _, name := range []string{"growth-fanout.md", "growth-fanout-cpu.svg", "growth-fanout-latency.svg", "growth-fanout-memory.svg"} {
				if _, err := os.Stat(filepath.Join(r.Output.Dir, name)); err != nil {
					t.Error(err)
				}
			}
			continue
		}
		for _, p := range parts(true) {
			b, err := os.ReadFile(filepath.Join(r.Output.Dir, "fanout-"+p.Name+".md"))
			if err != nil {
				t.Fatal(err)
			}
			for _, target := range targets() {
				if !strings.Contains(string(b), "\n| "+target.Title+" |") {
					t.Errorf("%s: no row for %s", p.Name, target.Title)
				}
				if profile, err := os.Stat(r.Profile(s.Name, p.Name+"-"+target.Name)); target.Ours && (err != nil || profile.Size() == 0) {
					t.Errorf("%s: no profile of %s", p.Name, target.Name)
				}
			}
		}
	}
}

// All targets send events of the same size on the wire.
func TestFramesAreAlike(t *testing.T) {
	r := tiny(t)
	s := parts(true)[0].scenario
	for _, target := range targets() {
		f, err := measure(t.Context(), r, target, s, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(f.Load.Bytes) / float64(f.Load.Received); got < frameSize*.95 || got > frameSize*1.05 {
			t.Errorf("%s: %.0f bytes an event, want %d", target.Name, got, frameSize)
		}
	}
}

// Our targets lose nothing for a reader that stalls, even when more is published
// than the kernel buffers, 12 MB here.
func TestStalledReadsOn(t *testing.T) {
	for _, target := range targets() {
		if !target.Ours {
			continue
		}
		s := scenario{Name: "stalled", Subscribers: 3, Events: 25_000, Stalled: true, Sample: 8}
		f, err := measure(t.Context(), tiny(t), target, s, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := whole(target, s, f); err != nil {
			t.Error(err)
		}
	}
}
