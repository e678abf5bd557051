//go:build linux

package fanout

import (
	"os"
	"testing"

	"github.com/rampartlog/rampart/bench/child"
)

func TestMain(m *testing.M) {
	Register()
	child.Main() // the processes that a test starts are this program again
	os.Exit(m.Run())
}
