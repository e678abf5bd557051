// Monitor follows a Rampart daemon and tells of what was denied, what waits for
// approval and what became of it: a line each, and a post to a webhook.
//
//	go run ./example/monitor
//	go run ./example/monitor -webhook-file ~/.rampart/slack -state ~/.rampart/monitor.json
//
// With -state FILE nothing is missed while the monitor, the daemon or the webhook
// is down. Every alert is told at least once: the position in FILE moves on only
// behind what was printed and, with a webhook, what that has accepted or refused.
// After a crash the last alert, or what was not posted yet, comes again; after
// SIGINT or SIGTERM only what could not be posted within five seconds.
//
// The webhook gets Slack's {"text": …}, and beside it "alerts", the same for
// programs. There is a post a second at most: what gathers meanwhile goes into
// the next, and 500 alerts wait for a webhook that is down. Those beyond are
// printed, and their number is posted. The text is one block of code, in which
// nothing that an agent wrote can mention, link or format.
//
// A log that is not what it was is the loudest alert: rewritten, cut, replaced,
// or damaged so that the daemon can't read it. The monitor then reads what it can
// of what it has not seen, and goes on with what comes.
//
// Exit codes: 0 after SIGINT or SIGTERM; 1 when it can't go on, or alerts were
// left unposted; 2 for a wrong command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C kills at once.
	context.AfterFunc(ctx, stop)

	c, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(ctx, c, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "monitor:", visible(strings.TrimPrefix(err.Error(), "rampart: ")))
		os.Exit(1)
	}
}
