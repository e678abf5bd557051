//go:build unix

// Keeps case 17 of docs/durability.md: nothing is acknowledged that goes to a file which somebody touched.

package ledger_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
)

// A log went on writing into a file that had been removed, moved or saved over
// by an editor, and acknowledged lines that were gone with the process.
func TestSegmentTouchedWhileOpen(t *testing.T) {
	saveOver := func(path string, change func([]byte) []byte) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path+"~", change(data), 0o600), os.Rename(path+"~", path))
	}
	for name, c := range map[string]struct {
		touch func(path string) error
		left  int // events that opening again finds
		found string
	}{
		"removed":    {os.Remove, 0, "removed, renamed or replaced"},
		"moved":      {func(path string) error { return os.Rename(path, path+".1") }, 0, "removed, renamed or replaced"},
		"saved over": {func(path string) error { return saveOver(path, func(b []byte) []byte { return b }) }, 2, "removed, renamed or replaced"},
		"emptied":    {func(path string) error { return os.Truncate(path, 0) }, 0, "it has 0 bytes"},
		"longer": {func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("{")
			return errors.Join(err, f.Close())
		}, 2, "bytes, and had"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			announced := 0
			chain, err := open(dir, &ledger.Options{Announce: func(n []ledger.Notice) { announced += len(n) }})
			if err != nil {
				t.Fatal(err)
			}
			saved := appendN(t, chain, 2)
			if err := c.touch(segments(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := chain.Append(t.Context(), event(2))
				if !errors.Is(err, failure.ErrFailed) || !strings.Contains(err.Error(), c.found) || !errors.Is(chain.Err(), failure.ErrFailed) {
					t.Errorf("append: %v, then %v", err, chain.Err())
				}
			}
			if announced != 2 {
				t.Errorf("%d events announced, want 2", announced)
			}
			if err := chain.Close(); !errors.Is(err, failure.ErrFailed) {
				t.Errorf("close: %v", err)
			}
			again := openChain(t, dir, nil)
			if d := cmp.Diff(plain(saved[:c.left], ledger.Query{}), ids(t, again, ledger.Query{})); d != "" {
				t.Error(d)
			}
			appendN(t, again, 1)
		})
	}
}

// Close reported no error where the file was gone and nothing had been written
// since.
func TestSegmentRemovedBeforeClose(t *testing.T) {
	dir := t.TempDir()
	c, err := open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, c, 1)
	if err := os.Remove(segments(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); !errors.Is(err, failure.ErrFailed) {
		t.Errorf("close: %v", err)
	}
}
