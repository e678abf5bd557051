package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestDashboard goes to the page as a browser does, without a token, also behind
// a proxy that strips a prefix.
func TestDashboard(t *testing.T) {
	d := start(t)
	at, err := url.Parse(d.base)
	if err != nil {
		t.Fatal(err)
	}
	passOn := httputil.NewSingleHostReverseProxy(at)
	proxy := httptest.NewServer(http.StripPrefix("/some/prefix", passOn))
	defer proxy.Close()
	for _, base := range []string{d.base, proxy.URL + "/some/prefix"} {
		for _, from := range []string{"/", "/dashboard", "/dashboard/", "/dashboard/index.html"} {
			page, text := d.visit(base + from)
			want := strings.TrimSuffix(from, "/")
			if from != "/dashboard/index.html" {
				want = "/dashboard/"
			}
			if page.StatusCode != http.StatusOK || page.Request.URL.String() != base+want || !strings.Contains(text, `src="main.js"`) {
				t.Errorf("%s leads to %s, %s:\n%s", base+from, page.Request.URL, page.Status, text)
			}
			if h := page.Header.Get("Content-Security-Policy"); !strings.Contains(h, "script-src 'self';") {
				t.Errorf("%s: Content-Security-Policy %q", page.Request.URL, h)
			}
			for reference, status := range map[string]int{"main.js": 200, "style.css": 200, "nothing": 404, "../v1/status": 401, "../healthz": 200} {
				u, err := page.Request.URL.Parse(reference)
				if err != nil {
					t.Fatal(err)
				}
				if got, text := d.visit(u.String()); got.StatusCode != status {
					t.Errorf("%s: %s: %s", u, got.Status, text)
				}
			}
		}
	}
}

// visit gets a page, and follows redirects.
func (d *daemon) visit(target string) (*http.Response, string) {
	d.t.Helper()
	resp, err := httpClient.Get(target)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp, string(body)
}

func TestDashboardTakesGETAndHEAD(t *testing.T) {
	d := start(t)
	stays := *httpClient
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, status := range map[string]int{"/": 307, "/dashboard": 307, "/dashboard/": 200, "/dashboard/main.js": 200} {
		for method, status := range map[string]int{"GET": status, "HEAD": status, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405} {
			got, err := stays.Do(d.request("", method, path, ""))
			if err != nil {
				t.Fatal(err)
			}
			got.Body.Close()
			location, allow := "", ""
			if status == 307 {
				location = "./dashboard/"
			} else if status == 405 {
				allow = "GET, HEAD"
			}
			if got.StatusCode != status || got.Header.Get("Location") != location || got.Header.Get("Allow") != allow {
				t.Errorf("%s %s: %s, %v", method, path, got.Status, got.Header)
			}
		}
	}
}

// TestGreetingOpensTheDashboard goes where the daemon says that the page is.
func TestGreetingOpensTheDashboard(t *testing.T) {
	d := start(t)
	said := d.out.waitFor(t, `(?m)^Open (http://\S+) and paste the admin token, which is in (.+)\. Or`)
	if page, text := d.visit(said[1]); page.StatusCode != http.StatusOK || page.Request.URL.String() != said[1] || !strings.Contains(text, "<title>Rampart") {
		t.Errorf("%s: %s\n%s", said[1], page.Status, text)
	}
	if token := strings.TrimSpace(string(readFile(t, said[2]))); token != d.token || said[2] != filepath.Join(d.dir, "token") {
		t.Errorf("%s is not the token's file", said[2])
	}
}
