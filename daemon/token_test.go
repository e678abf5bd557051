package daemon_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/daemon"
)

const secret = "secret-secret-secret"

func TestAdminTokenIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	token, err := daemon.AdminToken(dir)
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) {
		t.Errorf("the token is not 256 bits in hex: %d characters, %v", len(token), err)
	}
	if again, err := daemon.AdminToken(dir); again != token || err != nil {
		t.Errorf("the second time it is another one, or an error: %v", err)
	}
	if got := names(t, dir); cmp.Diff([]string{"token"}, got) != "" {
		t.Errorf("it left %v", got)
	}
	if runtime.GOOS != "windows" { // which keeps no mode bits
		if info, err := os.Stat(dir + "/token"); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// Two daemons may share a directory, such as one that plays the demo.
func TestAdminTokenOfSeveralAtOnce(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var tokens [8]string
		var all sync.WaitGroup
		for i := range tokens {
			all.Go(func() {
				var err error
				if tokens[i], err = daemon.AdminToken(dir); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, token := range tokens {
			if token != tokens[0] {
				t.Fatal("two of them have different tokens")
			}
		}
		if got := names(t, dir); cmp.Diff([]string{"token"}, got) != "" {
			t.Fatalf("they left %v", got)
		}
	}
}

// A file system without links, such as that of a memory card, must not lose the
// token of a daemon that was faster.
func TestMakeTokenWithoutLinks(t *testing.T) {
	noLinks := func(string, string) error { return &os.LinkError{Op: "link", Err: errors.ErrUnsupported} }
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	token, err := daemon.MakeToken(path, noLinks)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := daemon.MakeToken(path, noLinks); again != token || err != nil {
		t.Errorf("the second daemon replaced the token of the first: %v", err)
	}
	if again, err := daemon.AdminToken(dir); again != token || err != nil {
		t.Errorf("it was not written: %v", err)
	}
	if got := names(t, dir); cmp.Diff([]string{"token"}, got) != "" {
		t.Errorf("they left %v", got)
	}
	if _, err := daemon.MakeToken(filepath.Join(dir, "none", "token"), noLinks); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func TestAdminTokenIsALinkThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	if err := os.Symlink(filepath.Join(dir, "gone"), path); err != nil {
		t.Skip(err) // Windows lets few users make links
	}
	if _, err := daemon.AdminToken(dir); err == nil || !strings.Contains(err.Error(), path+" is a link that leads nowhere: remove it") {
		t.Error(err)
	}
	if got := names(t, dir); cmp.Diff([]string{"token"}, got) != "" {
		t.Errorf("it left %v", got)
	}
}

func TestAdminTokenThatIsNone(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "short": "short\n", "two words": secret + " x", "two lines": secret + "\n" + secret} {
		dir := t.TempDir()
		path := writeFile(t, dir, "token", content, 0o600)
		got, err := daemon.AdminToken(dir)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestTokensThatOthersMayReadAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no mode bits")
	}
	dir := t.TempDir()
	writeFile(t, dir, "token", secret, 0o640)
	if got, err := daemon.AdminToken(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := daemon.Find(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Find: %v, %v", got, err)
	}
	if got, err := daemon.AgentTokens(writeFile(t, dir, "agents", "a "+secret, 0o604)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := daemon.AgentTokens(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("of a directory: %v, %v", got, err)
	}
}

func TestAgentTokens(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, dir, "agents", "# agents\n\n  a\t"+secret+"  \r\nb "+secret+"2", 0o600)
	got, err := daemon.AgentTokens(path)
	if diff := cmp.Diff(map[string]string{"a": secret, "b": secret + "2"}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := daemon.AgentTokens(""); len(got) > 0 || err != nil {
		t.Errorf("without a path: %v, %v", got, err)
	}
	for name, c := range map[string]struct{ content, says string }{
		"one word":        {"# agents\n\n" + secret, "line 3"},
		"three words":     {"a b " + secret, "line 1"},
		"short":           {"a short", "16"},
		"admin":           {"admin " + secret, "admin"},
		"doubled name":    {"a " + secret + "\na " + secret + "2", "line 2"},
		"doubled token":   {"a " + secret + "\n# x\nb " + secret, "line 3"},
		"a line too long": {"a " + strings.Repeat("x", 70000), "agents"},
	} {
		path := writeFile(t, dir, "agents", c.content, 0o600)
		got, err := daemon.AgentTokens(path)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
