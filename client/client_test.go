package client_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/client"
)

// The daemon of this user says where it is, and with which token.
func TestLocal(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	if _, err := client.Local(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where no daemon has run: %v", err)
	}
	r := openRampart(t, t.TempDir(), rampart.Options{})
	srv := httptest.NewServer(r.Handler(testAuth()))
	defer srv.Close()
	dir := filepath.Join(home, ".rampart")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", adminToken)
	if _, err := client.Local(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where a daemon has run, and now none or a demo does: %v", err)
	}
	write("url", srv.URL)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport}
	c, err := client.Local(&client.Options{HTTP: hc})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("as the admin: %v", err)
	}
	c, err = client.Local(&client.Options{Token: agentToken, HTTP: hc})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Record(t.Context(), event(0)); err != nil {
		t.Errorf("as an agent: %v", err)
	}
}
