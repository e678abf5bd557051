package ledger_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// SyncInterval acknowledges before the disk has it, and syncs within the
// interval.
func TestSyncIntervalMakesDurableWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfstest.New()
		opts := &ledger.Options{Sync: ledger.SyncInterval, SyncEvery: 5 * time.Second, FS: fs}
		c := openChain(t, "", opts)
		saved := appendN(t, c, 2)
		survive := func() int {
			again, err := open("", &ledger.Options{FS: fs.Recover(vfstest.Lost, 0)})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			return int(again.Stats().Events)
		}
		if n := survive(); n != 0 {
			t.Errorf("%d events are durable already", n)
		}
		<-time.After(6 * time.Second)
		if n := survive(); n != len(saved) {
			t.Errorf("%d of %d events are durable after the interval", n, len(saved))
		}
		fs.FailSync(1, errDisk, false)
		appendN(t, c, 1)
		<-time.After(6 * time.Second)
		if err := c.Err(); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("after a failed sync: %v", err)
		}
	})
}

// A server may recover from a panic in a request: the log then says that it
// failed, and closes.
func TestPanicInALoneWriteFailsTheLog(t *testing.T) {
	for when, panics := range map[string]struct {
		announce func([]ledger.Notice)
		check    func()
	}{
		"linked":  {check: func() { panic("linked") }},
		"durable": {announce: func([]ledger.Notice) { panic("durable") }},
	} {
		c, err := open("", &ledger.Options{FS: vfstest.New(), Announce: panics.announce})
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", when)
				}
			}()
			c.appendChecked(t.Context(), event(0), panics.check)
		}()
		if _, err := c.Append(t.Context(), event(1)); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("%s: append after a panic: %v", when, err)
		}
		if err := c.Close(); !errors.Is(err, failure.ErrFailed) {
			t.Errorf("%s: close after a panic: %v", when, err)
		}
	}
}
