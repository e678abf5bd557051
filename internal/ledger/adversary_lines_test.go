// Keeps "The record" of docs/security.md: no line is edited, moved, dropped or doubled unnamed, and anchors show a cut.

package ledger_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/internal/formattest"
	"github.com/rampartlog/rampart/internal/ledger"
)

// goldenWhole is the log that the tests of this file tamper with.
func goldenWhole(t testing.TB) (logFiles, []logLine) {
	l := golden(t, "v1/whole")
	return l, l.lines()
}

// logTexts are the lines of a log by segment, for tampering.
type logTexts map[string][]string

func textsOf(lines []logLine) logTexts {
	out := logTexts{}
	for _, l := range lines {
		out[l.segment] = append(out[l.segment], l.text)
	}
	return out
}

func (x logTexts) files() logFiles {
	out := logFiles{}
	for name, lines := range x {
		out[name] = strings.Join(lines, "")
	}
	return out
}

func (x logTexts) set(l logLine, text string) { x[l.segment][l.n-1] = text }

var prevHash = regexp.MustCompile(`"prev_hash":"[0-9a-f]{64}"`)

// relink makes the chain good again from line k on, as somebody does who writes
// the log anew.
func (x logTexts) relink(lines []logLine, k int) logFiles {
	for i := k; i < len(lines); i++ {
		text := strings.TrimSuffix(x[lines[i].segment][lines[i].n-1], "\n")
		if i > 0 {
			before := lines[i-1]
			hash := hashMember.FindStringSubmatch(strings.TrimSuffix(x[before.segment][before.n-1], "\n"))
			if hash != nil {
				text = prevHash.ReplaceAllLiteralString(text, `"prev_hash":"`+hash[1]+`"`)
			}
		}
		x.set(lines[i], rehash(text)+"\n")
	}
	return x.files()
}

func (l logLine) anchor() ledger.Anchor {
	r := rampart.Record(strings.TrimSuffix(l.text, "\n"))
	return ledger.Anchor{ID: r.ID(), Hash: r.Hash()}
}

// found wants VerifyFS to give that verdict for that segment and line, and the
// verification by hand to agree. Opening must name the same place or a later
// one: it neither reads nor counts all lines of the segments before the last.
func found(t *testing.T, what string, l logFiles, verdict ledger.Verdict, segment string, line int) {
	t.Helper()
	r := l.verify(t)
	if r.Verdict != verdict || r.OK() != (r.Fault == nil) || !r.OK() && (r.Fault.Segment != segment || r.Fault.Line != line) {
		t.Errorf("%s: %s %v, want %s in %s line %d", what, r.Verdict, r.Fault, verdict, segment, line)
		return
	}
	if err := formattest.Check(l); (err == nil) != r.OK() {
		t.Errorf("%s: %s %v, and by hand %v", what, r.Verdict, r.Fault, err)
	}
	c, corrupt := openMem(t, l.disk(t))
	switch {
	case corrupt != nil:
		if r.OK() || r.Verdict == ledger.VerdictTornTail || corrupt.Segment < segment || corrupt.Segment == segment && corrupt.Line != line && line > 0 {
			t.Errorf("%s: opened: %v, want %s in %s line %d", what, corrupt, verdict, segment, line)
		}
		return
	case r.Verdict == ledger.VerdictTornTail:
		if s := c.Stats(); s.Torn == 0 || s.Events != r.Events || !verified(t, c).OK() {
			t.Errorf("%s: opened: %+v, want a torn tail cut off", what, s)
		}
	case r.OK() || segment != l.names()[len(l.names())-1]:
		if again := verified(t, c); again.Verdict != verdict {
			t.Errorf("%s: opened, and %s, want %s", what, again.Verdict, verdict)
		}
	default:
		t.Errorf("%s: opened", what)
	}
	c.Close()
}

// rewritten wants a log that somebody wrote anew from a line on to be whole, but
// not with an anchor of that line or a later one.
func rewritten(t *testing.T, what string, l logFiles, lines []logLine, from int) {
	t.Helper()
	if r := l.verify(t); !r.OK() {
		t.Errorf("%s: %s %v, want ok", what, r.Verdict, r.Fault)
		return
	}
	if err := formattest.Check(l); err != nil {
		t.Errorf("%s: by hand: %v", what, err)
	}
	for i, line := range lines {
		a := line.anchor()
		if i%2 == 0 {
			a.Hash = a.Hash[:16]
		}
		want := ledger.VerdictOK
		if i >= from {
			want = ledger.VerdictTruncated
		}
		if r := l.verify(t, a); r.Verdict != want {
			t.Errorf("%s: %s with the anchor of line %d, want %s", what, r.Verdict, i+1, want)
		}
	}
}

func TestEveryLineMovedIsFound(t *testing.T) {
	stored, lines := goldenWhole(t)
	end := lines[len(lines)-1]
	insert := func(at logLine, after bool, text string) logFiles {
		x := textsOf(lines)
		n := at.n - 1
		if after {
			n++
		}
		x[at.segment] = slices.Insert(x[at.segment], n, text)
		return x.files()
	}
	for k, l := range lines {
		what := func(s string) string { return fmt.Sprintf("line %d %s", k+1, s) }

		x := textsOf(lines)
		x[l.segment] = slices.Delete(x[l.segment], l.n-1, l.n)
		switch dropped := x.files(); {
		case l == end:
			rewritten(t, what("dropped"), dropped, lines, k)
		case l.last: // the next segment's name counts one more
			found(t, what("dropped"), dropped, ledger.VerdictMissing, segmentName(k+1), 0)
		default:
			found(t, what("dropped"), dropped, ledger.VerdictMissing, l.segment, l.n)
		}
		found(t, what("doubled"), insert(l, true, l.text), ledger.VerdictMissing, l.segment, l.n+1)
		found(t, what("doubled at the end"), insert(end, true, l.text), ledger.VerdictMissing, end.segment, end.n+1)
		for _, other := range lines {
			if other.first && other != l {
				found(t, what("doubled before "+other.segment), insert(other, false, l.text), ledger.VerdictMissing, other.segment, 1)
			}
		}
		for _, distance := range []int{1, 2, 7} {
			if k+distance < len(lines) {
				x := textsOf(lines)
				x.set(l, lines[k+distance].text)
				x.set(lines[k+distance], l.text)
				found(t, what(fmt.Sprintf("swapped with line %d", k+1+distance)), x.files(), ledger.VerdictMissing, l.segment, l.n)
			}
		}
		found(t, what("cut before"), insert(l, false, "\n"), ledger.VerdictTampered, l.segment, l.n)
	}
	found(t, "a blank line at the end", insert(end, true, "\n"), ledger.VerdictTampered, end.segment, end.n+1)
	found(t, "as it was", stored, ledger.VerdictOK, "", 0)
}

// Somebody who edits a line and hashes it again breaks the link of the next
// line. An edit of the last line, or of all lines from one on, is shown by
// anchors alone.
func TestEveryLineEditedAndHashedAgain(t *testing.T) {
	_, lines := goldenWhole(t)
	edits := map[string]func(string) string{
		"tool": func(s string) string { return strings.Replace(s, `"tool":"`, `"tool":"x`, 1) },
		"timestamp": func(s string) string {
			return strings.Replace(s, `"timestamp":"2026`, `"timestamp":"2025`, 1)
		},
		"request": func(s string) string { return strings.Replace(s, `"request":{`, `"request":{"\u003C":1.0,`, 1) },
		"escapes": func(s string) string { return strings.Replace(s, `"agent":"c`, `"agent":"\u0063`, 1) },
	}
	for k, l := range lines {
		for name, edit := range edits {
			edited := edit(l.text)
			if edited == l.text {
				continue
			}
			if name == "request" {
				edited = strings.Replace(edited, `1.0,}`, `1.0}`, 1)
			}
			what := fmt.Sprintf("%s of line %d", name, k+1)
			x := textsOf(lines)
			x.set(l, edited)
			found(t, what, x.files(), ledger.VerdictTampered, l.segment, l.n)
			x.set(l, rehash(strings.TrimSuffix(edited, "\n"))+"\n")
			if k+1 < len(lines) {
				next := lines[k+1]
				found(t, what+", hashed again", x.files(), ledger.VerdictMissing, next.segment, next.n)
			} else {
				rewritten(t, what+", hashed again", x.files(), lines, k)
			}
			if x.relink(lines, k); k%5 == 0 {
				rewritten(t, what+", all hashed again", x.files(), lines, k)
			}
		}
	}
}

// Even where a line is linked and hashed right, its id is compared with those of
// its neighbours.
func TestIdsAltered(t *testing.T) {
	_, lines := goldenWhole(t)
	for k, l := range lines {
		id := l.anchor().ID
		alter := func(by string) logFiles {
			x := textsOf(lines)
			x.set(l, strings.Replace(l.text, id, by, 1))
			return x.relink(lines, k)
		}
		what := fmt.Sprintf("id of line %d: ", k+1)
		if k > 0 {
			found(t, what+"that before", alter(lines[k-1].anchor().ID), ledger.VerdictMissing, l.segment, l.n)
			found(t, what+"the least", alter("00000000000000000000000000"), ledger.VerdictMissing, l.segment, l.n)
		}
		if k+1 < len(lines) {
			next := lines[k+1]
			found(t, what+"the greatest", alter("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), ledger.VerdictMissing, next.segment, next.n)
			found(t, what+"the next one's", alter(next.anchor().ID), ledger.VerdictMissing, next.segment, next.n)
		}
		for _, bad := range []string{"8ZZZZZZZZZZZZZZZZZZZZZZZZZ", strings.ToLower(id), id[:25], id + "0", strings.Replace(id, "0", "O", 1)} {
			found(t, what+bad, alter(bad), ledger.VerdictTampered, l.segment, l.n)
		}
		rewritten(t, what+"another", alter(id[:25]+string("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", id[25])+1)%32])), lines, k)
	}
}

// object is an object within a line, and where its members stand.
type object struct {
	path    string
	end     int // of its closing brace
	members []span
}

type span struct {
	name     string
	from, to int
}

// objectsOf returns the objects of a line, at every depth.
func objectsOf(t *testing.T, line string) (out []object) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var value func(path string)
	value = func(path string) {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch token {
		case json.Delim('['):
			for d.More() {
				value(path + "[]")
			}
			d.Token()
		case json.Delim('{'):
			o := object{path: path}
			for d.More() {
				from := int(d.InputOffset())
				if line[from] == ',' {
					from++
				}
				name, _ := d.Token()
				value(fmt.Sprint(path, "/", name))
				o.members = append(o.members, span{name.(string), from, int(d.InputOffset())})
			}
			d.Token()
			o.end = int(d.InputOffset()) - 1
			out = append(out, o)
		}
	}
	value("")
	return out
}

// free reports whether anything may stand at that path. Request and approval are
// kept as they came: only an anchor shows that one was written anew.
func free(path string) bool {
	return strings.HasPrefix(path, "/request") || strings.HasPrefix(path, "/approval")
}

// The members of a line are fixed, in their order, whatever its hash says.
func TestEveryMemberTamperedWith(t *testing.T) {
	_, lines := goldenWhole(t)
	optional := regexp.MustCompile(`^/(run_id|tool_call_id|approval|response|decision/message|decision/suggestions|response/exit_code|response/flags)$`)
	cases := 0
	for k, l := range lines {
		line := strings.TrimSuffix(l.text, "\n")
		tampered := func(what, path, edited string, legal bool) {
			if cases++; cases%every != 0 {
				return
			}
			what = fmt.Sprintf("line %d, %s: %s", k+1, path, what)
			x := textsOf(lines)
			x.set(l, edited+"\n")
			plain := x.files()
			if r := plain.verify(t); r.Verdict != ledger.VerdictTampered || r.Fault.Segment != l.segment || r.Fault.Line != l.n || formattest.Check(plain) == nil {
				t.Errorf("%s: %s %v, want line %d tampered", what, r.Verdict, r.Fault, l.n)
			}
			r := x.relink(lines, k).verify(t)
			err := formattest.Check(x.files())
			switch {
			case !legal && !free(path):
				if r.Verdict != ledger.VerdictTampered || r.Fault.Segment != l.segment || r.Fault.Line != l.n || err == nil {
					t.Errorf("%s, all hashed again: %s %v, by hand %v; want line %d tampered", what, r.Verdict, r.Fault, err, l.n)
				}
			case !r.OK() || err != nil:
				t.Errorf("%s, all hashed again: %s %v, by hand %v; want ok", what, r.Verdict, r.Fault, err)
			case x.files().verify(t, l.anchor()).Verdict != ledger.VerdictTruncated:
				t.Errorf("%s, all hashed again: an anchor does not show it", what)
			}
		}
		for _, o := range objectsOf(t, line) {
			for i, m := range o.members {
				text := line[m.from:m.to]
				tampered("a member before "+m.name, o.path, line[:m.from]+`"zz":0,`+line[m.from:], false)
				if o.path == "" && m.name == "hash" {
					continue // a line with anything after its hash can't be hashed again
				}
				tampered("doubled "+m.name, o.path, line[:m.to]+","+text+line[m.to:], false)
				if upper := strings.ToUpper(m.name[:min(1, len(m.name))]) + m.name[min(1, len(m.name)):]; upper != m.name {
					tampered("also as "+upper, o.path, line[:m.to]+strings.Replace(","+text, m.name, upper, 1)+line[m.to:], false)
					tampered("renamed "+upper, o.path, line[:m.from]+strings.Replace(text, m.name, upper, 1)+line[m.to:], false)
				}
				if i+1 < len(o.members) && (o.path != "" || o.members[i+1].name != "hash") {
					next := o.members[i+1]
					tampered(m.name+" after "+next.name, o.path, line[:m.from]+line[next.from:next.to]+","+text+line[next.to:], false)
				}
				removed := line[:m.from] + strings.TrimPrefix(line[m.to:], ",")
				if i == len(o.members)-1 {
					removed = strings.TrimSuffix(line[:m.from], ",") + line[m.to:]
				}
				tampered("without "+m.name, o.path, removed, optional.MatchString(o.path+"/"+m.name))
			}
			if comma := ","; o.path != "" {
				if len(o.members) == 0 {
					comma = ""
				}
				tampered("a member at the end", o.path, line[:o.end]+comma+`"zz":{}`+line[o.end:], false)
			} else {
				found(t, "a member after the hash", textsOf(lines).with(l, line[:o.end]+`,"zz":0}`), ledger.VerdictTampered, l.segment, l.n)
			}
		}
	}
	t.Logf("%d cases", cases)
}

func (x logTexts) with(l logLine, line string) logFiles {
	x.set(l, line+"\n")
	return x.files()
}

// White space that JSON allows is refused wherever it stands. Within request and
// approval, once the log was hashed anew, an anchor alone shows it.
func TestWhiteSpaceAtEveryLegalPosition(t *testing.T) {
	_, lines := goldenWhole(t)
	cases := 0
	for k, l := range lines {
		line := strings.TrimSuffix(l.text, "\n")
		var inside []span // of request and approval, braces included
		for _, o := range objectsOf(t, line) {
			for _, m := range o.members {
				if o.path == "" && free("/"+m.name) {
					inside = append(inside, span{from: m.from + len(m.name) + len(`"":`), to: m.to})
				}
			}
		}
		quoted := false
		for at := 0; at <= len(line); at++ {
			structural := at == len(line) || strings.IndexByte("{}[],:", line[at]) >= 0 || at > 0 && strings.IndexByte("{}[],:", line[at-1]) >= 0
			if structural && !quoted {
				if cases++; cases%every != 0 {
					continue
				}
				spaced := line[:at] + string(" \t\r"[at%3]) + line[at:]
				x := textsOf(lines)
				x.set(l, spaced+"\n")
				r := x.files().verify(t)
				what := fmt.Sprintf("line %d, space at byte %d", k+1, at)
				if r.Verdict != ledger.VerdictTampered || r.Fault.Segment != l.segment || r.Fault.Line != l.n {
					t.Errorf("%s: %s %v", what, r.Verdict, r.Fault)
				}
				free := slices.ContainsFunc(inside, func(s span) bool { return s.from < at && at < s.to })
				r = x.relink(lines, k).verify(t)
				if err := formattest.Check(x.files()); r.OK() != free || !free && (r.Verdict != ledger.VerdictTampered || r.Fault.Segment != l.segment || r.Fault.Line != l.n) || (err == nil) != free {
					t.Errorf("%s, all hashed again: %s %v, by hand %v", what, r.Verdict, r.Fault, err)
				}
				if free && x.files().verify(t, l.anchor()).Verdict != ledger.VerdictTruncated {
					t.Errorf("%s, all hashed again: an anchor does not show it", what)
				}
			}
			if at < len(line) && line[at] == '"' && !escaped(line, at) {
				quoted = !quoted
			}
		}
	}
	t.Logf("%d cases", cases)
}

// escaped reports whether an odd number of backslashes stands before the quote
// at that place.
func escaped(line string, at int) bool {
	n := len(line[:at]) - len(strings.TrimRight(line[:at], `\`))
	return n%2 == 1
}

// Editors and copying change the ends of lines, and each such change is named.
func TestEveryLineEndTamperedWith(t *testing.T) {
	_, lines := goldenWhole(t)
	for k, l := range lines {
		live := k >= len(lines)-5 // in the last write
		line := strings.TrimSuffix(l.text, "\n")
		at := func(what, text string, verdict ledger.Verdict) {
			x := textsOf(lines)
			x.set(l, text)
			found(t, fmt.Sprintf("line %d: %s", k+1, what), x.files(), verdict, l.segment, l.n)
		}
		at("CRLF", line+"\r\n", ledger.VerdictTampered)
		at("space", line+" \n", ledger.VerdictTampered)
		at("BOM", "\uFEFF"+l.text, ledger.VerdictTampered)
		at("upper-case hash", strings.ToUpper(line[len(line)-66:])+"\n", ledger.VerdictTampered)
		at("upper-case hash in its place", line[:len(line)-66]+strings.ToUpper(line[len(line)-66:])+"\n", ledger.VerdictTampered)
		zeros, unended := ledger.VerdictTampered, ledger.VerdictTampered
		if live {
			zeros = ledger.VerdictTornTail
		}
		if l == lines[len(lines)-1] {
			unended = ledger.VerdictTornTail
		}
		at("NUL", line+"\x00\n", zeros)
		at("NUL before", "\x00"+line+"\n", zeros)
		at("no newline", line, unended)
	}
}

// VerifyChain took a line of more than 1 MiB, which no log writes and opening
// refuses.
func TestLineLongerThanAnEventCanBe(t *testing.T) {
	_, lines := goldenWhole(t)
	for _, k := range []int{0, 4, len(lines) - 1} {
		l := lines[k]
		pad := strings.Repeat("x", 1<<20-len(strings.TrimSuffix(l.text, "\n"))-len(`"pad":"",`))
		for _, more := range []string{"", "x"} {
			x := textsOf(lines)
			x.set(l, strings.Replace(l.text, `"request":{`, `"request":{"pad":"`+pad+more+`",`, 1))
			if long := x.relink(lines, k); more == "" {
				found(t, fmt.Sprintf("line %d as long as can be", k+1), long, ledger.VerdictOK, "", 0)
			} else {
				found(t, fmt.Sprintf("line %d with a byte more", k+1), long, ledger.VerdictTampered, l.segment, l.n)
			}
		}
	}
}

// A log that is cut off at any byte, and has no later segments, is whole or has
// a torn tail. An anchor of an event that is gone shows the cut.
func TestCutAtEveryByte(t *testing.T) {
	stored, lines := goldenWhole(t)
	for k, l := range lines {
		t.Run(fmt.Sprint(k+1), func(t *testing.T) {
			t.Parallel()
			short := l.anchor()
			short.Hash = short.Hash[:16]
			ok, torn := stored.upTo(t, k, ledger.VerdictOK), stored.upTo(t, k, ledger.VerdictTornTail)
			for cut := 0; cut < len(l.text); cut += every {
				damaged := stored.with(l.segment, []byte(stored[l.segment][:l.offset+cut]))
				for _, name := range stored.names() {
					if name > l.segment {
						delete(damaged, name)
					}
				}
				r := damaged.verify(t)
				if wrong := l.at(r, torn); cut > 0 && wrong != "" || cut == 0 && r != ok {
					t.Fatalf("%d bytes left of the line: %+v %s", cut, r, wrong)
				}
				if cut%50 == 0 {
					if r := damaged.verify(t, lines[max(k-1, 0)].anchor()); k > 0 && r.Verdict != torn.Verdict && cut > 0 {
						t.Fatalf("%d bytes left of the line: %s with the anchor of the one before", cut, r.Verdict)
					}
				}
				for _, a := range []ledger.Anchor{l.anchor(), short, lines[len(lines)-1].anchor(), {ID: l.anchor().ID}} {
					if r := damaged.verify(t, a); r.Verdict != ledger.VerdictTruncated || r.Fault.ID != a.ID {
						t.Fatalf("%d bytes left of the line: %s %v with the anchor %v", cut, r.Verdict, r.Fault, a)
					}
				}
			}
		})
	}
}
