// Monitor follows a Rampart daemon. It prints an alert for each call that was
// denied, for each that waits for approval and for each answer, and posts alerts
// to a webhook.
//
//	go run ./example/monitor
//	go run ./example/monitor -webhook-file ~/.rampart/slack -state ~/.rampart/monitor.json
//
// With -state FILE no alert is lost while the monitor, the daemon or the webhook
// is down, and each is given at least once: the position in FILE moves past an
// event only after its alert was printed and, with a webhook, after the webhook
// accepted or refused it. After a crash the last alert comes again, and so do the
// alerts that were not posted yet; after SIGINT or SIGTERM only alerts that could
// not be posted within five seconds.
//
// A post has the text in Slack's form, {"text": …}, and the same alerts for
// programs in "alerts". There is one post a second at most; alerts that come
// meanwhile go into the next. Up to 500 wait for a webhook that is down. Further
// alerts are printed only, and their number is posted. The text is one block of
// code, in which nothing that an agent wrote can mention, link or format.
//
// The loudest alert is that the log is not what it was: rewritten, cut off,
// replaced, or damaged so that the daemon can't read it. The monitor then reads
// as much as it can of the events that it has not seen, and goes on with new
// ones.
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
