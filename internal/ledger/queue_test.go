package ledger_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// hold makes all other writers wait for an append until release is called.
func hold(t *testing.T, c *chain) (release func()) {
	t.Helper()
	held, let := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := c.appendChecked(context.Background(), event(0), func() { close(held); <-let })
		done <- err
	}()
	<-held
	return func() {
		close(let)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// The context limits the wait for a turn: nothing is stored then. Once an append
// has its turn, by itself or in the committer's hands, its outcome is reported
// whatever the context says.
func TestContextLimitsTheWaitForATurnAlone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := memChain(t, vfstest.New())
			ctx, cancel := context.WithCancel(t.Context())
			want := uint64(1)
			release := func() {}
			if !alone { // another writer makes it wait for the committer
				release = hold(t, c)
				want++
			}
			taken := make(chan error, 1)
			let := make(chan struct{})
			go func() {
				_, err := c.appendChecked(ctx, event(1), func() { <-let })
				taken <- err
			}()
			synctest.Wait()
			release()
			synctest.Wait()
			waiting := make(chan error, 1)
			go func() {
				_, err := c.Append(ctx, event(2))
				waiting <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-waiting; !errors.Is(err, context.Canceled) {
				t.Errorf("alone %t: waiting for a turn: %v", alone, err)
			}
			close(let)
			if err := <-taken; err != nil {
				t.Errorf("alone %t: taken: %v", alone, err)
			}
			if n := c.Stats().Events; n != want {
				t.Errorf("alone %t: %d events, want %d", alone, n, want)
			}
		})
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openChain(t, "", &ledger.Options{FS: vfstest.New()})
		release := hold(t, c)
		large := event(1)
		large.Decision.Message = strings.Repeat("x", 1<<20-1000)
		const n = 70
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if _, err := c.Append(t.Context(), large); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if q := c.QueuedBytes(); q > ledger.MaxQueued || q < ledger.MaxQueued-1<<20 {
			t.Errorf("%d bytes wait", q)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Append(ctx, large); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a full queue: %v", err)
		}
		release()
		wg.Wait()
		if got := c.Stats().Events; got != n+1 {
			t.Errorf("%d events", got)
		}
	})
}

func TestCloseFinishesWhatWasAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memChain(t, vfstest.New())
		release := hold(t, c)
		admitted := make(chan error, 1)
		go func() {
			_, err := c.Append(t.Context(), event(1))
			admitted <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		synctest.Wait()
		if _, err := c.Append(t.Context(), event(2)); !errors.Is(err, failure.ErrClosed) {
			t.Errorf("after Close began: %v", err)
		}
		release()
		if err := errors.Join(<-admitted, <-closed); err != nil {
			t.Error(err)
		}
	})
}
