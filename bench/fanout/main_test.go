//go:build linux

package fanout

import (
	"os"
	"testing"

	"github.com/rampartlog/rampart/bench/child"
)

func TestMain(m *testing.M) {
	Register()
	child.Main() // tests start this program again as their child processes
	os.Exit(m.Run())
}
