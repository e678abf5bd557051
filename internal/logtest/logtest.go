// Package logtest reads and changes the files of a log behind its back. Only tests
// import it.
package logtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Glob returns the paths in dir that match pattern, sorted.
func Glob(t testing.TB, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Segments returns the paths of the segments in dir, in the order of the log.
func Segments(t testing.TB, dir string) []string {
	t.Helper()
	return Glob(t, dir, "*.jsonl")
}

// Files returns the contents of a log's files by name, without the lock.
func Files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range Glob(t, dir, "*") {
		if strings.HasSuffix(name, ".tmp") { // a sidecar that is being written, and may be gone at once
			continue
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() < 1<<30 && filepath.Base(name) != "LOCK" {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(name)] = string(data)
		}
	}
	return out
}

// Write makes a directory of those files.
func Write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Edit puts what change makes of a file in its place.
func Edit(t testing.TB, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
