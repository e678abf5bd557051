// Rampart is the daemon, with the verbs for its log.
//
//	rampart serve     the log, the API of docs/api.md and docs/stream.md, the
//	                  dashboard and Prometheus' metrics on one address
//	rampart verify    checks a log
//	rampart version   prints the version
//
// It holds flags and wiring; everything else is the library's. Each file is one
// verb, or a part of serve.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// A verb runs until it is done or ctx is. It prints what it was asked for to out,
// and logs to logs.
type verb struct {
	name string
	does string
	run  func(ctx context.Context, args []string, out, logs io.Writer) error
}

var verbs = []verb{
	{"serve", "run the daemon: log, API, dashboard and metrics on one address", serve},
	{"verify", "check a log, also that of a running daemon", verify},
	{"version", "print the version", printVersion},
}

// errUsage is a command line that makes no sense.
type errUsage struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C kills at once.
	context.AfterFunc(ctx, stop)

	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.As(err, new(errUsage)):
		fmt.Fprintln(os.Stderr, "rampart:", err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "rampart:", strings.TrimPrefix(err.Error(), "rampart: "))
	os.Exit(1)
}

// run runs the verb that args begin with.
func run(ctx context.Context, args []string, out, logs io.Writer) error {
	if len(args) == 0 {
		usage(logs)
		return errUsage{errors.New("a verb is missing: rampart serve starts the daemon")}
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(args) == 0 {
			usage(out)
			return nil
		}
		name, args = args[0], []string{"-h"} // rampart help serve
	case "-version", "--version":
		name = "version"
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == name })
	switch {
	case i >= 0:
		return verbs[i].run(ctx, args, out, logs)
	case strings.HasPrefix(name, "-"):
		return errUsage{fmt.Errorf("flags come after a verb, as in rampart serve %s; rampart help lists the verbs", name)}
	}
	return errUsage{fmt.Errorf("unknown verb %q; the verbs are serve, verify, version and help", name)}
}

func usage(out io.Writer) {
	fmt.Fprint(out, "Rampart puts the tool calls of AI agents on record, shows them live, and holds the\ndangerous ones until a person says yes.\n\n")
	for _, v := range verbs {
		fmt.Fprintf(out, "  rampart %-8s  %s\n", v.name, v.does)
	}
	fmt.Fprint(out, "\nrampart help VERB lists the flags of one.\n")
}

// parse reads a verb's flags, and prints the flags to out when asked for help. A
// verb takes nothing but flags.
func parse(fs *flag.FlagSet, args []string, out io.Writer) error {
	fs.SetOutput(io.Discard) // flag would print the usage after the fault and push it out of sight
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out, "Usage: rampart %s [flags]\n\n", fs.Name())
		fs.SetOutput(out)
		fs.PrintDefaults()
		return err
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: every option is a flag", fs.Arg(0))
	}
	if err != nil {
		return wrong(fs, err)
	}
	return nil
}

// wrong makes err a usage error of the verb.
func wrong(fs *flag.FlagSet, err error) error {
	return errUsage{fmt.Errorf("%w (rampart help %s lists the flags)", err, fs.Name())}
}
