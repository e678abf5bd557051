package daemon

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Listeners are the sockets of one address: two of a loopback address, of the
// same port, one of any other.
type Listeners []net.Listener

// Listen listens on a TCP address, HOST:PORT. A port of 0 stands for a free one.
//
// A loopback host (localhost, a name that ends in .localhost, 127.0.0.1, ::1)
// means both 127.0.0.1 and ::1, since a client that says localhost may take
// either, and must not reach another program with its token. If another program
// has one of the two, the error says which and what to do. On a machine without
// ::1, Listen listens on 127.0.0.1 alone. It listens on any other host as
// [net.Listen] does.
func Listen(addr string) (Listeners, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if !loopback(host) {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, taken(err, addr)
		}
		return Listeners{ln}, nil
	}
	// A port that is free for one family need not be free for the other.
	for try := 1; ; try++ {
		l, err := listenBoth(port)
		if err == nil || port != "0" || try == 10 {
			return l, err
		}
	}
}

func loopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip.Equal(net.IPv4(127, 0, 0, 1)) || ip.Equal(net.IPv6loopback)
}

func listenBoth(port string) (Listeners, error) {
	v4 := net.JoinHostPort("127.0.0.1", port)
	ln4, err := net.Listen("tcp4", v4)
	if err != nil {
		return nil, taken(err, v4)
	}
	// The port by its number: it may have been 0, or a name.
	v6 := net.JoinHostPort("::1", strconv.Itoa(ln4.Addr().(*net.TCPAddr).Port))
	ln6, err := net.Listen("tcp6", v6)
	switch {
	case err == nil:
		return Listeners{ln4, ln6}, nil
	case !hasIPv6Loopback():
		return Listeners{ln4}, nil
	}
	ln4.Close()
	return nil, taken(err, v6+", where clients that say localhost may reach it")
}

// hasIPv6Loopback tells a machine without ::1 from one on which the port is taken.
// Systems have no error in common for the first.
func hasIPv6Loopback() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// taken says what to do about an address that another program has.
func taken(err error, addr string) error {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows) {
		return fmt.Errorf("%w: another program listens on %s; end that one, or choose another port", err, addr)
	}
	return err
}

// URL returns the URL at which clients of this machine reach the listeners.
func (l Listeners) URL() string {
	addr := *l[0].Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		// A listener of all addresses is an IPv6 one which takes IPv4 as well.
		addr.IP = net.IPv4(127, 0, 0, 1)
	}
	return "http://" + addr.String()
}

// local reports whether only this machine can connect.
func (l Listeners) local() bool { return l[0].Addr().(*net.TCPAddr).IP.IsLoopback() }

// Close closes all of them. [Serve] does so by itself.
func (l Listeners) Close() error {
	var errs []error
	for _, ln := range l {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}
