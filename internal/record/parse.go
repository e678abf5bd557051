package record

import "strconv"

// Parse decodes a stored line. It checks the line as [Scan] does, and does not
// check the hash. Nothing that it returns is a view of line.
func Parse(line []byte) (e Event, id, prevHash, hash string, err error) {
	var f Fields
	if err := Scan(line, &f); err != nil {
		return Event{}, "", "", "", err
	}
	e = Event{
		Timestamp:  Text(f.Timestamp),
		Agent:      Text(f.Agent),
		Session:    Text(f.Session),
		RunID:      Text(f.RunID),
		ToolCallID: Text(f.ToolCallID),
		Tool:       Text(f.Tool),
		Request:    append([]byte(nil), f.Request...),

		Action:           Text(f.Action),
		MatchedPolicies:  texts(f.MatchedPolicies),
		EvaluationTimeUS: integer(f.EvaluationTimeUS),
		Message:          Text(f.Message),
		Suggestions:      texts(f.Suggestions),

		Approval: append([]byte(nil), f.Approval...),
	}
	if f.Response != nil {
		var r responseFields
		s := lineScanner{line: f.Response}
		s.response(&r)
		e.Response = &Response{DurationMS: integer(r.durationMS), Flags: texts(r.flags)}
		if r.exitCode != nil {
			code := integer(r.exitCode)
			e.Response.ExitCode = &code
		}
	}
	return e, string(f.ID), string(f.PrevHash), string(f.Hash), nil
}

// texts decodes an array of strings as lineScanner.texts has passed it. It
// returns nil when raw is nil.
func texts(raw []byte) []string {
	if raw == nil {
		return nil
	}
	list := []string{}
	for i := 1; i < len(raw)-1; {
		end, _, _ := scanString(raw, i)
		list = append(list, Text(raw[i+1:end-1]))
		i = end + 1
	}
	return list
}

// integer decodes what lineScanner.integer has passed.
func integer(raw []byte) int64 {
	n, _ := strconv.ParseInt(string(raw), 10, 64)
	return n
}

// ParseEvent reads an event as a host sends it: one JSON object, its members in
// any order and named exactly. It checks src as [AppendObject] does, except that
// [MaxDepth] counts from the values of the event's members.
//
// It refuses by name a member that an event does not have, that the log itself
// gives (id, prev_hash, hash) or that only the approvals queue writes (approval).
// It also refuses a value of the wrong type, null included. It demands no member,
// and does not look into the timestamp.
//
// The error is a [*SyntaxError] with its offset into src. Request is a view of src.
func ParseEvent(src []byte) (Event, error) {
	var e Event
	err := members(src, -1, func(name, value []byte, offset int) error {
		m := member{string(name), value, offset}
		switch m.name {
		case "timestamp":
			return m.text(&e.Timestamp)
		case "agent":
			return m.text(&e.Agent)
		case "session":
			return m.text(&e.Session)
		case "run_id":
			return m.text(&e.RunID)
		case "tool_call_id":
			return m.text(&e.ToolCallID)
		case "tool":
			return m.text(&e.Tool)
		case "request":
			return m.object(&e.Request)
		case "decision":
			return m.members(e.decision)
		case "response":
			e.Response = new(Response)
			return m.members(e.Response.member)
		case "id", "prev_hash", "hash":
			return m.refuse(" is given by the log")
		case "approval":
			return m.refuse(" is written by the approvals queue alone")
		}
		return m.unknown()
	})
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

func (e *Event) decision(m member) error {
	switch m.name {
	case "decision.action":
		return m.text(&e.Action)
	case "decision.matched_policies":
		return m.texts(&e.MatchedPolicies)
	case "decision.evaluation_time_us":
		return m.natural(&e.EvaluationTimeUS)
	case "decision.message":
		return m.text(&e.Message)
	case "decision.suggestions":
		return m.texts(&e.Suggestions)
	}
	return m.unknown()
}

func (r *Response) member(m member) error {
	switch m.name {
	case "response.exit_code":
		r.ExitCode = new(int64)
		return m.integer(r.ExitCode)
	case "response.duration_ms":
		return m.natural(&r.DurationMS)
	case "response.flags":
		return m.texts(&r.Flags)
	}
	return m.unknown()
}

// member is a member of an object from outside. Its value is valid JSON.
type member struct {
	name   string // in an object within an event, that object's name and a dot stand before it
	value  []byte
	offset int
}

func (m member) refuse(why string) error {
	return &SyntaxError{m.offset, quote([]byte(m.name)) + why}
}

func (m member) unknown() error { return m.refuse(" is no member of an event") }

func (m member) wrong(want string) error {
	return &SyntaxError{m.offset, m.name + ": expected " + want + ", found " + kind(m.value)}
}

// kind names the JSON type of value.
func kind(value []byte) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func (m member) text(s *string) error {
	if m.value[0] != '"' {
		return m.wrong("a string")
	}
	*s = Text(m.value[1 : len(m.value)-1])
	return nil
}

func (m member) texts(list *[]string) error {
	if m.value[0] != '[' {
		return m.wrong("an array of strings")
	}
	*list = []string{}
	s := scanner{src: m.value}
	for i := s.space(1); m.value[i] != ']'; {
		end := s.value(i, 0)
		item := member{m.name, m.value[i:end], m.offset + i}
		var text string
		if err := item.text(&text); err != nil {
			return err
		}
		*list = append(*list, text)
		if i = s.space(end); m.value[i] == ',' {
			i = s.space(i + 1)
		}
	}
	return nil
}

func (m member) integer(n *int64) error {
	if kind(m.value) != "a number" {
		return m.wrong("an integer")
	}
	v, err := strconv.ParseInt(string(m.value), 10, 64)
	if err != nil {
		return &SyntaxError{m.offset, m.name + ": expected an integer of 64 bits without fraction or exponent"}
	}
	*n = v
	return nil
}

func (m member) natural(n *int64) error {
	if err := m.integer(n); err != nil {
		return err
	}
	if *n < 0 {
		return &SyntaxError{m.offset, m.name + ": expected an integer that is not negative"}
	}
	return nil
}

func (m member) boolean(b *bool) error {
	if kind(m.value) != "a boolean" {
		return m.wrong("true or false")
	}
	*b = m.value[0] == 't'
	return nil
}

// object makes *raw a view of the value.
func (m member) object(raw *[]byte) error {
	if m.value[0] != '{' {
		return m.wrong("an object")
	}
	*raw = m.value
	return nil
}

func (m member) members(fn func(member) error) error {
	if m.value[0] != '{' {
		return m.wrong("an object")
	}
	return members(m.value, 0, func(name, value []byte, offset int) error {
		return fn(member{m.name + "." + string(name), value, m.offset + offset})
	})
}
