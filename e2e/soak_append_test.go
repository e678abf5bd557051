package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
)

// agentKinds are the agents that append: how much at once, how large, and how often.
var agentKinds = []struct {
	name    string
	tool    string
	events  int // of a request
	size    int // bytes of an event's request, on average
	every   time.Duration
	counted int // requests in half a round of a counted soak: more than roundEvents in a round
}{
	{"single-1", "exec", 1, 150, 12 * time.Millisecond, 75},
	{"single-2", "read", 1, 300, 12 * time.Millisecond, 75},
	{"single-3", "edit", 1, 600, 25 * time.Millisecond, 40},
	{"lines-1", "exec", 20, 150, 100 * time.Millisecond, 6},
	{"lines-2", "search", 60, 150, 250 * time.Millisecond, 2},
	{"files", "write", 4, 24 << 10, 2 * time.Second, 30}, // some of them too long for a frame
}

const askerCount = 3

func askerName(i int) string { return fmt.Sprint("asker-", i+1) }

func agentNames() (names []string) {
	for _, k := range agentKinds {
		names = append(names, k.name)
	}
	for i := range askerCount {
		names = append(names, askerName(i))
	}
	return names
}

// digest is a digest of a sequence, in its order.
type digest uint64

var seed = maphash.MakeSeed()

func (d *digest) add(b []byte) { *d = (*d ^ digest(maphash.Bytes(seed, b))) * 1099511628211 }

// number tells a call's event from all others.
type number struct {
	Batch int `json:"batch"` // of its agent, from 1
	Place int `json:"place"` // in the batch, from 0
	Of    int `json:"of"`    // events in the batch
}

// agent appends one request after the other, each until it is acknowledged. If the
// connection was lost, the request may be on the log all the same, and again after
// each further try.
type agent struct {
	*world
	kind   int
	random *rand.Rand

	acknowledged int         // the last batch that was acknowledged
	tries        map[int]int // of a batch that took more than one
	saved        digest      // of ids and requests that were acknowledged
}

func newAgent(w *world, kind int) *agent {
	return &agent{world: w, kind: kind, random: rand.New(rand.NewPCG(1, uint64(kind))), tries: make(map[int]int)}
}

func (a *agent) run() {
	k := agentKinds[a.kind]
	for a.load.Err() == nil {
		if a.length == 0 {
			a.tally.wait(a.load, func(n map[string]int) bool { return a.acknowledged < n["halves"]*k.counted })
		}
		if a.load.Err() != nil || !a.append() {
			return
		}
		if a.length > 0 {
			a.rest(k.every.Seconds() / round.Seconds())
		}
	}
}

func (a *agent) append() bool {
	k := agentKinds[a.kind]
	var body strings.Builder
	requests := make([]json.RawMessage, k.events)
	for i := range requests {
		requests[i] = a.request(number{a.acknowledged + 1, i, k.events}, int(float64(k.size)*(0.3+0.7*a.random.ExpFloat64())))
		fmt.Fprintf(&body, `{"timestamp":%q,"agent":%q,"session":"soak/%s","run_id":"run-%d","tool":%q,"request":%s,`+
			`"decision":{"action":%q,"matched_policies":["soak"],"evaluation_time_us":8},"response":{"exit_code":0,"duration_ms":12}}`+"\n",
			time.Now().UTC().Format(time.RFC3339Nano), k.name, k.name, a.acknowledged/50, k.tool, requests[i],
			[]string{"allow", "allow", "watch", "deny"}[a.random.IntN(4)])
	}
	tries := 0
	var ids []string
	ok := a.insist(k.name+" appends", func() (err error) {
		tries++
		ids, err = a.post(body.String())
		return err
	})
	if tries > 1 {
		a.tries[a.acknowledged+1] = tries
		a.tally.add("tried again", tries-1)
	}
	if !ok {
		return false
	}
	if len(ids) != len(requests) {
		a.fail("%s: %d ids for %d events", k.name, len(ids), len(requests))
		return false
	}
	for i, id := range ids {
		a.saved.add([]byte(id))
		a.saved.add(requests[i])
	}
	a.acknowledged++
	a.tally.add("acknowledged", len(ids))
	return true
}

// text is cut to make commands: words, quotes, line ends and more than ASCII.
var text = strings.Repeat("git commit -m \"fix: the parser's edge — naïve 日本語 <&> cases\"\n\tgo test ./... && echo done; ", 1500)

const longest = 70 << 10

func (a *agent) request(n number, size int) json.RawMessage {
	from := a.random.IntN(len(text) - longest)
	b, err := json.Marshal(struct {
		number
		Command string `json:"command"`
	}{n, text[from : from+min(size, longest)]})
	if err != nil {
		panic(err)
	}
	return b
}

func (a *agent) post(body string) (ids []string, err error) {
	k := agentKinds[a.kind]
	ctx, cancel := context.WithTimeout(a.watching, 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", a.base+eventsPath, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(k.name))
	req.Header.Set("Content-Type", "application/json")
	if k.events > 1 {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusCreated:
		var answer struct{ IDs []string }
		err = json.Unmarshal(data, &answer)
		return answer.IDs, err
	case http.StatusServiceUnavailable:
		return nil, fmt.Errorf("%s: %s", resp.Status, data)
	}
	return nil, fmt.Errorf("%w: %s: %s", rampart.ErrInvalid, resp.Status, data)
}
