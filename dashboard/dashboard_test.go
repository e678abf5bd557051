package dashboard_test

import (
	"crypto/sha256"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/dashboard"
)

func Example() {
	r, err := rampart.Open("audit", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	auth := &rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")}
	mux := http.NewServeMux()
	mux.Handle("/v1/", r.Handler(auth))
	mux.Handle("/dashboard/", dashboard.Handler(nil))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", mux))
}

// get sends h a request for target, and does not follow a redirect.
func get(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "/", nil)
	req.URL = &url.URL{Path: target}
	if u, err := url.ParseRequestURI(target); err == nil {
		req.URL, req.RequestURI = u, target
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

var apiOfPage = regexp.MustCompile(`name="rampart-api" content="([^"]*)"`)

// However the page is mounted, a browser finds the page's files and its API
// relative to the address at which it arrives.
func TestMounts(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the API's "+r.URL.Path) })
	page := dashboard.Handler(nil)
	mux := func(pairs ...any) http.Handler {
		m := http.NewServeMux()
		m.Handle("/v1/", api)
		for i := 0; i < len(pairs); i += 2 {
			m.Handle(pairs[i].(string), pairs[i+1].(http.Handler))
		}
		return m
	}
	stripped := http.StripPrefix("/dashboard", page)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			api.ServeHTTP(w, r)
			return
		}
		page.ServeHTTP(w, r)
	})
	for name, c := range map[string]struct {
		h        http.Handler
		from, to string
		missing  string // a path, from the page's, that is 404
	}{
		"a mux":                             {mux("/dashboard/", page), "/dashboard/", "/dashboard/", "nothing"},
		"its index":                         {mux("/dashboard/", page), "/dashboard/index.html", "/dashboard/index.html", "nothing"},
		"a mux, both paths":                 {mux("/dashboard/", page, "/dashboard", page), "/dashboard", "/dashboard/", "nothing"},
		"a mux, with a method":              {mux("GET /dashboard/", page, "GET /dashboard", page), "/dashboard", "/dashboard/", "nothing"},
		"StripPrefix":                       {mux("/dashboard/", stripped), "/dashboard/", "/dashboard/", "nothing"},
		"StripPrefix, both paths":           {mux("/dashboard/", stripped, "/dashboard", stripped), "/dashboard", "/dashboard/", "nothing"},
		"StripPrefix that takes the slash":  {mux("/dashboard/", http.StripPrefix("/dashboard/", page)), "/dashboard/", "/dashboard/", "nothing"},
		"deeper":                            {mux("/a/b/", dashboard.Handler(&dashboard.Options{API: "../../v1"})), "/a/b/", "/a/b/", "nothing"},
		"deeper, both paths":                {mux("/a/b/", dashboard.Handler(&dashboard.Options{API: "../../v1/"}), "/a/b", page), "/a/b", "/a/b/", "nothing"},
		"no router":                         {bare, "/dashboard", "/dashboard/", "nothing"},
		"a mux that leaves all to a router": {mux("/", bare), "/dashboard", "/dashboard/", "nothing"},
		"at the root":                       {mux("/", dashboard.Handler(&dashboard.Options{API: "v1/"})), "/", "/", "nothing.js"},
	} {
		t.Run(name, func(t *testing.T) {
			host := httptest.NewServer(c.h)
			defer host.Close()
			at, err := url.Parse(host.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httptest.NewServer(http.StripPrefix("/some/prefix", httputil.NewSingleHostReverseProxy(at)))
			defer proxy.Close()
			for _, base := range []string{host.URL, proxy.URL + "/some/prefix"} {
				read := func(target string, status int) (*http.Response, string) {
					t.Helper()
					resp, err := http.Get(target)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != status {
						t.Errorf("%s: %s, %v", target, resp.Status, err)
					}
					return resp, string(body)
				}
				resp, body := read(base+c.from, 200)
				arrived := resp.Request.URL
				if arrived.String() != base+c.to || !strings.Contains(body, "main.js") {
					t.Errorf("%s leads to %s:\n%s", base+c.from, arrived, body)
				}
				from := func(reference string) string {
					u, err := arrived.Parse(reference)
					if err != nil {
						t.Fatal(err)
					}
					return u.String()
				}
				if resp, _ := read(from("main.js"), 200); resp.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
					t.Errorf("main.js: %v", resp.Header)
				}
				read(from(c.missing), 404)
				if m := apiOfPage.FindStringSubmatch(body); m == nil {
					t.Errorf("the page has no API:\n%s", body)
				} else if _, said := read(from(html.UnescapeString(m[1])+"status"), 200); said != "the API's /v1/status" {
					t.Errorf("%s: %s", m[1], said)
				}
			}
		})
	}
}

// Nothing in a path sends a browser to another host, or beyond the embedded files.
func TestHostilePaths(t *testing.T) {
	h := dashboard.Handler(nil)
	for target, want := range map[string]struct {
		status   int
		location string
	}{
		"/dashboard":                     {307, "./dashboard/"},
		"/dashboard?token=x":             {307, "./dashboard/"}, // the query is not passed on
		"/dash%20board":                  {307, "./dash%20board/"},
		"/%5Cevil":                       {307, "./%5Cevil/"},
		`/\evil`:                         {307, "./%5Cevil/"},
		"/javascript:alert(1)":           {307, "./javascript:alert(1)/"}, // behind ./ it is no scheme
		"/%0d%0aSet-Cookie:a=b":          {307, "./%0d%0aSet-Cookie:a=b/"},
		"http://evil/dashboard":          {307, "./dashboard/"},
		"//evil":                         {404, ""},
		"//evil.example":                 {404, ""},
		"///evil":                        {404, ""},
		"/%2Fevil":                       {404, ""},
		"/evil.example":                  {404, ""},
		"/..":                            {404, ""},
		"/%2e%2e":                        {404, ""},
		"/dashboard/..%2f":               {404, ""},
		"/dashboard/..%2fdashboard.go":   {404, ""},
		"/dashboard/../dashboard.go":     {404, ""},
		`/dashboard/..\dashboard.go`:     {404, ""},
		"/dashboard/static%2findex.html": {404, ""},
		"/dashboard/nothing":             {404, ""},
		"/dashboard/Main.js":             {404, ""},
		"/dashboard/main.js%00":          {404, ""},
		"/dashboard/dashboard.go":        {404, ""},
		"//evil/":                        {200, ""},
		"/dashboard/main.js":             {200, ""},
	} {
		rec := get(h, "GET", target)
		if rec.Code != want.status || rec.Header().Get("Location") != want.location {
			t.Errorf("%s: %d, Location %q; want %d, %q", target, rec.Code, rec.Header().Get("Location"), want.status, want.location)
		}
		for _, start := range []string{"http://host/dashboard", "http://host/some/prefix/dashboard"} {
			from, _ := url.Parse(start)
			if to, err := from.Parse(rec.Header().Get("Location")); err != nil || to.Host != "host" || to.Scheme != "http" {
				t.Errorf("%s: sent to %v, %v", target, to, err)
			}
		}
	}
}

// Every answer, also an error, forbids foreign scripts and framing, whatever
// headers the host's middleware has set for its own pages.
func TestHeaders(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "script-src *")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		dashboard.Handler(nil).ServeHTTP(w, r)
	})
	for _, c := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/dashboard/", 200, ""},
		{"HEAD", "/dashboard/", 200, ""},
		{"GET", "/dashboard/style.css", 200, ""},
		{"GET", "/dashboard", 307, ""},
		{"GET", "/dashboard/nothing", 404, ""},
		{"POST", "/dashboard/", 405, "GET, HEAD"},
		{"OPTIONS", "/dashboard/main.js", 405, "GET, HEAD"},
		{"PUT", "/dashboard/nothing", 405, "GET, HEAD"},
	} {
		rec := get(h, c.method, c.target)
		got := rec.Header()
		if rec.Code != c.status || got.Get("Allow") != c.allow || c.method == "HEAD" && rec.Body.Len() > 0 {
			t.Errorf("%s %s: %d, %v, %d bytes", c.method, c.target, rec.Code, got, rec.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-cache",
		} {
			if strings.Join(got.Values(name), "|") != want {
				t.Errorf("%s %s: %s: %q, want %q", c.method, c.target, name, got.Values(name), want)
			}
		}
		if got.Get("Permissions-Policy") == "" || got.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %v", c.method, c.target, got)
		}
	}
}

// Every file is served unchanged, with the type that a browser needs; a browser
// that has the current version gets 304.
func TestFiles(t *testing.T) {
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	h := dashboard.Handler(nil)
	for name, text := range files(t) {
		rec := get(h, "GET", "/dashboard/"+name)
		if got := rec.Header().Get("Content-Type"); rec.Code != 200 || got == "" || got != types[path.Ext(name)] {
			t.Errorf("%s: %d, Content-Type %q", name, rec.Code, got)
		}
		if name != "index.html" && rec.Body.String() != text {
			t.Errorf("%s is not as it is", name)
		}
		etag := fmt.Sprintf(`"%x"`, sha256.Sum256(rec.Body.Bytes()))
		if got := rec.Header().Get("ETag"); got != etag {
			t.Errorf("%s: ETag %s, want %s", name, got, etag)
		}
		if rec := get(h, "GET", "/dashboard/"+name, "If-None-Match", etag); rec.Code != 304 || rec.Body.Len() > 0 {
			t.Errorf("%s, unchanged: %d, %d bytes", name, rec.Code, rec.Body.Len())
		}
		if rec := get(h, "GET", "/dashboard/"+name, "If-None-Match", `"x"`); rec.Code != 200 {
			t.Errorf("%s, changed: %d", name, rec.Code)
		}
	}
	page, index := get(h, "GET", "/dashboard/"), get(h, "GET", "/dashboard/index.html")
	if page.Body.String() != index.Body.String() || page.Header().Get("ETag") != index.Header().Get("ETag") {
		t.Error("the page is not its index")
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		options     *dashboard.Options
		api, signIn string
	}{
		{nil, "../v1/", "token"},
		{&dashboard.Options{}, "../v1/", "token"},
		{&dashboard.Options{API: "/rampart/v1", HostSession: true}, "/rampart/v1/", "host"},
		{&dashboard.Options{API: "/"}, "/", "token"},
		{&dashboard.Options{API: "/a+b&c'd/"}, "/a+b&c'd/", "token"},
	} {
		text := get(dashboard.Handler(c.options), "GET", "/").Body.String()
		m := apiOfPage.FindStringSubmatch(text)
		if m == nil || html.UnescapeString(m[1]) != c.api || !strings.Contains(text, `name="rampart-sign-in" content="`+c.signIn+`"`) {
			t.Errorf("%+v:\n%s", c.options, text)
		}
	}
	options := dashboard.Options{API: "/a/"}
	h := dashboard.Handler(&options)
	options.API = "/b/"
	if text := get(h, "GET", "/").Body.String(); !strings.Contains(text, `content="/a/"`) {
		t.Errorf("changed behind its back:\n%s", text)
	}
	for _, api := range []string{
		"https://other.example/v1/", "//other.example/v1/", "///other.example/v1/", `/\other.example/v1/`, `\\other.example/v1/`,
		"/\t/other.example/v1/", " //other.example/v1/", "http:v1/", "javascript:alert(1)", "data:,", "/v1/?x=y", "/v1/#x", `"><script>`, ":", "%zz",
	} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.HasPrefix(said, "dashboard: Options.API ") {
					t.Errorf("API %q: %s", api, said)
				}
			}()
			dashboard.Handler(&dashboard.Options{API: api})
		}()
	}
}
