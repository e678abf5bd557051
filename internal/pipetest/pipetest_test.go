package pipetest_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/rampartlog/rampart/internal/pipetest"
)

func TestListener(t *testing.T) {
	l := pipetest.Listen(pipetest.Addr("127.0.0.1:9090"))
	if l.Addr().String() != "127.0.0.1:9090" || l.Addr().Network() != "pipe" {
		t.Errorf("at %v", l.Addr())
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		c.Write([]byte("x"))
		c.Close()
	}()
	c, err := l.Dial(t.Context(), "tcp", "anywhere")
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil || b[0] != 'x' {
		t.Errorf("read %q, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Dial(ctx, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("dialled without time: %v", err)
	}
	l.Close()
	l.Close()
	if _, err := l.Dial(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialled a closed listener: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener accepts: %v", err)
	}
}
