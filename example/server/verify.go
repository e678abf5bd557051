package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampartlog/rampart"
)

// verifyLog checks the log of a directory, be it in use, closed or a copy, and
// prints what it found. It changes nothing.
func verifyLog(ctx context.Context, c config, out io.Writer) error {
	dir := filepath.Join(c.dir, "audit")
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	report, err := rampart.VerifyChain(ctx, os.DirFS(dir), c.anchors...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d events, from %s to %s\nhead: %s\n", report.Verdict, report.Events, report.FirstID, report.LastID, report.HeadHash)
	if report.OK() {
		return nil
	}
	why := "the log is not whole: "
	if report.Verdict == rampart.VerdictPruned {
		why = "the log is whole, and an anchor is older than what it holds: "
	}
	return errors.New(why + strings.TrimPrefix(report.Fault.Error(), "rampart: "))
}
