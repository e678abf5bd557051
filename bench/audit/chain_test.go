//go:build linux

package audit

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/rampartlog/rampart"
)

// memory is a store for tests.
type memory [][]byte

func (m *memory) put(_ uint64, lines [][]byte, _ []rampart.AuditEvent) error {
	*m = append(*m, lines...)
	return nil
}
func (m *memory) len() (uint64, error) { return uint64(len(*m)), nil }
func (m *memory) scan(_ bool, fn func([]byte) bool) error {
	for _, line := range *m {
		if !fn(line) {
			break
		}
	}
	return nil
}
func (m *memory) close() error { return nil }

func TestChain(t *testing.T) {
	for name, change := range map[string]func(m memory) memory{
		"edited": func(m memory) memory { m[3] = bytes.Replace(m[3], []byte("git log"), []byte("rm -rf "), 1); return m },
		"gone":   func(m memory) memory { return append(m[:3:3], m[4:]...) },
		"swapped": func(m memory) memory {
			m[3], m[4] = m[4], m[3]
			return m
		},
		"begun later": func(m memory) memory { return m[1:] },
	} {
		var m memory
		c := &chained{store: &m, next: 1}
		if err := c.AppendAll(events(nil, 0, 10)); err != nil {
			t.Fatal(err)
		}
		if n, err := verifyStore(&m, nil); err != nil || n != 10 {
			t.Fatal(n, err)
		}
		m = change(m)
		if _, err := verifyStore(&m, nil); err == nil {
			t.Errorf("%s: a changed log passes", name)
		}
	}
}

// A peer's log that is opened again continues its chain, also after bbolt has put
// concurrent appends into one transaction.
func TestPeersResume(t *testing.T) {
	for _, name := range peers {
		if targets[name].once {
			continue
		}
		dir := filepath.Join(t.TempDir(), "log")
		for i := range 3 {
			c, err := targets[name].open(dir, mode{Shared: true})
			if err != nil {
				t.Fatal(name, err)
			}
			if err := c.AppendAll(events(nil, 2*i, 2*i+1)); err != nil {
				t.Fatal(name, err)
			}
			if err := c.Append(event(2*i + 1)); err != nil {
				t.Fatal(name, err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(name, err)
			}
		}
		if n, err := targets[name].verify(dir, 1, nil); err != nil || n != 6 {
			t.Error(name, n, err)
		}
	}
}
