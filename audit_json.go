package rampart

import (
	"fmt"
	"time"
)

// AppendJSON appends e to dst, in the form of POST /v1/audit/events and checked
// as [AuditChain.Append] checks it.
func (e AuditEvent) AppendJSON(dst []byte) ([]byte, error) {
	if e.Approval != nil {
		return dst, fmt.Errorf("%w: approval is written by the approvals queue alone", ErrInvalid)
	}
	members, err := encode(&e)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return append(append(append(dst, '{'), members[:len(members)-1]...), '}'), nil
}

type TotalsQuery struct {
	Since, Until time.Time
	Every        time.Duration
}
