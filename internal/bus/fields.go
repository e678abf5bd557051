package bus

import (
	"encoding/json"

	"github.com/rampartlog/rampart/internal/record"
)

// FieldsOf returns the fields that a filter looks at. A record of a host's own
// log need not be laid out as a ledger lays it out.
func FieldsOf(line []byte) record.Fields {
	var f record.Fields
	if record.Scan(line, &f) == nil {
		return f
	}
	var v struct {
		Agent    json.RawMessage `json:"agent"`
		Session  json.RawMessage `json:"session"`
		RunID    json.RawMessage `json:"run_id"`
		Tool     json.RawMessage `json:"tool"`
		Decision struct {
			Action json.RawMessage `json:"action"`
		} `json:"decision"`
	}
	_ = json.Unmarshal(line, &v) // what cannot be read is chosen by no filter
	text := func(raw json.RawMessage) []byte {
		if len(raw) < 2 || raw[0] != '"' {
			return nil
		}
		return raw[1 : len(raw)-1]
	}
	return record.Fields{Agent: text(v.Agent), Session: text(v.Session), RunID: text(v.RunID), Tool: text(v.Tool), Action: text(v.Decision.Action)}
}
