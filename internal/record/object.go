package record

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Decode checks src strictly and decodes those of its members that have a
// target: *string, **string, *int64, **bool, *json.RawMessage (an object) or
// *[]string.
// Names are matched exactly, letter case included. A null leaves its target as
// it is, except that a list must be one: absence of a list means everything.
func Decode(src []byte, targets map[string]any) error {
	if _, err := AppendObject(nil, src); err != nil {
		return err
	}
	return Members(src, func(name string, value []byte, offset int) error {
		wrong := func(what string) error {
			return &SyntaxError{Offset: offset, Msg: fmt.Sprintf("%q must be %s", name, what)}
		}
		target := targets[name]
		list, isList := target.(*[]string)
		if string(value) == "null" && !isList {
			return nil
		}
		switch target := target.(type) {
		case *string:
			s, err := String(value)
			if err != nil {
				return wrong("a string")
			}
			*target = s
		case **string:
			s, err := String(value)
			if err != nil {
				return wrong("a string")
			}
			*target = &s
		case *int64:
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil {
				return wrong("a whole number of 64 bits")
			}
			*target = n
		case **bool:
			if s := string(value); s != "true" && s != "false" {
				return wrong("true or false")
			}
			v := value[0] == 't'
			*target = &v
		case *json.RawMessage:
			if value[0] != '{' {
				return wrong("an object")
			}
			*target = value
		case *[]string:
			var raw []json.RawMessage
			if value[0] != '[' || json.Unmarshal(value, &raw) != nil {
				return wrong("a list of strings")
			}
			*list = make([]string, len(raw))
			for i := range raw {
				s, err := String(raw[i])
				if err != nil {
					return wrong("a list of strings")
				}
				(*list)[i] = s
			}
		}
		return nil
	})
}
