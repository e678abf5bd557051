//go:build unix

// Keeps "The record" of docs/security.md: what is no file is not opened.

package ledger_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rampartlog/rampart/internal/ledger"
)

// Verifying an archive waited for ever for the other end of a FIFO in it.
func TestVerifyDoesNotWaitForAFIFO(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "00000000000000000001.jsonl")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Skip(err)
	}
	late := time.AfterFunc(10*time.Second, func() {
		t.Error("it waits")
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	})
	defer late.Stop()
	r, err := verifyFS(t.Context(), os.DirFS(dir))
	if err != nil || r.Verdict != ledger.VerdictUnreadable {
		t.Errorf("%+v %v", r, err)
	}
}
