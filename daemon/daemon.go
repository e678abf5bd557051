// Package daemon has what every program that serves Rampart on a machine would
// otherwise write again, and lets a client on the same machine find that program.
//
// A daemon has a directory, [Directory] unless told otherwise:
//
//	token    the admin's token, made by AdminToken at the first start
//	audit/   the log, as rampart.Open takes it
//	url      where the daemon listens while it runs, written by Serve
//
// All of them are for their owner alone. [Listen] opens a loopback port in both
// of its families, [Serve] serves on it and ends in the right order, and [Find]
// gives a client the URL and the token.
package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	Address   = "127.0.0.1:9090" // where a daemon listens unless told otherwise
	Directory = "~/.rampart"     // where it keeps its token and its log
)

// Dir returns the path of a daemon's directory: that of [Directory] when dir is
// empty. A ~ alone or before a slash stands for the home directory, since a shell
// leaves the tilde of -dir=~/x as it is. An error says that there is no home
// directory.
func Dir(dir string) (string, error) {
	if dir == "" {
		dir = Directory
	}
	rest, ok := strings.CutPrefix(dir, "~")
	if !ok || rest != "" && rest[0] != '/' {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	return filepath.Join(home, rest), nil
}

func tokenPath(dir string) string { return filepath.Join(dir, "token") }
func urlPath(dir string) string   { return filepath.Join(dir, "url") }
