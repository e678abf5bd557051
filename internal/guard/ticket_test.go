package guard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampartlog/rampart/internal/guard"
)

func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, config())
		open := func(token string, need guard.Scope) int {
			_, err := g.Admit(get("/", "Authorization", "Bearer "+token), need)
			return code(t, err)
		}
		first, expires := g.Issue(time.Now())
		if want := time.Now().Add(time.Hour); !expires.Equal(want) || len(first) != 43 {
			t.Errorf("a ticket of %d characters, expires %v, want %v", len(first), expires, want)
		}
		for range 2 {
			if got := open(first, guard.Stream); got != 200 {
				t.Errorf("a ticket on the stream: %d", got)
			}
		}
		for _, need := range []guard.Scope{guard.Admin, guard.Agent} {
			if got := open(first, need); got != 403 {
				t.Errorf("a ticket as %s: %d", need, got)
			}
		}
		var last string
		for i := range 10_000 {
			if last, _ = g.Issue(time.Now()); i == 9_998 && open(first, guard.Stream) != 200 {
				t.Error("one of 10,000 tickets is void")
			}
		}
		if got := open(first, guard.Stream); got != 401 {
			t.Errorf("the oldest of 10,001 tickets: %d", got)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		if got := open(last, guard.Stream); got != 200 {
			t.Errorf("before its end: %d", got)
		}
		time.Sleep(time.Nanosecond)
		if got := open(last, guard.Stream); got != 401 {
			t.Errorf("at its end: %d", got)
		}
	})
}
