package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// askKinds are the kinds of approvals: the message that names it, and the outcome.
var askKinds = []struct {
	name string
	ends rampart.ApprovalStatus
}{
	{"slow", rampart.Approved}, // answered a round and a half later
	{"approve", rampart.Approved},
	{"expire", rampart.Expired}, // nobody answers
	{"bulk", rampart.Approved},  // three of a run, answered at once
	{"deny", rampart.Denied},
}

const bulk = 3

// queue is what the test knows of the approvals.
type queue struct {
	mu    sync.Mutex
	asked map[string]string           // acknowledged: the tool call by the approval's id
	tries map[string]int              // of each tool call
	held  map[string]bool             // pending for sure
	told  map[string]rampart.Approval // what waiters heard, by id
}

func newQueue() queue {
	return queue{asked: map[string]string{}, tries: map[string]int{}, held: map[string]bool{}, told: map[string]rampart.Approval{}}
}

func (q *queue) hold(id string, held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if held {
		q.held[id] = true
	} else {
		delete(q.held, id)
	}
}

// known is what is pending for sure, and what has ended.
func (q *queue) known() (held, ended []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.held {
		held = append(held, id)
	}
	for id := range q.told {
		ended = append(ended, id)
	}
	return held, ended
}

// survived wants the pending approvals of a daemon that was started again to be
// those from before.
func (q *queue) survived(w *world) {
	w.t.Helper()
	before, ended := q.known()
	pending, err := w.admin.ListApprovals(w.t.Context(), rampart.Pending)
	if err != nil {
		w.fail("after the restart: %v", err)
		return
	}
	after, _ := q.known()
	ids := make(map[string]bool)
	for _, a := range pending {
		ids[a.ID] = true
	}
	for _, id := range before {
		if slices.Contains(after, id) {
			w.tally.add("pending across an outage", 1)
			if !ids[id] {
				w.fail("after the restart, approval %s is not pending any more", id)
			}
		}
	}
	for _, id := range ended {
		if ids[id] {
			w.fail("after the restart, approval %s is pending, which has ended", id)
		}
	}
}

// asker asks for approvals, one after the other, and waits for the answers.
type asker struct {
	*world
	index  int
	client *client.Client
	calls  int
	slow   sync.WaitGroup
}

func newAsker(w *world, i int) *asker {
	return &asker{world: w, index: i, client: w.client(tokenOf(askerName(i)))}
}

func (k *asker) run() {
	defer k.slow.Wait()
	// Of each kind one, however soon the load is over.
	for n := 0; k.watching.Err() == nil && (n < len(askKinds) || k.load.Err() == nil); n++ {
		kind := askKinds[(n+k.index)%len(askKinds)]
		var ids []string
		run := ""
		if kind.name == "bulk" {
			run = fmt.Sprintf("%s-%d", askerName(k.index), k.calls)
			for range bulk - 1 {
				ids = append(ids, k.ask(kind.name, run))
			}
		}
		ids = append(ids, k.ask(kind.name, run))
		if slices.Contains(ids, "") {
			return
		}
		if kind.name == "slow" {
			k.queue.hold(ids[0], true)
			k.tally.add("held", 1)
			k.slow.Go(func() {
				if k.rest(1.5); k.load.Err() == nil {
					k.queue.hold(ids[0], false)
					k.answer(ids[0], rampart.Approved)
					k.wait(ids[0], kind.ends)
				}
			})
		} else {
			for _, id := range ids {
				k.wait(id, kind.ends)
			}
		}
		k.rest(1.0 / 40)
	}
}

// ask asks until that is acknowledged. If the connection was lost, the approval may
// be there all the same, and if it is answered before ask tries again, nobody hears
// of that answer.
func (k *asker) ask(kind, run string) (id string) {
	k.calls++
	r := rampart.ApprovalRequest{
		Agent: "whoever", Session: "soak/approvals", RunID: run, ToolCallID: fmt.Sprintf("%s-%d", askerName(k.index), k.calls),
		Tool: "exec", Message: kind, TTL: time.Hour, Request: json.RawMessage(fmt.Sprintf(`{"command":"git push %d"}`, k.calls)),
	}
	switch {
	case kind == "expire":
		r.TTL = time.Second
	case kind != "slow" && k.length > 0:
		r.TTL = time.Minute // an approval that was answered would have time to expire, if it could
	}
	if !k.insist(askerName(k.index)+" asks", func() error {
		k.queue.mu.Lock()
		k.queue.tries[r.ToolCallID]++
		k.queue.mu.Unlock()
		a, err := k.client.RequestApproval(k.watching, r)
		id = a.ID
		return err
	}) {
		return ""
	}
	k.queue.mu.Lock()
	defer k.queue.mu.Unlock()
	k.queue.asked[id] = r.ToolCallID
	k.tally.add("asked", 1)
	return id
}

func (k *asker) wait(id string, ends rampart.ApprovalStatus) {
	ctx, cancel := context.WithTimeout(k.watching, 2*patience)
	defer cancel()
	a, err := k.client.WaitApproval(ctx, id)
	if k.watching.Err() != nil {
		return
	}
	if err != nil || a.Status != ends || a.ID != id {
		k.fail("%s waits for %s, which ends %s: %v %+v", askerName(k.index), id, ends, err, a)
		return
	}
	k.queue.mu.Lock()
	defer k.queue.mu.Unlock()
	k.queue.told[id] = a
	k.tally.add(string(a.Status), 1)
}

const person = "maria"

// answer answers one approval until that is durable.
func (w *world) answer(id string, status rampart.ApprovalStatus) {
	w.insist("answer", func() error {
		_, err := w.admin.ResolveApproval(w.watching, id, rampart.Resolution{Status: status, ResolvedBy: person, Reason: "soak"})
		return answered(err)
	})
}

// answered takes an approval that is no longer pending for answered, by an earlier
// try.
func answered(err error) error {
	if errors.Is(err, rampart.ErrNotPending) {
		return nil
	}
	return err
}

// human answers pending approvals whenever the stream says that the queue may have
// changed.
func (w *world) human() {
	for e, err := range w.admin.Events(w.watching, "") {
		if w.watching.Err() != nil {
			return
		}
		if err != nil {
			w.fail("the person who answers: %v", err)
			return
		}
		if e.Type != rampart.TypeConnected && e.Type != rampart.TypeApprovals {
			continue
		}
		var pending []rampart.Approval
		w.insist("list", func() (err error) {
			pending, err = w.admin.ListApprovals(w.watching, rampart.Pending)
			return err
		})
		runs := make(map[string]int)
		for _, a := range pending {
			switch a.Message {
			case "approve":
				w.answer(a.ID, rampart.Approved)
			case "deny":
				w.answer(a.ID, rampart.Denied)
			case "bulk":
				if runs[a.RunID]++; runs[a.RunID] == bulk {
					w.insist("answer a run", func() error {
						ids, err := w.admin.ResolveApprovals(w.watching, rampart.BulkResolution{
							Resolution: rampart.Resolution{Status: rampart.Approved, ResolvedBy: person}, RunID: a.RunID,
						})
						w.tally.add("answered at once", len(ids))
						return answered(err)
					})
				}
			}
		}
	}
}
