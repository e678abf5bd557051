package rampart

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// Dates lists the UTC days that have events by their timestamps, newest first,
// as YYYY-MM-DD.
func (c *AuditChain) Dates(ctx context.Context) ([]string, error) {
	v, err := c.state.view()
	if err != nil {
		return nil, err
	}
	defer v.release()
	days := map[int32]bool{}
	for _, g := range v.segments {
		index, err := c.index(ctx, g)
		if err != nil {
			return nil, err
		}
		index.Days(func(d int32) { days[d] = true })
	}
	sorted := make([]int32, 0, len(days))
	for d := range days {
		sorted = append(sorted, d)
	}
	slices.SortFunc(sorted, func(a, b int32) int { return cmp.Compare(b, a) })
	out := make([]string, len(sorted))
	for i, d := range sorted {
		out[i] = time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
	}
	return out, nil
}

// Totals counts events by what they are.
type Totals struct {
	Events    uint64            `json:"total_events"`
	ByAction  map[string]uint64 `json:"by_action"`
	ByTool    map[string]uint64 `json:"by_tool"`
	ByAgent   map[string]uint64 `json:"by_agent"`
	BySession map[string]uint64 `json:"by_session"` // without the events that name none
}

// Totals counts the events with since ≤ timestamp < until; a zero time is
// open. It reads all of them, about a million a second.
func (c *AuditChain) Totals(ctx context.Context, since, until time.Time) (Totals, error) {
	t := Totals{ByAction: map[string]uint64{}, ByTool: map[string]uint64{}, ByAgent: map[string]uint64{}, BySession: map[string]uint64{}}
	err := c.query(ctx, &Query{Since: since, Until: until, Ascending: true}, func(_ uint64, _ []byte, f *record.Fields) bool {
		t.Events++
		count(t.ByAction, f.Action)
		count(t.ByTool, f.Tool)
		count(t.ByAgent, f.Agent)
		if len(f.Session) > 0 {
			count(t.BySession, f.Session)
		}
		return true
	})
	return t, err
}

func count(m map[string]uint64, raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 {
		if n, ok := m[string(raw)]; ok { // without making a string
			m[string(raw)] = n + 1
			return
		}
	}
	m[record.Text(raw)]++
}
