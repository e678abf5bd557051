package rampart

import (
	"github.com/rampartlog/rampart/internal/vfs"
)

// WithFS makes OpenAuditChain use fs in place of a directory.
func (o AuditOptions) WithFS(fs vfs.FS) *AuditOptions { o.fs = fs; return &o }

// WithSegmentSize makes segments full at n bytes.
func (o AuditOptions) WithSegmentSize(n int64) *AuditOptions { o.segmentSize = n; return &o }

// WithKeepEnded keeps n ended approvals in memory.
func (o ApprovalOptions) WithKeepEnded(n int) *ApprovalOptions { o.keepEnded = n; return &o }
