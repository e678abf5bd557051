package daemon_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/daemon"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	token, err := daemon.AdminToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	find := func(want string) {
		t.Helper()
		if got, err := daemon.Find(dir); err != nil || got != (daemon.Endpoint{URL: want, Token: token}) {
			t.Errorf("%s, %v; want %s", got.URL, err, want)
		}
	}
	for _, url := range []string{"http://127.0.0.1:4711", "http://[::1]:80", "http://192.0.2.1:9090"} {
		if err := daemon.Announce(dir, url); err != nil {
			t.Fatal(err)
		}
		find(url)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(dir + "/url"); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("it left %v", got)
	}
	t.Setenv("HOME", filepath.Dir(dir))
	t.Setenv("USERPROFILE", filepath.Dir(dir))
	if got, err := daemon.Find("~/" + filepath.Base(dir)); err != nil || got.Token != token {
		t.Error(err)
	}
}

func TestFindSaysWhatToDo(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	stopped := t.TempDir() // has a token, and no URL
	if _, err := daemon.AdminToken(stopped); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{none, filepath.Dir(none), stopped} {
		got, err := daemon.Find(dir)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "rampart serve") {
			t.Errorf("%v, %v", got, err)
		}
	}
	if _, err := os.Stat(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a client made the directory: %v", err)
	}

	dir := t.TempDir()
	if _, err := daemon.AdminToken(dir); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"", "127.0.0.1:9090", "http://", "https://x:1", "http://x:1/", "http://ann@x:1", "http://x:1\nhttp://y:1"} {
		path := writeFile(t, dir, "url", url, 0o600)
		if got, err := daemon.Find(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, %v", url, got.URL, err)
		}
	}
	if runtime.GOOS == "windows" {
		return // Windows keeps no mode bits
	}
	path := writeFile(t, dir, "url", "http://127.0.0.1:1", 0o600)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := daemon.Find(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("anybody may say where the token is sent: %v, %v", got.URL, err)
	}
	if os.Getuid() == 0 {
		return // root may read anything
	}
	if err := os.Chmod(dir+"/token", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Find(dir); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "another user's") {
		t.Error(err)
	}
}

// What an earlier daemon left is worse than nothing.
func TestAnnounceThatFailsLeavesNoOldURL(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/url", 0o700); err != nil { // no file can take a directory's name
		t.Fatal(err)
	}
	if err := daemon.Announce(dir, "http://127.0.0.1:1"); err == nil {
		t.Error("it did not fail")
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("it left %v", got)
	}
}

// No client can ask for a URL with a zone, and Find would refuse the file.
func TestAnnounceRefusesWhatFindWould(t *testing.T) {
	dir := t.TempDir()
	for _, url := range []string{"http://[fe80::1%eth0]:9090", "https://127.0.0.1:1", "http://127.0.0.1:1/", ""} {
		writeFile(t, dir, "url", "http://127.0.0.1:1", 0o600)
		if err := daemon.Announce(dir, url); err == nil || !strings.Contains(err.Error(), url) {
			t.Errorf("%q: %v", url, err)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("%q: it left %v", url, got)
		}
	}
}
