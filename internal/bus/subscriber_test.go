package bus_test

import (
	"testing"
	"testing/synctest"

	"github.com/rampartlog/rampart/internal/bus"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/sse"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

// take reads frames until n were given, as "type position".
func take(t *testing.T, s *bus.Subscriber, n int) (got []string) {
	for len(got) < n {
		run, wait, err := s.Next(t.Context())
		if err != nil {
			t.Error(err)
			return got
		}
		if wait != nil {
			<-wait
		}
		for rest := run.Bytes; len(rest) > 0; {
			var frame []byte
			frame, rest, _ = sse.Cut(rest)
			f, ok := sse.Parse(frame)
			if !ok {
				t.Errorf("no frame: %q", frame)
			}
			got = append(got, f.Type+" "+string(f.ID))
		}
	}
	return got
}

// A position can be durable, and known from a query, before it is announced.
func TestResumeAheadOfTheAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Options{})
		defer b.Close()
		position := func(p ledger.Record) string { return string(sse.AppendPosition(nil, p.ID, p.Hash)) }
		batch := ledger.Batch{Records: records(t, 2)}
		taken := make(chan []string, 1)
		l, err := ledger.Open("", &ledger.Options{FS: vfstest.New(), Announce: func(n []ledger.Notice) {
			go func() {
				s, resume, err := b.Subscribe(t.Context(), position(batch.Records[0]))
				if resume != bus.OK || err != nil {
					t.Error(resume, err)
					taken <- nil
					return
				}
				defer s.Leave()
				taken <- take(t, s, 2)
			}()
			synctest.Wait() // the subscriber has found its place, and waits
			b.Announce(n)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := b.Attach(l); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		got := <-taken
		if want := "approvals "; len(got) != 2 || got[0] != want || got[1] != "audit "+position(batch.Records[1]) {
			t.Errorf("got %q, want approvals, then the second event", got)
		}
	})
}
