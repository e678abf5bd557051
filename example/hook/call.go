package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// call is a tool call in Rampart's terms.
type call struct {
	tool    string
	request json.RawMessage
	line    string // what rules are matched against
}

// kinds are the terms for Claude Code's tools; what is not here is "other".
var kinds = map[string]string{
	"Bash": "exec", "PowerShell": "exec",
	"Read": "read", "Write": "write",
	"Edit": "edit", "MultiEdit": "edit", "NotebookEdit": "edit",
	"Grep": "search", "Glob": "search", "LS": "search",
	"WebFetch": "fetch", "WebSearch": "fetch",
	"Task": "agent", "Agent": "agent",
	"TodoWrite": "todo",
}

// newCall maps a call. The arguments stay byte for byte what they are, but for
// the name of the member that holds the path. Where the request's members don't
// tell which tool it was, they go into its member "arguments", beside "name".
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
	c := call{tool: kinds[toolName]}
	members, isObject := membersOf(args)
	switch c.tool {
	case "exec", "read", "write", "edit", "fetch":
		if !isObject {
			break
		}
		c.request = args
		if toolName == "PowerShell" && find(members, "shell") == nil && len(members) > 0 {
			c.request = join(`{"shell":"powershell",`, string(args[members[0].key:]))
		}
		c.line = c.tool + ": " + string(args)
		for _, name := range []string{"command", "file_path", "notebook_path", "url", "query"} {
			m := find(members, name)
			if m == nil {
				continue
			}
			if strings.HasSuffix(name, "_path") && find(members, "path") == nil {
				c.request = join(string(args[:m.key]), `"path"`, string(args[m.keyEnd:]))
			}
			var s string
			if json.Unmarshal(m.raw(args), &s) == nil {
				c.line = c.tool + ": " + s
			}
			break
		}
		return c
	case "":
		c.tool = "other"
	}
	c.request = join(`{"name":`, text(toolName), `,"arguments":`, string(args), `}`)
	c.line = c.tool + ": " + toolName + " " + string(args)
	return c
}

// member says where a member of an object stands in its text.
type member struct {
	name                    string
	key, keyEnd, value, end int
}

func (m *member) raw(object []byte) json.RawMessage { return object[m.value:m.end] }

// membersOf finds the members of an object, unless object is none.
func membersOf(object json.RawMessage) (members []member, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		var m member
		var value json.RawMessage
		// Between members stand white space and a comma.
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

func find(members []member, name string) *member {
	for i := range members {
		if members[i].name == name {
			return &members[i]
		}
	}
	return nil
}

// text is s as JSON.
func text(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

func join(parts ...string) json.RawMessage { return json.RawMessage(strings.Join(parts, "")) }
