package rampart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/rampartlog/rampart"
)

// Whoever finds damage says so in this package's own type, with its place.
func TestDamageIsACorruptError(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, dir, rampart.AuditOptions{}.WithSegmentSize(1500))
	saved := appendN(t, c, 9)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	stored := files(t, dir)
	// damaged is a copy without sidecars in which that line of the first segment
	// is not in the stored form. Opening reads the first line and the last.
	damaged := func(line int) string {
		copied := write(t, stored)
		for _, idx := range glob(t, copied, "*.idx") {
			os.Remove(idx)
		}
		edit(t, segments(t, copied)[0], func(data []byte) []byte {
			lines := bytes.SplitAfter(data, []byte("\n"))
			lines[line-1] = bytes.Replace(lines[line-1], []byte(`,"tool"`), []byte(`, "tool"`), 1)
			return bytes.Join(lines, nil)
		})
		return copied
	}
	is := func(what string, err error, line int) {
		t.Helper()
		var corrupt *rampart.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Segment != "00000000000000000001.jsonl" || corrupt.Line != line {
			t.Errorf("%s: %v, want a CorruptError of line %d", what, err, line)
		}
	}
	_, err := rampart.OpenAuditChain(damaged(1), nil)
	is("Open", err, 1)
	c, err = rampart.OpenAuditChain(damaged(2), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Get(t.Context(), saved[1].ID)
	is("Get", err, 2)
	for _, err = range c.Query(t.Context(), rampart.Query{}) {
	}
	is("Query", err, 2)
	_, err = c.Totals(t.Context(), rampart.TotalsQuery{})
	is("Totals", err, 2)
	_, err = c.Dates(t.Context())
	is("Dates", err, 2)
	is("Verify", verified(t, c).Fault, 2)
}

func ExampleAuditChain_Query() {
	dir, _ := os.MkdirTemp("", "rampart")
	defer os.RemoveAll(dir)
	ctx := context.Background()
	chain, err := rampart.OpenAuditChain(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer chain.Close()
	for _, action := range []string{"allow", "deny", "allow"} {
		chain.Append(ctx, rampart.AuditEvent{
			Agent: "claude-code", Tool: "exec",
			Request:  json.RawMessage(`{"command":"git push"}`),
			Decision: rampart.Decision{Action: action},
		})
	}
	for r, err := range chain.Query(ctx, rampart.Query{Filter: rampart.Filter{Action: []string{"deny"}}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		e, _ := r.Event()
		fmt.Printf("%s %s %s\n", e.Tool, e.Request, e.Decision.Action)
	}
	// Output: exec {"command":"git push"} deny
}
