package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rampartlog/rampart/daemon"
)

// TestCurlAuth has a shell read the option.
func TestCurlAuth(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	for _, name := range []string{"plain", "it's here", `$(x) "y" \z`, "*"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		token, err := daemon.AdminToken(dir)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(sh, "-c", "printf '%s.' "+daemon.CurlAuth(dir)).CombinedOutput()
		if want := "-H.Authorization: Bearer " + token + "."; string(out) != want || err != nil {
			t.Errorf("%s: the shell reads it as %s, %v", name, out, err)
		}
	}
	if got, want := daemon.CurlAuth("/home/ann/.rampart"), `-H "Authorization: Bearer $(cat /home/ann/.rampart/token)"`; filepath.Separator == '/' && got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
