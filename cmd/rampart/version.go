package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
)

func printVersion(_ context.Context, args []string, out, _ io.Writer) error {
	if err := parse(flag.NewFlagSet("version", flag.ContinueOnError), args, out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, version())
	return err
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "dev"
}
