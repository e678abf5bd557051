package main

import (
	"net/http"
	"strings"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/dashboard"
)

func routes(r *rampart.Rampart, auth *rampart.Auth) http.Handler {
	api, metrics := r.Handler(auth), auth.Require(rampart.ScopeAdmin, newMetrics(r))
	page, home := auth.RefuseForeign(dashboard.Handler(nil)), auth.RefuseForeign(http.HandlerFunc(dashboard.Redirect))
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
