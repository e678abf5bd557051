package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/rampartlog/rampart"
)

// site stands for an application that exists already.
type site struct {
	rampart *rampart.Rampart
	log     *slog.Logger

	people   map[string]person       // by name
	agents   map[sha256Digest]string // key to name
	sessions sync.Map                // digest of a session's cookie to a person's name
}

type person struct {
	role     role
	password sha256Digest // a plain digest will do for a random password; a chosen one needs bcrypt or the like
}

type role int

const (
	guest role = iota
	operator
)

type sha256Digest = [sha256.Size]byte

func digest(secret string) sha256Digest { return sha256.Sum256([]byte(secret)) }

const cookie = "session"

// person returns the person whose session the request has.
func (s *site) person(r *http.Request) (name string, ok bool) {
	c, err := r.Cookie(cookie)
	if err != nil {
		return "", false
	}
	v, ok := s.sessions.Load(digest(c.Value))
	name, _ = v.(string)
	return name, ok
}

// agent returns the agent whose key the request has.
func (s *site) agent(r *http.Request) (name string, ok bool) {
	key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	name, ok = s.agents[digest(key)]
	return name, ok && bearer
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	password := digest(r.PostFormValue("password"))
	p, ok := s.people[name]
	if subtle.ConstantTimeCompare(password[:], p.password[:]) == 0 || !ok {
		http.Error(w, "wrong name or password", http.StatusUnauthorized)
		return
	}
	token := rand.Text()
	s.sessions.Store(digest(token), name)
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: token, Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	fmt.Fprintf(w, "hello, %s\n", name)
}

func (s *site) home(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintln(w, `<!doctype html><title>Mounted</title><p>the application's own page
<form method="post" action="login">
<input name="name" placeholder="name" aria-label="name"> <input name="password" type="password" placeholder="password" aria-label="password"> <button>Log in</button>
</form>
<p><a href="dashboard/">What the agents do</a>`)
}

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "the application knows no such page", http.StatusNotFound)
}

// restart is an action of the application that it records before doing it.
func (s *site) restart(w http.ResponseWriter, r *http.Request) {
	name, ok := s.person(r)
	if !ok || s.people[name].role != operator {
		http.Error(w, "operators only", http.StatusForbidden)
		return
	}
	service := chi.URLParam(r, "name")
	request, err := json.Marshal(map[string]string{"service": service})
	if err == nil {
		_, err = s.rampart.Chain.Append(r.Context(), rampart.AuditEvent{
			Agent: name, Session: "site", RunID: middleware.GetReqID(r.Context()), Tool: "restart", Request: request,
			Decision: rampart.Decision{Action: rampart.ActionAllow, Message: name + " is an operator"},
		})
	}
	if err != nil { // not recorded, hence not done
		s.log.Error("restart", "error", err)
		http.Error(w, "not possible at the moment", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "restarted %s\n", service)
}

// logRequests logs the path and not the URL, since the query may contain a token.
func (s *site) logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor) // has Flush and Unwrap, which streams need
		began := time.Now()
		defer func() { // for a stream, once it has ended
			s.log.Info("request", "id", middleware.GetReqID(r.Context()), "method", r.Method, "path", r.URL.Path,
				"status", ww.Status(), "bytes", ww.BytesWritten(), "took", time.Since(began))
		}()
		next.ServeHTTP(ww, r)
	})
}
