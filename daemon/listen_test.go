package daemon_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/daemon"
)

// hasIPv6 reports whether the machine has ::1.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func listen(t *testing.T, addr string) daemon.Listeners {
	t.Helper()
	l, err := daemon.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func addrs(l daemon.Listeners) (list []string) {
	for _, ln := range l {
		list = append(list, ln.Addr().String())
	}
	return list
}

func port(l daemon.Listeners) string { return strconv.Itoa(l[0].Addr().(*net.TCPAddr).Port) }

func TestLoopbackMeansBothFamilies(t *testing.T) {
	for _, host := range []string{"localhost", "LocalHost", "rampart.localhost", "127.0.0.1", "[::1]"} {
		l := listen(t, host+":0")
		want := []string{"127.0.0.1:" + port(l)}
		if hasIPv6() {
			want = append(want, "[::1]:"+port(l))
		}
		if got := addrs(l); !slices.Equal(got, want) {
			t.Errorf("%s listens on %v, want %v", host, got, want)
		}
		if got := l.URL(); got != "http://127.0.0.1:"+port(l) {
			t.Errorf("%s: %s", host, got)
		}
		// The same port once more, by its number.
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		again := listen(t, host+":"+port(l))
		if got := addrs(again); !slices.Equal(got, want) {
			t.Errorf("%s:%s listens on %v, want %v", host, port(l), got, want)
		}
		again.Close()
	}
}

// A program that has the port in one family would be sent the token of a client
// that says localhost.
func TestTakenPortIsNamed(t *testing.T) {
	for _, other := range []string{"127.0.0.1", "::1"} {
		t.Run(other, func(t *testing.T) {
			ln, err := net.Listen("tcp", net.JoinHostPort(other, "0"))
			if err != nil {
				t.Skip(err)
			}
			defer ln.Close()
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
				l, err := daemon.Listen(host + ":" + port)
				if err == nil {
					l.Close()
					t.Errorf("%s:%s is taken, and listens on %v", host, port, addrs(l))
				} else if text := err.Error(); !strings.Contains(text, "another program listens on "+ln.Addr().String()) || !strings.Contains(text, "choose another port") {
					t.Errorf("%s:%s: %v", host, port, err)
				}
			}
			// The socket that Listen had opened before is closed again.
			family := map[string]string{"127.0.0.1": "::1", "::1": "127.0.0.1"}[other]
			free, err := net.Listen("tcp", net.JoinHostPort(family, port))
			if err != nil {
				t.Error(err)
			} else {
				free.Close()
			}
		})
	}
}

func TestOtherAddressesListenAsTheyAre(t *testing.T) {
	l := listen(t, "0.0.0.0:0")
	if len(l) != 1 || l.URL() != "http://127.0.0.1:"+port(l) {
		t.Errorf("%v, %s", addrs(l), l.URL())
	}
	if l, err := daemon.Listen("127.0.0.2:0"); err == nil { // only Linux has this address by itself
		if len(l) != 1 || l.URL() != "http://127.0.0.2:"+port(l) {
			t.Errorf("%v, %s", addrs(l), l.URL())
		}
		l.Close()
	}
	for _, addr := range []string{"", "9090", "localhost", "localhost:none", "127.0.0.1:99999", "::1:9090"} {
		if l, err := daemon.Listen(addr); err == nil {
			t.Errorf("%q listens on %v", addr, addrs(l))
		}
	}
}
