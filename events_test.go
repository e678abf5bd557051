package rampart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart"
)

func newBus(t testing.TB, opts *rampart.BusOptions) *rampart.EventBus {
	t.Helper()
	b := rampart.NewEventBus(opts)
	t.Cleanup(func() { b.Close() })
	return b
}

// newLog returns a chain that announces to a bus of its own.
func newLog(t testing.TB, opts *rampart.BusOptions) (*rampart.AuditChain, *rampart.EventBus) {
	t.Helper()
	b := newBus(t, opts)
	return openChain(t, t.TempDir(), &rampart.AuditOptions{Bus: b, Sync: rampart.SyncNever}), b
}

func appendOne(t testing.TB, c *rampart.AuditChain, e rampart.AuditEvent) rampart.AuditEvent {
	t.Helper()
	saved, err := c.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// appendBulk appends n events with requests of about size bytes, in one go.
func appendBulk(t testing.TB, c *rampart.AuditChain, n, size int) []rampart.AuditEvent {
	t.Helper()
	events := make([]rampart.AuditEvent, n)
	for i := range events {
		events[i] = event(i)
		events[i].Request = json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", size)))
	}
	saved, err := c.AppendAll(context.Background(), events)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func position(e rampart.AuditEvent) string { return e.ID + "." + e.Hash[:16] }

func publish(t testing.TB, b *rampart.EventBus, e rampart.Event) {
	t.Helper()
	if err := b.Publish(e); err != nil {
		t.Fatal(err)
	}
}

// take returns the first n messages after a position; fewer and the error when
// the subscription ends before.
func take(ctx context.Context, b *rampart.EventBus, after string, n int) ([]rampart.Event, error) {
	var out []rampart.Event
	for e, err := range b.Subscribe(ctx, after) {
		if err != nil {
			return out, err
		}
		if out = append(out, e); len(out) == n {
			break
		}
	}
	return out, nil
}

func names(events []rampart.Event) string {
	var s []string
	for _, e := range events {
		s = append(s, strings.TrimSpace(string(e.Type)+" "+e.ID+e.RunID))
	}
	return strings.Join(s, ", ")
}

func TestSubscribeWithoutChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, nil)
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "before", Record: rampart.Record(`{}`)})
		var got []rampart.Event
		var wg sync.WaitGroup
		wg.Go(func() { got, _ = take(t.Context(), b, "", 4) })
		synctest.Wait()
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "a b", Record: rampart.Record("{ \"n\" : [1.0, 9007199254740993],\r\n\"s\":\"\\u003c\\n\"}")})
		publish(t, b, rampart.Event{Type: rampart.TypeApprovals})
		publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "c", RunID: "run \"1\"\n"})
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "d", Record: rampart.Record(`{"x":"` + strings.Repeat("x", 60<<10) + `","run_id":"run 2"}`)})
		wg.Wait()
		want := []rampart.Event{
			{Type: rampart.TypeAudit, ID: "a b", Record: rampart.Record(`{"n":[1.0,9007199254740993],"s":"\u003c\n"}`)},
			{Type: rampart.TypeApprovals},
			{Type: rampart.TypeAuditBatch, ID: "c", RunID: "run \"1\"\n"},
			{Type: rampart.TypeAuditBatch, ID: "d", RunID: "run 2"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestResumeWithoutChain(t *testing.T) {
	b := newBus(t, nil)
	for i := range 4 {
		publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: fmt.Sprint("e", i), Record: rampart.Record(`{}`)})
		publish(t, b, rampart.Event{Type: rampart.TypeApprovals})
	}
	for after, want := range map[string]string{
		"0":  "audit e0, approvals, audit e1, approvals, audit e2, approvals, audit e3, approvals, approvals",
		"e1": "audit e2, approvals, audit e3, approvals, approvals",
		"e3": "approvals",
	} {
		got, err := take(t.Context(), b, after, strings.Count(want, ",")+1)
		if names(got) != want || err != nil {
			t.Errorf("after %s: %s (%v), want %s", after, names(got), err, want)
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	ok := rampart.Record(`{}`)
	b := newBus(t, nil)
	for _, e := range []rampart.Event{
		{},
		{Type: "Audit", ID: "x", Record: ok},
		{Type: rampart.TypeConnected},
		{Type: rampart.TypeAudit, Record: ok},
		{Type: rampart.TypeAudit, ID: "0", Record: ok},
		{Type: rampart.TypeAudit, ID: "a\nb", Record: ok},
		{Type: rampart.TypeAudit, ID: "a\rb", Record: ok},
		{Type: rampart.TypeAudit, ID: "a\x00b", Record: ok},
		{Type: rampart.TypeAudit, ID: strings.Repeat("x", 257), Record: ok},
		{Type: rampart.TypeAuditBatch, RunID: "r"},
		{Type: rampart.TypeAudit, ID: "x"},
		{Type: rampart.TypeAudit, ID: "x", Record: rampart.Record(`{`)},
		{Type: rampart.TypeAudit, ID: "x", Record: rampart.Record(`{}{}`)},
		{Type: rampart.TypeAudit, ID: "x", Record: rampart.Record(`[]`)},
		{Type: rampart.TypeAudit, ID: "x", Record: rampart.Record("{\"a\":\"\xff\"}")},
	} {
		if err := b.Publish(e); !errors.Is(err, rampart.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", e, err)
		}
	}
	if n := b.Stats().Published; n != 0 {
		t.Errorf("%d of them were published", n)
	}

	_, b = newLog(t, nil)
	if err := b.Publish(rampart.Event{Type: rampart.TypeAudit, ID: "x", Record: ok}); !errors.Is(err, rampart.ErrInvalid) {
		t.Errorf("past the chain: %v, want ErrInvalid", err)
	}
	if err := b.Publish(rampart.Event{Type: rampart.TypeApprovals}); err != nil {
		t.Errorf("approvals beside a chain: %v", err)
	}
	b.Close()
	if err := b.Publish(rampart.Event{Type: rampart.TypeApprovals}); !errors.Is(err, rampart.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

func TestABusHasOneLog(t *testing.T) {
	_, b := newLog(t, nil)
	if _, err := rampart.OpenAuditChain(t.TempDir(), &rampart.AuditOptions{Bus: b}); !errors.Is(err, rampart.ErrInvalid) {
		t.Errorf("a second chain: %v, want ErrInvalid", err)
	}
	b = newBus(t, nil)
	publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "x"})
	if _, err := rampart.OpenAuditChain(t.TempDir(), &rampart.AuditOptions{Bus: b}); !errors.Is(err, rampart.ErrInvalid) {
		t.Errorf("a chain beside a host's own log: %v, want ErrInvalid", err)
	}
}

func TestSubscribeResumes(t *testing.T) {
	c, b := newLog(t, nil)
	saved := appendN(t, c, 3)
	bulk, err := c.AppendBatch(t.Context(), "run", event(3), event(4))
	if err != nil {
		t.Fatal(err)
	}
	saved = append(saved, bulk...)
	large := appendBulk(t, c, 1, 60<<10)[0]
	for _, tc := range []struct {
		after string
		from  int
	}{
		{"0", 0}, {position(saved[0]), 1}, {saved[1].ID, 2}, {position(saved[3]), 4}, {position(saved[4]), 5},
	} {
		var want []rampart.Event
		for _, e := range saved[tc.from:] {
			rec, err := c.Get(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, rampart.Event{Type: rampart.TypeAudit, ID: position(e), Record: rec})
		}
		want = append(want, rampart.Event{Type: rampart.TypeAuditBatch, ID: position(large)}, rampart.Event{Type: rampart.TypeApprovals})
		got, err := take(t.Context(), b, tc.after, len(want))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("after %s: %v (-want +got):\n%s", tc.after, err, diff)
		}
	}
}

// A bulk resolution is announced to those who watch as one audit_batch.
func TestBulkIsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newLog(t, nil)
		appendN(t, c, 1)
		var got []rampart.Event
		var wg sync.WaitGroup
		wg.Go(func() { got, _ = take(t.Context(), b, "", 3) })
		synctest.Wait()
		bulk, err := c.AppendBatch(t.Context(), "run 1", event(1), event(2))
		if err != nil {
			t.Fatal(err)
		}
		next := appendOne(t, c, event(3))
		wg.Wait()
		got[2].Record = nil
		want := []rampart.Event{
			{Type: rampart.TypeAuditBatch, ID: position(bulk[1]), RunID: "run 1"},
			{Type: rampart.TypeApprovals},
			{Type: rampart.TypeAudit, ID: position(next)},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestSubscribeErrors(t *testing.T) {
	c, b := newLog(t, nil)
	saved := appendN(t, c, 2)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name, after string
		ctx         context.Context
		want        error
	}{
		{"malformed", "x", t.Context(), rampart.ErrInvalid},
		{"upper-case hash", saved[0].ID + "." + strings.Repeat("A", 16), t.Context(), rampart.ErrInvalid},
		{"unknown", "01" + strings.Repeat("0", 24), t.Context(), rampart.ErrNotFound},
		{"another hash", saved[0].ID + "." + strings.Repeat("0", 16), t.Context(), rampart.ErrNotFound},
		{"beyond the head", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ." + strings.Repeat("0", 16), t.Context(), rampart.ErrNotFound},
		{"cancelled", "", cancelled, context.Canceled},
	} {
		if got, err := take(tc.ctx, b, tc.after, 1); !errors.Is(err, tc.want) || len(got) > 0 {
			t.Errorf("%s: %v, %v, want %v", tc.name, names(got), err, tc.want)
		}
	}
	b.Close()
	if _, err := take(t.Context(), b, "", 1); !errors.Is(err, rampart.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

func TestSubscribersAreLimited(t *testing.T) {
	b := newBus(t, &rampart.BusOptions{MaxSubscribers: 1})
	publish(t, b, rampart.Event{Type: rampart.TypeApprovals})
	for range b.Subscribe(t.Context(), "0") {
		if _, err := take(t.Context(), b, "0", 1); !errors.Is(err, rampart.ErrLimit) {
			t.Errorf("a second subscriber: %v, want ErrLimit", err)
		}
		break
	}
	if n := b.Stats().Subscribers; n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
	if _, err := take(t.Context(), b, "0", 1); err != nil {
		t.Errorf("after the first has left: %v", err)
	}
}

func TestCloseGivesOutWhatMemoryHolds(t *testing.T) {
	b := newBus(t, nil)
	publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "a"})
	var got []rampart.Event
	var last error
	for e, err := range b.Subscribe(t.Context(), "0") {
		if last = err; err != nil {
			continue
		}
		if got = append(got, e); len(got) == 1 {
			publish(t, b, rampart.Event{Type: rampart.TypeAuditBatch, ID: "b"})
			b.Close()
		}
	}
	if want := "audit_batch a, approvals, audit_batch b"; names(got) != want || !errors.Is(last, rampart.ErrClosed) {
		t.Errorf("got %s, then %v, want %s, then ErrClosed", names(got), last, want)
	}
}

// A subscriber that the window has passed by reads the log until memory covers
// it again; the approvals messages in between become one.
func TestSlowSubscriberIsFedFromTheLog(t *testing.T) {
	c, b := newLog(t, &rampart.BusOptions{Window: 1})
	saved := appendN(t, c, 1)
	lagged, again := false, false
	var next []rampart.AuditEvent
	for e, err := range b.Subscribe(t.Context(), "0") {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Type == rampart.TypeApprovals && !lagged: // the subscriber is back in memory
			lagged = true
			for range 3 {
				next = append(next, appendBulk(t, c, 1000, 500)...)
				publish(t, b, rampart.Event{Type: rampart.TypeApprovals})
			}
			if st := b.Stats(); st.SlowestLag != 3000 {
				t.Errorf("lag %d, want 3000", st.SlowestLag)
			}
		case e.Type == rampart.TypeApprovals:
			if len(next) > 0 {
				t.Errorf("%d events are missing", len(next))
			}
			return
		case !lagged:
			if e.ID != position(saved[0]) {
				t.Errorf("first %s, want %s", e.ID, position(saved[0]))
			}
		default:
			if len(next) == 0 || e.ID != position(next[0]) {
				t.Fatalf("%s comes with %d to come", e.ID, len(next))
			}
			if next = next[1:]; len(next) == 1000 && !again {
				again = true // the window passes the subscriber once more, on its way back
				next = append(next, appendBulk(t, c, 3000, 500)...)
				if st := b.Stats(); st.CatchUp == 0 {
					t.Errorf("%+v while it is fed from the log", st)
				}
			}
		}
	}
}

// Nothing of the log is read once the bus is closed: the chain closes next.
func TestCloseEndsASubscriberThatIsFedFromTheLog(t *testing.T) {
	c, b := newLog(t, nil)
	const n = 1000
	appendBulk(t, c, n, 500)
	var got int
	var last error
	for _, err := range b.Subscribe(t.Context(), "0") {
		if last = err; err == nil {
			got++
		}
		b.Close()
	}
	if !errors.Is(last, rampart.ErrClosed) || got >= n {
		t.Errorf("%d of %d events, then %v, want fewer, then ErrClosed", got, n, last)
	}
}

func TestWithoutChainALaggardIsTold(t *testing.T) {
	b := newBus(t, &rampart.BusOptions{Window: 1})
	rec := rampart.Record(`{"x":"` + strings.Repeat("x", 1000) + `"}`)
	publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: "first", Record: rec})
	var got int
	var last error
	for _, err := range b.Subscribe(t.Context(), "0") {
		if last = err; err != nil {
			break
		}
		if got++; got == 1 {
			for i := range 3000 {
				publish(t, b, rampart.Event{Type: rampart.TypeAudit, ID: fmt.Sprint("e", i), Record: rec})
			}
		}
	}
	if !errors.Is(last, rampart.ErrLagged) {
		t.Errorf("ended with %v after %d messages, want ErrLagged", last, got)
	}
	if _, err := take(t.Context(), b, "0", 1); !errors.Is(err, rampart.ErrNotFound) {
		t.Errorf("from the start that is gone: %v, want ErrNotFound", err)
	}
	if _, err := take(t.Context(), b, "e2998", 1); err != nil {
		t.Errorf("from what memory holds: %v", err)
	}
}

func TestRecordsAreTheConsumersToKeep(t *testing.T) {
	c, b := newLog(t, nil)
	appendN(t, c, 2)
	got, err := take(t.Context(), b, "0", 2)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(got[1].Record)
	clear(got[0].Record[:cap(got[0].Record)])
	if again, _ := take(t.Context(), b, "0", 2); !bytes.Equal(got[1].Record, want) || !bytes.Equal(again[1].Record, want) {
		t.Error("writing to one record changes another")
	}
}

// Resuming, falling behind and following live all at once: each subscriber
// gets every event once, in log order.
func TestThousandSubscribers(t *testing.T) {
	c, b := newLog(t, nil)
	const subscribers, events, writers = 1000, 200, 4
	early := appendN(t, c, events/2)
	got := make([][]rampart.Event, subscribers)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			for e, err := range b.Subscribe(t.Context(), "0") {
				if err != nil {
					t.Error(err)
					return
				}
				if e.Type == rampart.TypeAudit {
					e.Record = nil
					if got[i] = append(got[i], e); len(got[i]) == events {
						return
					}
				}
			}
		})
	}
	for range writers {
		wg.Go(func() { appendN(t, c, (events-len(early))/writers) })
	}
	wg.Wait()
	var want []rampart.Event
	for rec, err := range c.Query(t.Context(), rampart.Query{Ascending: true}) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, rampart.Event{Type: rampart.TypeAudit, ID: rec.ID() + "." + rec.Hash()[:16]})
	}
	for i := range got {
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Fatalf("subscriber %d (-want +got):\n%s", i, diff)
		}
	}
}

// Whoever watched a bus before its log was opened is at the log's head, and not
// behind all of it.
func TestSubscribedBeforeTheLogIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, err := rampart.OpenAuditChain(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, c, 10)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		b := newBus(t, nil)
		var got []rampart.Event
		var wg sync.WaitGroup
		wg.Go(func() { got, err = take(t.Context(), b, "", 1) })
		synctest.Wait()
		c = openChain(t, dir, &rampart.AuditOptions{Bus: b})
		synctest.Wait()
		if lag := b.Stats().SlowestLag; lag != 0 {
			t.Errorf("lag %d before anything was announced", lag)
		}
		e := appendOne(t, c, event(10))
		wg.Wait()
		if want := "audit " + position(e); names(got) != want || err != nil {
			t.Errorf("got %s (%v), want %s", names(got), err, want)
		}
	})
}
