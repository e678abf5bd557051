package main_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitor "github.com/rampartlog/rampart/example/monitor"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"-on Deny", "lower-case words"},
		{"-on deny,", "lower-case words"},
		{"-agent=", "empty"},
		{"-from yesterday", "want now or start"},
		{"-url 127.0.0.1:9090", "want http://HOST:PORT"},
		{"-url http://ann:" + hookSecret + "@127.0.0.1:9090", "without a user"},
		{"-url http://127.0.0.1:9090?token=" + hookSecret, "without a user or a query"},
		{"-webhook hooks.example.com/" + hookSecret, "want a URL such as"},
		{"-webhook ://" + hookSecret, "want a URL such as"},
		{"-webhook " + hookURL + " -webhook-file x", "want one of them"},
		{hookURL, "belong to no flag"},
		{"-wehbook=" + hookURL, "not defined"},
	} {
		var out bytes.Buffer
		_, err := monitor.Parse(strings.Fields(c.args), &out)
		if err == nil || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %v, printed %s", c.args, err, &out)
		}
		if strings.Contains(out.String(), hookSecret) {
			t.Errorf("%s: a secret is printed: %s", c.args, &out)
		}
	}
	var out bytes.Buffer
	if _, err := monitor.Parse([]string{"-h"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "Exit codes") || !strings.Contains(out.String(), "-webhook-file") {
		t.Errorf("-h: %v\n%s", err, &out)
	}
}

func TestFilesOfSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := file("token", "a-token")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-token-file", filepath.Join(dir, "none")}, "the daemon makes it at its first start"},
		{[]string{"-token-file", file("empty", "\n")}, "is empty"},
		{[]string{"-token-file", file("two", hookSecret+"\n"+hookSecret)}, "the token has characters"},
		{[]string{"-token-file", token, "-webhook-file", filepath.Join(dir, "none")}, "-webhook-file: open"},
		{[]string{"-token-file", token, "-webhook-file", file("bad", hookSecret)}, "want a URL such as"},
		{[]string{"-token-file", token, "-webhook-file", file("lines", hookURL+"\n"+hookURL)}, "want a URL such as"},
	} {
		cfg, err := monitor.Parse(c.args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = monitor.Run(t.Context(), cfg, &out, &out)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error()+out.String(), hookSecret) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}
