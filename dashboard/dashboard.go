// Package dashboard serves a page that shows what agents do, lets people answer
// pending approvals, and checks the hashes and links of the events that it
// receives. From the browser the page calls the routes of rampart.Handler, and
// nothing else:
//
//	mux.Handle("/v1/", api)
//	mux.Handle("/dashboard/", dashboard.Handler(nil))
//
// The page's files are public and hold no secret. A person signs in on the page
// with a token, or has the host's own session.
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

// types are fixed here, because the table of a machine may differ, and a browser
// runs no script of a wrong type.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// headers keep text that agents wrote from running as code, keep other sites from
// framing the page, and keep the page's address out of requests.
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

// Options say where the page finds its API and how people sign in. The zero value
// fits a page beside the API: /dashboard/ and /v1/ below the same prefix.
type Options struct {
	// API is the path of the API's routes, relative to the page's path or absolute;
	// "../v1/" if empty. The page may connect only to its own origin: to show
	// another server's log, proxy that server's API.
	API string
	// HostSession is for a host whose Auth.Authenticate accepts the host's own
	// session, a cookie. The page then asks for no token.
	HostSession bool
}

// Handler serves the page and its files to GET and HEAD, at any path that ends
// in a slash. It looks only at the last element of a request's path, so it works
// with and without http.StripPrefix. It redirects the page's path without the
// slash to the one with it, by a relative Location, which also works behind a
// proxy that strips a prefix. Anything else is 404.
//
// Every answer has a Content-Security-Policy that allows no inline script,
// nothing from another origin, and no framing.
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

// Redirect answers the path / of a server whose page is at /dashboard/: GET and
// HEAD with a redirect there. The Location is relative, unlike that of
// http.Redirect, so that it also works behind a proxy that strips a prefix.
func Redirect(w http.ResponseWriter, r *http.Request) {
	if allowed(w, r) {
		w.Header().Set("Location", "./dashboard/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// allowed refuses a request that is neither GET nor HEAD.
func allowed(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}

const index = "index.html"

// handler maps names to files.
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
	if !allowed(w, r) {
		return
	}
	seen := r.URL
	if seen.Path == "" { // http.StripPrefix removed all of it
		if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
			seen = u
		}
	}
	// The escaped path: an encoded slash must not end an element, and the name goes
	// into Location.
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
		header.Set("Location", "./"+name+"/") // with ./ a name such as "javascript:x" is no scheme
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		http.Error(w, "not found", http.StatusNotFound)
	}
}

// lacksSlash reports whether r, which names no file, asks for the page's own path
// without its slash. It does if a router's pattern is exactly that path. Without a
// pattern that tells, a path of one element counts.
func lacksSlash(r *http.Request) bool {
	p := r.URL.Path
	return strings.HasSuffix(r.Pattern, p) ||
		strings.HasPrefix(p, r.Pattern) && strings.LastIndexByte(p, '/') == 0 && !strings.Contains(p, ".")
}
