package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// call is a tool call in Rampart's terms.
type call struct {
	tool    string
	request json.RawMessage
	line    string // rules are matched against it
}

// kinds gives Rampart's term for each of Claude Code's tools, and the member that
// says what a call is about. A tool that is not here is "other".
var kinds = map[string]struct{ tool, subject string }{
	"Bash": {"exec", "command"}, "PowerShell": {"exec", "command"},
	"Read": {"read", "file_path"}, "Write": {"write", "file_path"},
	"Edit": {"edit", "file_path"}, "MultiEdit": {"edit", "file_path"}, "NotebookEdit": {"edit", "notebook_path"},
	"Grep": {"search", ""}, "Glob": {"search", ""}, "LS": {"search", ""},
	"WebFetch": {"fetch", "url"}, "WebSearch": {"fetch", "query"},
	"Task": {"agent", ""}, "Agent": {"agent", ""},
	"TodoWrite": {"todo", ""},
}

// newCall maps a call. The arguments are kept byte for byte, except for the name
// of the member that holds the path. If the arguments don't tell which tool was
// called, the request has the tool in "name" and the arguments in "arguments".
func newCall(toolName string, args json.RawMessage) call {
	if len(args) == 0 || string(args) == "null" {
		args = json.RawMessage("{}")
	}
	if rest, ok := strings.CutPrefix(toolName, "mcp__"); ok {
		if server, name, ok := strings.Cut(rest, "__"); ok {
			return call{
				tool:    "mcp",
				request: join(`{"server":`, text(server), `,"name":`, text(name), `,"arguments":`, string(args), `}`),
				line:    "mcp: " + server + " " + name + " " + string(args),
			}
		}
	}
	kind := kinds[toolName]
	c := call{tool: cmp.Or(kind.tool, "other")}
	c.request = join(`{"name":`, text(toolName), `,"arguments":`, string(args), `}`)
	c.line = c.tool + ": " + toolName + " " + string(args)
	members, isObject := membersOf(args)
	if kind.subject == "" || !isObject {
		return c
	}
	c.line = c.tool + ": " + string(args)
	subject := find(members, kind.subject)
	var s string
	if subject != nil && json.Unmarshal(subject.raw(args), &s) == nil {
		c.line = c.tool + ": " + s
	}
	// A person is shown the request's command or path. One that this tool does
	// not use must not stand for the call.
	if c.tool != "exec" && (find(members, "command") != nil || find(members, "path") != nil) {
		return c
	}
	c.request = args
	switch {
	case toolName == "PowerShell" && find(members, "shell") == nil && len(members) > 0:
		c.request = join(`{"shell":"powershell",`, string(args[members[0].key:]))
	case subject != nil && strings.HasSuffix(kind.subject, "_path"):
		c.request = join(string(args[:subject.key]), `"path"`, string(args[subject.keyEnd:]))
	}
	return c
}

// member is the place of a member in the text of an object.
type member struct {
	name                    string
	key, keyEnd, value, end int
}

func (m *member) raw(object []byte) json.RawMessage { return object[m.value:m.end] }

// membersOf finds the members of an object. It returns nothing for other JSON.
func membersOf(object json.RawMessage) (members []member, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		var m member
		var value json.RawMessage
		// White space and a comma separate members.
		before := int(dec.InputOffset())
		m.key = before + bytes.IndexByte(object[before:], '"')
		t, err := dec.Token()
		if err != nil {
			return nil, false
		}
		m.name, m.keyEnd = t.(string), int(dec.InputOffset())
		if dec.Decode(&value) != nil {
			return nil, false
		}
		m.end = int(dec.InputOffset())
		m.value = m.end - len(value)
		members = append(members, m)
	}
	return members, true
}

// find returns the last member of that name, which is the one that JavaScript uses.
func find(members []member, name string) *member {
	for i := range slices.Backward(members) {
		if members[i].name == name {
			return &members[i]
		}
	}
	return nil
}

// text returns s as JSON.
func text(s string) string {
	b, _ := json.Marshal(s) // never fails for a string
	return string(b)
}

func join(parts ...string) json.RawMessage { return json.RawMessage(strings.Join(parts, "")) }
