package guard_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHost(t *testing.T) {
	c := config()
	c.AllowHosts = []string{"Rampart.example", "other.example:8443"}
	g := newGuard(t, c)
	check := func(ip net.IP, host string) int {
		r := on(ip, get("/"))
		r.Host = host
		return code(t, g.Check(r))
	}
	for host, want := range map[string]int{
		"localhost": 200, "localhost:9090": 200, "LOCALHOST.:1": 200, "app.localhost:9090": 200,
		"127.0.0.1": 200, "127.9.9.9:80": 200, "[::1]": 200, "[::1]:9090": 200,
		"rampart.example": 200, "rampart.example:1234": 200, "other.example:8443": 200, "other.example:8444": 403,
		"": 403, "evil.example": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403,
		"evillocalhost": 403, "192.168.0.1:9090": 403, "0.0.0.0:9090": 403, "[::1].evil.example": 403,
	} {
		if got := check(net.IPv4(127, 0, 0, 1), host); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
	if got := check(net.IPv6loopback, "evil.example"); got != 403 {
		t.Errorf("a foreign Host on ::1: %d", got)
	}
	if got := check(net.IPv4(10, 0, 0, 5), "rampart.corp.example"); got != 200 {
		t.Errorf("any Host on another address: %d", got)
	}
	if got := code(t, g.Check(get("http://evil.example/"))); got != 200 {
		t.Errorf("any Host where the address is not known: %d", got)
	}
}

// A compressor around the handler has said that its answers vary, too.
func TestVaryOfMiddlewareIsKept(t *testing.T) {
	c := config()
	c.AllowOrigins = []string{"https://Board.example"}
	g := newGuard(t, c)
	rec := httptest.NewRecorder()
	rec.Header().Add("Vary", "Accept-Encoding")
	if g.CORS(rec, get("/", "Origin", "https://board.example")) {
		t.Error("a GET was answered")
	}
	want := http.Header{"Access-Control-Allow-Origin": {"https://board.example"}, "Vary": {"Accept-Encoding", "Origin"}}
	if diff := cmp.Diff(want, rec.Header()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
