package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/rampartlog/rampart"
)

// What tests log in with.
const (
	Password = "a-password-of-tests"
	Key      = "a-key-of-tests"
)

// Run is run, with the passwords and the key of the tests. The stream's
// heartbeat is the default when it is zero.
func Run(ctx context.Context, dir, host string, heartbeat time.Duration, ln net.Listener, out, logs io.Writer) error {
	c := config{dir: dir, host: host, password: Password, key: Key, stream: rampart.StreamOptions{Heartbeat: heartbeat}}
	return run(ctx, c, ln, out, slog.New(slog.NewTextHandler(logs, nil)))
}
