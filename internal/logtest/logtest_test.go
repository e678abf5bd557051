package logtest_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/rampartlog/rampart/internal/logtest"
)

func TestFiles(t *testing.T) {
	want := map[string]string{"2.jsonl": "b", "1.jsonl": "a", "1.idx": "x"}
	dir := logtest.Write(t, want)
	for _, ignored := range []string{"LOCK", "2.idx.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, ignored), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := logtest.Files(t, dir); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	names := logtest.Segments(t, dir)
	if len(names) != 2 || filepath.Base(names[0]) != "1.jsonl" || filepath.Base(names[1]) != "2.jsonl" {
		t.Errorf("segments %q", names)
	}
	logtest.Edit(t, names[0], bytes.ToUpper)
	if got := logtest.Files(t, dir)["1.jsonl"]; got != "A" {
		t.Errorf("edited it is %q", got)
	}
}
