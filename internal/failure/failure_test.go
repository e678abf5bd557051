package failure_test

import (
	"testing"

	"github.com/rampartlog/rampart/internal/failure"
)

// The text has what is known, and nothing in place of what is not.
func TestCorruptError(t *testing.T) {
	for _, c := range []struct {
		fault failure.CorruptError
		want  string
	}{
		{failure.CorruptError{Expected: "a", Found: "b"}, "rampart: corrupt log: expected a, found b"},
		{failure.CorruptError{ID: "01K", Expected: "a", Found: "b"}, "rampart: corrupt log: event 01K: expected a, found b"},
		{*(&failure.CorruptError{Expected: "a", Found: "b"}).At("1.jsonl", 0, 0), "rampart: corrupt log: 1.jsonl: expected a, found b"},
		{*(&failure.CorruptError{ID: "01K", Expected: "a", Found: "b"}).At("1.jsonl", 3, 90), "rampart: corrupt log: 1.jsonl line 3 (byte 90) event 01K: expected a, found b"},
	} {
		if got := c.fault.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
