package rampart_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// What docs/format.md says of a line, up to request, from there up to approval,
// and what follows.
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

// handLine is what the links of a line are, and whether it is good by itself.
type handLine struct {
	id, prev, hash string
	bad            string
}

// handKnown has what came of the golden logs' own lines, which come over and over.
var handKnown sync.Map

func lineByHand(line string) (l handLine) {
	if known, ok := handKnown.Load(line); ok {
		return known.(handLine)
	}
	rest, outside := line, "" // of request and approval
	next := func(form *regexp.Regexp) []string {
		m := form.FindStringSubmatch(rest)
		if m == nil {
			l.bad = fmt.Sprintf("at byte %d", len(line)-len(rest))
			return make([]string, 4)
		}
		outside, rest = outside+m[0], rest[len(m[0]):]
		return m
	}
	object := func() {
		n := objectByHand(rest)
		if n == 0 {
			l.bad = fmt.Sprintf("no object at byte %d", len(line)-len(rest))
		}
		rest = rest[n:]
	}
	l.id = next(lineHead)[1]
	object()
	numbers := next(lineDecision)[1:]
	const approval = `,"approval":`
	if after, ok := strings.CutPrefix(rest, approval); ok {
		rest = after
		object()
	}
	m := next(lineTail)
	l.prev, l.hash = m[1], m[2]
	for _, n := range numbers {
		if _, err := strconv.ParseInt(n, 10, 64); err != nil && n != "" {
			l.bad = err.Error()
		}
	}
	switch body := strings.TrimSuffix(line, `,"hash":"`+l.hash+`"}`) + "}"; {
	case l.bad != "":
	case !utf8.ValidString(outside):
		l.bad = "not UTF-8"
	case len(line) > 1<<20:
		l.bad = "longer than 1 MiB"
	case fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != l.hash:
		l.bad = "hash"
	}
	return l
}

// objectByHand is the length of the object that s begins with, 0 if there is
// none: its quotes and brackets are in pairs, at most 64 deep.
func objectByHand(s string) int {
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

// byHand says why a log is not whole. It knows what docs/format.md says, and
// nothing of the library.
func byHand(log logFiles) error {
	var pruned struct {
		Records  int
		LastID   string `json:"last_id"`
		LastHash string `json:"last_hash"`
	}
	pruned.LastHash = strings.Repeat("0", 64)
	statement, wasPruned := log["PRUNED"]
	if wasPruned {
		line, whole := strings.CutSuffix(statement, "\n")
		l := lineByHand(line)
		if l.bad != "" || !whole {
			return fmt.Errorf("PRUNED: %s", l.bad)
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
	names := slices.DeleteFunc(log.names(), func(name string) bool {
		n, err := strconv.Atoi(strings.TrimSuffix(name, ".jsonl"))
		return err != nil || len(name) != 26 || n <= pruned.Records
	})
	next, prev, last, stated := pruned.Records+1, pruned.LastHash, pruned.LastID, false
	for _, name := range names {
		if want := fmt.Sprintf("%020d.jsonl", next); name != want {
			return fmt.Errorf("%s in place of %s", name, want)
		}
		for line := range strings.Lines(log[name]) {
			stated = stated || line == statement
			line, whole := strings.CutSuffix(line, "\n")
			l := lineByHand(line)
			switch {
			case l.bad != "":
				return fmt.Errorf("event %d: %s", next, l.bad)
			case !whole:
				return fmt.Errorf("event %d: cut off", next)
			case l.prev != prev:
				return fmt.Errorf("event %d: prev_hash", next)
			case l.id <= last:
				return fmt.Errorf("event %d: id", next)
			}
			next, prev, last = next+1, l.hash, l.id
		}
	}
	if wasPruned && !stated {
		return fmt.Errorf("PRUNED is not on the log")
	}
	return nil
}
