package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/rampartlog/rampart"
)

// Tests log in with these.
const (
	Password = "a-password-of-tests"
	Key      = "a-key-of-tests"
)

// Run calls run with the passwords and the key of the tests. A heartbeat of zero
// is the stream's default.
func Run(ctx context.Context, dir, host string, heartbeat time.Duration, ln net.Listener, out, logs io.Writer) error {
	c := config{dir: dir, host: host, password: Password, key: Key, stream: rampart.StreamOptions{Heartbeat: heartbeat}}
	return run(ctx, c, ln, out, slog.New(slog.NewTextHandler(logs, nil)))
}
