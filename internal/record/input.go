package record

import (
	"fmt"
	"strconv"
)

// ParseEvent reads an event as a host sends it: one JSON object, checked as
// [AppendObject] does, whose members may stand in any order. Names are matched
// exactly. A member that an event does not have, one that the log gives
// itself, or a value of another type is refused by name and offset: dropping
// it would lose what somebody wanted on record.
func ParseEvent(src []byte) (Event, error) {
	var e Event
	if _, err := AppendObject(nil, src); err != nil {
		return e, err
	}
	in := input{}
	err := Members(src, func(name string, value []byte, at int) error {
		in.name, in.at = name, at
		switch name {
		case "timestamp":
			return in.string(&e.Timestamp, value)
		case "agent":
			return in.string(&e.Agent, value)
		case "session":
			return in.string(&e.Session, value)
		case "run_id":
			return in.string(&e.RunID, value)
		case "tool_call_id":
			return in.string(&e.ToolCallID, value)
		case "tool":
			return in.string(&e.Tool, value)
		case "request":
			e.Request = value
			return in.object(value)
		case "decision":
			return in.members(value, func(name string, value []byte) error {
				switch name {
				case "action":
					return in.string(&e.Action, value)
				case "matched_policies":
					return in.strings(&e.MatchedPolicies, value)
				case "evaluation_time_us":
					return in.count(&e.EvaluationTimeUS, value)
				case "message":
					return in.string(&e.Message, value)
				case "suggestions":
					return in.strings(&e.Suggestions, value)
				}
				return in.unknown()
			})
		case "response":
			e.Response = &Response{}
			return in.members(value, func(name string, value []byte) error {
				switch name {
				case "exit_code":
					e.Response.ExitCode = new(int64)
					return in.int(e.Response.ExitCode, value)
				case "duration_ms":
					return in.count(&e.Response.DurationMS, value)
				case "flags":
					return in.strings(&e.Response.Flags, value)
				}
				return in.unknown()
			})
		case "approval":
			return in.errorf("is written by the approvals queue alone; leave it out")
		case "id", "prev_hash", "hash":
			return in.errorf("is given by the log; leave it out")
		}
		return in.unknown()
	})
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

// input knows which member is being read, for the error.
type input struct {
	name string
	at   int
}

func (in *input) errorf(format string, args ...any) error {
	return &SyntaxError{in.at, fmt.Sprintf("%.100q ", in.name) + fmt.Sprintf(format, args...)}
}

func (in *input) unknown() error { return in.errorf("is not a member of an event") }

func (in *input) string(dst *string, value []byte) error {
	s, err := String(value)
	if err != nil {
		return in.errorf("must be a string")
	}
	*dst = s
	return nil
}

func (in *input) object(value []byte) error {
	if value[0] != '{' {
		return in.errorf("must be an object")
	}
	return nil
}

func (in *input) members(value []byte, fn func(name string, value []byte) error) error {
	if err := in.object(value); err != nil {
		return err
	}
	outer, base := in.name, in.at
	return Members(value, func(name string, value []byte, at int) error {
		in.name, in.at = outer+"."+name, base+at
		return fn(name, value)
	})
}

func (in *input) strings(dst *[]string, value []byte) error {
	if value[0] != '[' {
		return in.errorf("must be an array of strings")
	}
	compact, err := AppendCompact(nil, value)
	if err != nil {
		return err
	}
	s := scanner{b: compact}
	if s.list(); s.want != "" {
		return in.errorf("must be an array of strings")
	}
	*dst = texts(compact)
	return nil
}

func (in *input) int(dst *int64, value []byte) error {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return in.errorf("must be an integer of at most 64 bits, without fraction or exponent")
	}
	*dst = n
	return nil
}

func (in *input) count(dst *int64, value []byte) error {
	if err := in.int(dst, value); err != nil {
		return err
	}
	if *dst < 0 {
		return in.errorf("must not be negative")
	}
	return nil
}
