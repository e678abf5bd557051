package main_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestVerbs wants every command line to work, or to be answered with one that does.
func TestVerbs(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		prints, faults string // on standard output, on standard error
	}{
		{[]string{"help"}, 0, "rampart serve ", ""},
		{[]string{"-h"}, 0, "rampart verify ", ""},
		{[]string{"--help"}, 0, "rampart version ", ""},
		{[]string{"help", "serve"}, 0, "-agent-token-file file", ""},
		{[]string{"serve", "-h"}, 0, "Usage: rampart serve [flags]", ""},
		{[]string{"verify", "--help"}, 0, "-anchor position", ""},
		{[]string{"version"}, 0, "v", ""},
		{[]string{"-version"}, 0, "v", ""},
		{[]string{"--version"}, 0, "v", ""},

		{nil, 2, "", "a verb is missing: rampart serve starts the daemon"},
		{[]string{"server"}, 2, "", `unknown verb "server"; the verbs are serve, verify, version and help`},
		{[]string{"help", "me"}, 2, "", `unknown verb "me"; the verbs are`},
		{[]string{"-addr", "127.0.0.1:1"}, 2, "", "as in rampart serve -addr"},
		{[]string{"-verify"}, 2, "", "rampart help lists the verbs"},
		{[]string{"version", "now"}, 2, "", `unexpected argument "now"`},
		{[]string{"verify", "/tmp"}, 2, "", `unexpected argument "/tmp"`},
		{[]string{"verify", "-dir", ""}, 2, "", "-dir: empty"},
		{[]string{"serve", "-verify"}, 2, "", "-verify (rampart help serve lists the flags)"},
		{[]string{"verify", "-dir", "/nowhere"}, 1, "", "rampart: -dir /nowhere: there is no log in it"},
	} {
		var out, faults bytes.Buffer
		cmd := exec.Command(binary, c.args...)
		cmd.Stdout, cmd.Stderr = &out, &faults
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(out.String(), c.prints) || !strings.Contains(faults.String(), c.faults) {
			t.Errorf("rampart %q: code %d, want %d; it prints\n%s%s", c.args, got, c.code, &out, &faults)
		}
		if (out.Len() > 0) != (c.code == 0) || (faults.Len() > 0) != (c.code != 0) {
			t.Errorf("rampart %q prints to the wrong one: output\n%sfaults\n%s", c.args, &out, &faults)
		}
	}
}
