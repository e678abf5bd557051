package guard

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/rampartlog/rampart/internal/httpio"
)

// origins keeps foreign web pages out: pages that reach a loopback address
// under a name of their own (DNS rebinding), and pages that make a browser send
// what its user did not ask for.
type origins struct {
	hosts   []string
	trusted []string
	cross   *http.CrossOriginProtection
}

func newOrigins(hosts, trusted []string) (origins, error) {
	o := origins{cross: http.NewCrossOriginProtection()}
	for _, h := range hosts {
		o.hosts = append(o.hosts, strings.ToLower(h))
	}
	for _, t := range trusted {
		t = strings.ToLower(t) // as browsers send it
		if err := o.cross.AddTrustedOrigin(t); err != nil {
			return o, err
		}
		o.trusted = append(o.trusted, t)
	}
	return o, nil
}

// Check refuses r if it comes from a foreign web page. The error is a
// [*httpio.Error].
func (g *Guard) Check(r *http.Request) error {
	o := &g.origins
	if arrivedOnLoopback(r) && !o.known(r.Host) {
		return &httpio.Error{Code: http.StatusForbidden, Msg: "this Host is not allowed here; use a loopback name, or allow the host by name"}
	}
	if err := o.cross.Check(r); err != nil {
		return &httpio.Error{Code: http.StatusForbidden, Msg: "cross-origin request refused; allow the origin by name"}
	}
	return nil
}

func arrivedOnLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

func (o *origins) known(hostport string) bool {
	hostport = strings.ToLower(hostport)
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(host, ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && ip.IsLoopback() {
		return true
	}
	return slices.Contains(o.hosts, host) || slices.Contains(o.hosts, hostport)
}

// CORS sets the CORS headers if r comes from an origin that is allowed. It
// reports whether they are the whole answer, because r is a preflight.
func (g *Guard) CORS(w http.ResponseWriter, r *http.Request) (answered bool) {
	origin := r.Header.Get("Origin")
	if !slices.Contains(g.origins.trusted, origin) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin") // middleware may have said more
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
	w.WriteHeader(http.StatusNoContent)
	return true
}
