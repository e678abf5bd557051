package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
)

// verify checks the log of a directory, be it in use, closed or a copy, and
// prints what it found. It changes nothing.
func verify(ctx context.Context, args []string, out, _ io.Writer) error {
	var dir string
	var anchors []rampart.Anchor
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.StringVar(&dir, "dir", daemon.Directory, "`directory` of a log, or one that has it in audit/")
	flags.Func("anchor", "a `position` of the stream (ID.HASH) noted down earlier, which must be on the log; repeatable", func(s string) error {
		id, hash, _ := strings.Cut(s, ".")
		anchors = append(anchors, rampart.Anchor{ID: id, Hash: hash})
		return nil
	})
	if err := parse(flags, args, out); err != nil {
		return err
	}
	if dir == "" {
		return wrong(flags, errors.New("-dir: empty"))
	}
	dir, err := daemon.Dir(dir)
	if err != nil {
		return err
	}
	if dir, err = logIn(dir); err != nil {
		return fmt.Errorf("-dir %w", err)
	}
	report, err := rampart.VerifyChain(ctx, os.DirFS(dir), anchors...)
	switch {
	case errors.Is(err, rampart.ErrInvalid): // of an anchor; nothing was read
		return wrong(flags, fmt.Errorf("-anchor: %w", err))
	case err != nil:
		return err
	}
	fmt.Fprintf(out, "%s: %d events", report.Verdict, report.Events)
	if report.Events > 0 {
		fmt.Fprintf(out, ", from %s to %s\nhead: %s", report.FirstID, report.LastID, report.HeadHash)
	}
	fmt.Fprintln(out)
	if report.OK() {
		return nil
	}
	why := "the log is not whole: "
	if report.Verdict == rampart.VerdictPruned {
		why = "the log is whole, and an anchor is older than what it holds: "
	}
	return errors.New(why + strings.TrimPrefix(report.Fault.Error(), "rampart: "))
}

// logIn returns the directory of the log in dir: audit/ if dir is a daemon's, dir
// itself if it is another program's.
func logIn(dir string) (string, error) {
	audit := filepath.Join(dir, "audit")
	switch _, err := os.Stat(audit); {
	case err == nil:
		return audit, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if found, err := fs.Glob(os.DirFS(dir), "*.jsonl"); err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s: there is no log in it, nor in audit/ below it", dir)
	}
	return dir, nil
}
