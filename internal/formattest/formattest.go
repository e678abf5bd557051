// Package formattest checks lines and logs as docs/format.md says, and imports
// nothing of the library: tests hold the library's own verification against it.
// Only tests import it.
package formattest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The forms that docs/format.md gives a line: up to its request, between request
// and approval, and behind approval.
var (
	text     = `"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"`
	word     = `"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})+"` // of a member that is left out when empty
	natural  = `(?:0|[1-9][0-9]*)`
	texts    = `\[(?:` + text + `(?:,` + text + `)*)?\]`
	words    = `\[` + text + `(?:,` + text + `)*\]`
	lineHead = regexp.MustCompile(`^\{"id":"([0-7][0-9A-HJKMNP-TV-Z]{25})","timestamp":` + text + `,"agent":` + text + `,"session":` + text +
		`(?:,"run_id":` + word + `)?(?:,"tool_call_id":` + word + `)?,"tool":` + text + `,"request":`)
	lineDecision = regexp.MustCompile(`^,"decision":\{"action":` + text + `,"matched_policies":` + texts + `,"evaluation_time_us":(` + natural + `)` +
		`(?:,"message":` + word + `)?(?:,"suggestions":` + words + `)?\}` +
		`(?:,"response":\{(?:"exit_code":(-?[1-9][0-9]*|0),)?"duration_ms":(` + natural + `)(?:,"flags":` + words + `)?\})?`)
	lineTail = regexp.MustCompile(`^,"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}$`)
)

// Line is what links a line to others, and what is wrong with it by itself.
type Line struct {
	ID, PrevHash, Hash string
	Bad                string // empty when it is good
}

// known holds the outcome for each line that was given to Remember.
var known sync.Map

// Remember makes Parse and Check faster for a line that they will see often.
func Remember(line string) { known.Store(line, Parse(line)) }

// Parse checks a line, without its newline, by itself.
func Parse(line string) (l Line) {
	if l, ok := known.Load(line); ok {
		return l.(Line)
	}
	rest, outside := line, "" // what was not looked at yet; what stands outside request and approval
	next := func(form *regexp.Regexp) []string {
		m := form.FindStringSubmatch(rest)
		if m == nil {
			l.Bad = fmt.Sprintf("at byte %d", len(line)-len(rest))
			return make([]string, 4)
		}
		outside, rest = outside+m[0], rest[len(m[0]):]
		return m
	}
	object := func() {
		n := objectLen(rest)
		if n == 0 {
			l.Bad = fmt.Sprintf("no object at byte %d", len(line)-len(rest))
		}
		rest = rest[n:]
	}
	l.ID = next(lineHead)[1]
	object()
	numbers := next(lineDecision)[1:]
	const approval = `,"approval":`
	if after, ok := strings.CutPrefix(rest, approval); ok {
		rest = after
		object()
	}
	m := next(lineTail)
	l.PrevHash, l.Hash = m[1], m[2]
	for _, n := range numbers {
		if _, err := strconv.ParseInt(n, 10, 64); err != nil && n != "" {
			l.Bad = err.Error()
		}
	}
	switch body := strings.TrimSuffix(line, `,"hash":"`+l.Hash+`"}`) + "}"; {
	case l.Bad != "":
	case !utf8.ValidString(outside):
		l.Bad = "not UTF-8"
	case len(line) > 1<<20:
		l.Bad = "longer than 1 MiB"
	case fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != l.Hash:
		l.Bad = "hash"
	}
	return l
}

// objectLen is the length of the object that s begins with, 0 if there is none.
// It looks at quotes and brackets alone: they come in pairs, at most 64 deep.
func objectLen(s string) int {
	if !strings.HasPrefix(s, "{") {
		return 0
	}
	var open []byte
	for i, quoted := 0, false; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if open = append(open, c+2); len(open) > 64 {
				return 0
			}
		case c == '}' || c == ']':
			if open[len(open)-1] != c {
				return 0
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// Check says why the log with those files, by name, is not whole.
func Check(log map[string]string) error {
	var pruned struct {
		Records  int
		LastID   string `json:"last_id"`
		LastHash string `json:"last_hash"`
	}
	pruned.LastHash = strings.Repeat("0", 64)
	statement, wasPruned := log["PRUNED"]
	if wasPruned {
		line, whole := strings.CutSuffix(statement, "\n")
		l := Parse(line)
		if l.Bad != "" || !whole {
			return fmt.Errorf("PRUNED: %s", l.Bad)
		}
		var e struct {
			Agent, Tool string
			Request     json.RawMessage
			Decision    struct{ Action string }
		}
		err := json.Unmarshal([]byte(line), &e)
		if err == nil {
			err = json.Unmarshal(e.Request, &pruned)
		}
		if err != nil || e.Agent != "rampart" || e.Tool != "prune" || e.Decision.Action != "pruned" {
			return fmt.Errorf("PRUNED: %v", err)
		}
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(log)), func(name string) bool {
		number, segment := strings.CutSuffix(name, ".jsonl")
		n, err := strconv.Atoi(number)
		return !segment || err != nil || len(name) != 26 || n <= pruned.Records
	})
	next, prev, last, stated := pruned.Records+1, pruned.LastHash, pruned.LastID, false
	for _, name := range names {
		if want := fmt.Sprintf("%020d.jsonl", next); name != want {
			return fmt.Errorf("%s in place of %s", name, want)
		}
		for line := range strings.Lines(log[name]) {
			stated = stated || line == statement
			line, whole := strings.CutSuffix(line, "\n")
			l := Parse(line)
			switch {
			case l.Bad != "":
				return fmt.Errorf("event %d: %s", next, l.Bad)
			case !whole:
				return fmt.Errorf("event %d: cut off", next)
			case l.PrevHash != prev:
				return fmt.Errorf("event %d: prev_hash", next)
			case l.ID <= last:
				return fmt.Errorf("event %d: id", next)
			}
			next, prev, last = next+1, l.Hash, l.ID
		}
	}
	if wasPruned && !stated {
		return fmt.Errorf("PRUNED is not on the log")
	}
	return nil
}
