//go:build unix

// Keeps "The record" of docs/security.md: links are refused in the place of the log's files, and no FIFO is opened.

package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
)

// Verification follows a link, since archives may be made of links. Opening
// refuses one. Both refuse a FIFO, and do not wait for its other end.
func TestLinkOrFIFOInPlaceOfAFile(t *testing.T) {
	for _, log := range []string{"v1/whole", "v1/pruned"} {
		stored := golden(t, log)
		for name := range stored {
			if filepath.Ext(name) == ".idx" {
				continue
			}
			elsewhere := filepath.Join(write(t, stored), name)
			for what, tt := range map[string]struct {
				put     func(path string) error
				verdict ledger.Verdict
			}{
				"link":               {func(path string) error { return os.Symlink(elsewhere, path) }, ledger.VerdictOK},
				"link to nothing":    {func(path string) error { return os.Symlink(elsewhere+"x", path) }, ledger.VerdictUnreadable},
				"link to itself":     {func(path string) error { return os.Symlink(name, path) }, ledger.VerdictUnreadable},
				"link to a device":   {func(path string) error { return os.Symlink(os.DevNull, path) }, ledger.VerdictUnreadable},
				"link to its folder": {func(path string) error { return os.Symlink(".", path) }, ledger.VerdictUnreadable},
				"FIFO":               {func(path string) error { return syscall.Mkfifo(path, 0o600) }, ledger.VerdictUnreadable},
			} {
				dir := write(t, stored.with(name, nil))
				if err := tt.put(filepath.Join(dir, name)); err != nil {
					t.Skip(err)
				}
				if name == "PRUNED" && what == "link to nothing" { // which is no such file
					tt.verdict = ledger.VerdictMissing
				}
				r, err := verifyFS(t.Context(), os.DirFS(dir))
				if err != nil || r.Verdict != tt.verdict || r.Verdict == ledger.VerdictUnreadable && r.Fault.Segment != name {
					t.Errorf("%s in place of %s: %s %v %v, want %s", what, name, r.Verdict, r.Fault, err, tt.verdict)
				}
				c, err := open(dir, nil)
				if err == nil {
					c.Close()
					t.Errorf("%s in place of %s: opened", what, name)
				} else if errors.Is(err, failure.ErrLocked) {
					t.Error(err)
				}
			}
		}
	}
}
