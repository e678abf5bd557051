package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampartlog/rampart"
)

// verifyLog checks the log of a directory, be it in use, closed or a copy, and
// prints what it found. It changes nothing.
func verifyLog(ctx context.Context, c config, out io.Writer) error {
	dir := filepath.Join(c.dir, "audit")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// The log of a program that is not this daemon has no such directory around it.
		if dir = c.dir; !hasSegments(dir) {
			return fmt.Errorf("-dir %s: there is no log in it, nor in audit/ below it", dir)
		}
	} else if err != nil {
		return err
	}
	report, err := rampart.VerifyChain(ctx, os.DirFS(dir), c.anchors...)
	if err != nil {
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

func hasSegments(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	return err == nil && len(found) > 0
}
