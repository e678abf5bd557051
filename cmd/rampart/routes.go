package main

import (
	"net/http"
	"strings"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/dashboard"
)

func routes(r *rampart.Rampart, auth *rampart.Auth) http.Handler {
	api, metrics := r.Handler(auth), auth.Require(rampart.ScopeAdmin, newMetrics(r))
	page, home := auth.RefuseForeign(dashboard.Handler(nil)), auth.RefuseForeign(http.HandlerFunc(toDashboard))
	// Not a ServeMux: one would redirect //healthz before anybody looked at its Host.
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch path := req.URL.Path; {
		case path == "/":
			home.ServeHTTP(w, req)
		case path == "/dashboard", strings.HasPrefix(path, "/dashboard/"):
			page.ServeHTTP(w, req)
		case path == "/metrics":
			metrics.ServeHTTP(w, req)
		default:
			api.ServeHTTP(w, req)
		}
	})
}

// toDashboard redirects to a relative path, since a proxy may have stripped a
// prefix: http.Redirect would make the path absolute.
func toDashboard(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Location", "./dashboard/")
	w.WriteHeader(http.StatusTemporaryRedirect)
}
