package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
)

// holds wants lines to have all that was acknowledged, in that order.
func (p *played) holds(what string, lines []json.RawMessage) {
	p.t.Helper()
	var got []string
	for _, line := range lines {
		e := parse(p.t, string(line))
		if command, ok := p.acked[e.ID]; ok {
			got = append(got, e.ID)
			if string(e.Request.Command) != command {
				p.t.Errorf("%s: %s has %s in place of %q", p.where, what, line, command)
			}
		}
	}
	if !slices.Equal(got, p.order) {
		p.t.Errorf("%s: %s has %v of what was acknowledged, want %v", p.where, what, got, p.order)
	}
}

var reasons = map[string]string{"EIO": "input/output error", "ENOSPC": "no space left on device"}

// hits are the errors that were injected.
func (p *played) hits() (list []sysCall) {
	for _, c := range p.calls {
		if c.injected {
			list = append(list, c)
		}
	}
	return list
}

// final reports whether an injected error is one after which a log takes no more
// events: a write to a segment could not be made durable, or not be cut off again.
func (p *played) final() bool {
	written := map[string]bool{}
	for _, c := range p.calls {
		switch segment := strings.HasSuffix(c.file, "segment"); {
		case segment && c.name == "pwrite64":
			written[c.path] = true
		case segment && c.injected && (c.name == "fdatasync" && written[c.path] || c.name == "ftruncate"):
			return true
		}
	}
	return false
}

// silent are the calls whose failure, or failure for one reason, costs nobody
// anything, and why.
var silent = map[string]string{
	"ftruncate LOCK":     "the process id in it is for people",
	"pwrite64 LOCK":      "the same",
	"newfstatat LOCK":    "opening it follows no link either",
	"newfstatat .":       "it is made, or is there",
	"flock audit":        "LOCK in it is locked as well",
	"mkdirat audit":      "it is there; where it is not, the start fails and says so",
	"linkat token.tmp":   "the token is then written under its own name",
	"unlinkat token.tmp": "it is a name more of the token's file, and as private",
	"newfstatat url":     "before a renaming Go looks at the new name, and goes on",
	"openat url":         "it is left behind, as by a kill",
	"fstat url":          "the same",
	"read url":           "the same",
	"unlinkat url":       "the same",
	"close url":          "it was read",
	"newfstatat index":   "a cache: it is built again",
	"openat index":       "the same",
	"fstat index":        "the same",
	"pread64 index":      "the same",
	"close index":        "it was read",
	"close PRUNED":       "it was read",
	"close token":        "it was read",
	"close audit":        "it was listed; of one that was synced it is an error",
	"close segment":      "what was written to it was synced before",
	"close new segment":  "the same",

	"openat .: no space left on device": "it makes up for a start that was killed, as far as it can",
	"fsync .: no space left on device":  "the same; only an input/output error says that something may be lost",

	"newfstatat+renameat index":   "before a renaming Go looks at the new name, and goes on",
	"newfstatat+renameat segment": "the same",
	"newfstatat+renameat PRUNED":  "the same",
}

// judge wants of a run what docs/operations.md says of errors.
func (p *played) judge(s *scene) {
	p.t.Helper()
	hits, final, out := p.hits(), p.final(), p.d.out.String()
	bad := func(format string, args ...any) {
		p.t.Helper()
		p.t.Errorf("%s: %s; hit %v, callers got %q, the daemon printed\n%s", p.where, fmt.Sprintf(format, args...), hits, p.faults, out)
	}
	printed := strings.Split(strings.TrimSpace(out), "\n")
	end := printed[len(printed)-1]
	saysWhy := strings.HasPrefix(end, "rampart: ") && strings.Contains(end, p.says)
	if code := p.d.exitCode(); code != 0 && (code != 1 || !saysWhy) {
		bad("it ended with code %d", code)
	}
	if !p.began && (p.d.exitCode() == 0 || len(hits) == 0) {
		bad("it did not start, and ended well")
	}
	if strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") {
		bad("it printed that")
	}
	for _, f := range p.faults {
		if !strings.Contains(f, p.says) {
			bad("an answer does not say why: %s", f)
		}
	}
	switch {
	case !p.began:
	case final != p.failed:
		bad("whether it failed for good: %t", p.failed)
	case final && (p.health != http.StatusServiceUnavailable || !strings.Contains(p.healthy, p.says)):
		bad("healthz: %d %s", p.health, p.healthy)
	case !final && p.health != http.StatusOK:
		bad("healthz: %d %s", p.health, p.healthy)
	case !final && p.writes > len(hits):
		bad("%d writes were refused", p.writes)
	}
	told := strings.Contains(out+strings.Join(p.faults, ""), p.says)
	for _, c := range hits {
		if silent[c.site()] == "" && silent[c.site()+": "+p.says] == "" && !told {
			bad("nobody was told of %s", c.site())
		}
	}
	p.restart(s, final)
}

// restart verifies the log as it is, and again after a daemon without strace has
// opened it.
func (p *played) restart(s *scene, final bool) {
	p.t.Helper()
	if p.began {
		var args []string
		for _, line := range p.seen {
			args = append(args, "-anchor", position(p.t, line))
		}
		v := verify(p.t, p.d.dir, args...)
		if v.wait(); v.exitCode() != 0 && !strings.Contains(v.out.String(), "torn tail") {
			p.t.Errorf("%s: verify: %s", p.where, v.out)
		}
	}
	if err := os.MkdirAll(p.d.dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	d := startIn(p.t, p.d.dir)
	defer d.stop()
	log := d.lines()
	p.holdsAll(s, log)

	pending := d.pending()
	for id := range p.pending {
		if !slices.Contains(pending, id) {
			p.t.Errorf("%s: approval %s is no longer pending", p.where, id)
		}
	}
	for _, id := range pending {
		if !p.pending[id] && !p.doubtful[id] && !slices.Contains(p.refused, d.approval(id).Command) {
			p.t.Errorf("%s: approval %s was answered and is pending", p.where, id)
		}
	}
	for id := range p.doubtful {
		if !final && !slices.Contains(pending, id) {
			p.t.Errorf("%s: approval %s, whose answer was refused, is answered", p.where, id)
		}
	}
	if got := d.admin("GET", "/v1/audit/verify", "").want(http.StatusOK).object(); got["ok"] != true {
		p.t.Errorf("%s: verify after a restart: %v", p.where, got)
	}
}

// holdsAll wants all that was there before, was acknowledged or was seen, and
// nothing that was refused, unless the error left that open.
func (p *played) holdsAll(s *scene, log []string) {
	p.t.Helper()
	for i, line := range s.stored {
		if log[i] != line {
			p.t.Errorf("%s: the log has %s where %s was before", p.where, log[i], line)
		}
	}
	id, _, _ := strings.Cut(s.from, ".")
	var since []string
	var raw []json.RawMessage
	for _, line := range log {
		if e := parse(p.t, line); e.ID > id {
			since, raw = append(since, line), append(raw, json.RawMessage(line))
			command := string(e.Request.Command)
			if slices.Contains(p.refused, command) && !slices.Contains(p.doubt, command) {
				p.t.Errorf("%s: the log has %s, which was refused", p.where, line)
			}
		}
	}
	p.holds("the log", raw)
	if len(p.seen) > len(since) || !slices.Equal(p.seen, since[:len(p.seen)]) {
		p.t.Errorf("%s: the stream had\n%s\nthe log has\n%s", p.where, strings.Join(p.seen, "\n"), strings.Join(since, "\n"))
	}
}
