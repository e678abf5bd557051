package rampart

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"
)

// ApprovalStatus is where an approval stands. The zero value is none of them.
type ApprovalStatus string

const (
	Pending  ApprovalStatus = "pending"
	Approved ApprovalStatus = "approved"
	Denied   ApprovalStatus = "denied"
	Expired  ApprovalStatus = "expired"
)

// ApprovalOptions configures [NewApprovals].
type ApprovalOptions struct {
	TTL        time.Duration // of a request that names none; 5 minutes when zero
	MaxPending int           // Request beyond it gets ErrLimit; 10000 when zero
	KeepEnded  int           // ended approvals kept in memory for Get and List; 10000 when zero
	Logger     *slog.Logger  // nil discards
}

// ApprovalRequest asks a person for a yes or no.
type ApprovalRequest struct {
	Agent           string
	Session         string
	RunID           string
	ToolCallID      string // the same from the same agent while pending: the same approval
	Tool            string
	Request         json.RawMessage // an object: exactly what would run
	Message         string
	MatchedPolicies []string
	TTL             time.Duration
	Credential      string // name of the token, or whatever the host knows its callers by
}

// Approval is one entry of the queue, in the form of GET /v1/approvals.
type Approval struct {
	ID            string          `json:"id"`
	Tool          string          `json:"tool"`
	Command       string          `json:"command"`
	Request       json.RawMessage `json:"request"`
	Agent         string          `json:"agent"`
	Session       string          `json:"session"`
	RunID         string          `json:"run_id,omitempty"`
	Message       string          `json:"message"`
	Status        ApprovalStatus  `json:"status"`
	CreatedAt     time.Time       `json:"created_at"`
	ExpiresAt     time.Time       `json:"expires_at"`
	ResolvedAt    time.Time       `json:"resolved_at,omitzero"`
	ResolvedBy    string          `json:"resolved_by,omitempty"`
	RequestSHA256 string          `json:"request_sha256"`

	ToolCallID string `json:"-"`
	Credential string `json:"-"` // that asked
	Reason     string `json:"-"`
}

// Resolution is a person's answer.
type Resolution struct {
	Status     ApprovalStatus // Approved or Denied; anything else is ErrInvalid
	ResolvedBy string         // what the caller says; Credential when empty
	Credential string         // the name of the token that was used
	Reason     string
}

// BulkResolution answers several approvals of one run at once.
type BulkResolution struct {
	Resolution
	RunID   string
	Agent   string   // when set, only this agent's
	Session string   // when set, only this session's
	IDs     []string // exactly these; nil means all pending of the run
}

// ApprovalStats are figures of an [Approvals] queue.
type ApprovalStats struct {
	Pending  int
	Created  uint64                    // since the queue was opened
	Resolved map[ApprovalStatus]uint64 // since the queue was opened
}

// Approvals is the queue of things that wait for a person's yes or no.
type Approvals struct{}

func NewApprovals(ctx context.Context, chain *AuditChain, opts *ApprovalOptions) (*Approvals, error) {
	return &Approvals{}, nil
}

func (a *Approvals) Request(ctx context.Context, r ApprovalRequest) (Approval, error) {
	panic("not written yet")
}
func (a *Approvals) Wait(ctx context.Context, id string) (Approval, error) { panic("not written yet") }
func (a *Approvals) Get(ctx context.Context, id string) (Approval, error)  { panic("not written yet") }
func (a *Approvals) List(status ApprovalStatus) []Approval                 { panic("not written yet") }
func (a *Approvals) Resolve(ctx context.Context, id string, r Resolution) (Approval, error) {
	panic("not written yet")
}
func (a *Approvals) ResolveAll(ctx context.Context, r BulkResolution) ([]Approval, error) {
	panic("not written yet")
}
func (a *Approvals) Stats() ApprovalStats { panic("not written yet") }
func (a *Approvals) Close() error         { return nil }
