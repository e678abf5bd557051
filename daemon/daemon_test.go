package daemon_test

import (
	"path/filepath"
	"testing"

	"github.com/rampartlog/rampart/daemon"
)

func TestDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home) // of Windows
	for dir, want := range map[string]string{
		"":               filepath.Join(home, ".rampart"),
		"~/.rampart":     filepath.Join(home, ".rampart"),
		"~":              home,
		"~/":             home,
		"~ann":           "~ann",
		"~/x/y":          filepath.Join(home, "x", "y"),
		"/var/lib/x":     "/var/lib/x",
		"relative/~/dir": "relative/~/dir",
	} {
		if got, err := daemon.Dir(dir); got != want || err != nil {
			t.Errorf("%q is %q, %v; want %q", dir, got, err, want)
		}
	}
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", "")
	if got, err := daemon.Dir(""); err == nil {
		t.Errorf("without a home directory it is %q", got)
	}
	if got, err := daemon.Dir("/x"); got != "/x" || err != nil {
		t.Errorf("without a home directory /x is %q, %v", got, err)
	}
}
