// Package dashboard serves a page that shows what agents do, lets people answer
// what waits for them, and checks the log's proof as it watches. It speaks to
// the routes of rampart.Handler from the browser, and to nothing else:
//
//	mux.Handle("/v1/", api)
//	mux.Handle("/dashboard/", dashboard.Handler(nil))
//
// Its files are public, and hold no secret. Who opens the page signs in with a
// token, or has the host's own session.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed static/*.html static/*.css static/*.js static/*.svg
var static embed.FS

// types are the page's own: a machine may have others on record, and a browser
// takes no script of another.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// headers keep what agents wrote from running as code, the page out of foreign
// frames, and its address out of what it sends.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), " +
		"microphone=(), midi=(), payment=(), publickey-credentials-get=(), serial=(), usb=()",
	"Referrer-Policy":        "no-referrer",
	"X-Content-Type-Options": "nosniff",
	"X-Frame-Options":        "DENY",
}

// Options say where the page finds what it shows. The zero value is for a page
// beside the API: at /dashboard/ and /v1/, below whatever prefix.
type Options struct {
	// API is the path of the API's routes, relative to the page's or absolute.
	// It is of the same origin, as the page may connect to no other: to show
	// another server's log, have yours pass its API on. "../v1/" when empty.
	API string
	// HostSession is for a host whose own session, a cookie, is what
	// Auth.Authenticate goes by: the page asks for no token.
	HostSession bool
}

// Handler serves the page and its files, to GET and HEAD, for use at any path
// that ends in a slash: it looks at the last element of a request's path alone,
// so that it needs no http.StripPrefix and does not mind one. The page's own
// path without that slash is redirected to it, by a relative Location, which is
// right behind a proxy that strips a prefix as well. Anything else is 404.
//
// Every answer has a Content-Security-Policy that takes no inline script and
// nothing of another origin, and keeps the page out of frames.
//
// Handler panics if opts.API is not a path. It may be called many times.
func Handler(opts *Options) http.Handler {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.API == "" {
		o.API = "../v1/"
	}
	u, err := url.Parse(o.API)
	if err != nil || u.EscapedPath() != o.API || strings.HasPrefix(o.API, "//") {
		panic(fmt.Sprintf("dashboard: Options.API %q: want a path of the same origin, such as ../v1/ or /rampart/v1/", o.API))
	}
	o.API = strings.TrimSuffix(o.API, "/") + "/"

	h := handler{}
	entries, err := static.ReadDir("static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		content, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		if e.Name() == index {
			var page bytes.Buffer
			if err := template.Must(template.New(index).Parse(string(content))).Execute(&page, o); err != nil {
				panic(err)
			}
			content = page.Bytes()
		}
		h[e.Name()] = file{types[path.Ext(e.Name())], fmt.Sprintf(`"%x"`, sha256.Sum256(content)), content}
	}
	return h
}

const index = "index.html"

// handler is the files by name.
type handler map[string]file

type file struct {
	contentType, etag string
	content           []byte
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	for name, value := range headers {
		header.Set(name, value)
	}
	header.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	seen := r.URL
	if seen.Path == "" { // all of it was stripped
		if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
			seen = u
		}
	}
	// Escaped, so that an encoded slash ends no element, and that a name can
	// stand in a Location.
	escaped := seen.EscapedPath()
	name := escaped[strings.LastIndexByte(escaped, '/')+1:]
	if name == "" {
		name = index
	}
	f, ok := h[name]
	switch {
	case ok:
		header.Set("Content-Type", f.contentType)
		header.Set("ETag", f.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	case lacksSlash(r):
		header.Set("Location", "./"+name+"/") // ./ for a name that looks like a scheme
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		http.Error(w, "not found", http.StatusNotFound)
	}
}

// lacksSlash reports whether r, which is for no file, is for the page's own path
// without its slash. A router says so by a pattern of exactly that path; where
// it has no say, a path of one element is taken for it.
func lacksSlash(r *http.Request) bool {
	p := r.URL.Path
	return strings.HasSuffix(r.Pattern, p) ||
		strings.HasPrefix(p, r.Pattern) && strings.LastIndexByte(p, '/') == 0 && !strings.Contains(p, ".")
}
