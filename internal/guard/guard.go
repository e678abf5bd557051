// Package guard decides who may use the HTTP API: by token, by ticket, by the
// host's own authentication, and by the web page that a request comes from.
package guard

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/httpio"
)

// Config has the fields of rampart.Auth, which documents them.
type Config struct {
	AdminToken   string
	AgentTokens  map[string]string
	Authenticate func(*http.Request) (Credential, error)
	AllowHosts   []string
	AllowOrigins []string
}

// Guard lets requests in, or says why not. Its methods may be called
// concurrently.
type Guard struct {
	tokens       []holder
	authenticate func(*http.Request) (Credential, error)
	tickets      tickets
	origins      origins
}

// New refuses, as ErrInvalid, a configuration that rampart.Auth.Validate refuses.
func New(c Config) (*Guard, error) {
	g := &Guard{authenticate: c.Authenticate}
	owner := map[string]string{}
	add := func(token string, c Credential) {
		owner[token] = c.Name
		g.tokens = append(g.tokens, holder{sha256.Sum256([]byte(token)), c})
	}
	if c.AdminToken != "" {
		if !fitsHeader(c.AdminToken) {
			return nil, fmt.Errorf("%w: the admin token has characters that a header can't carry; use letters, digits and punctuation", failure.ErrInvalid)
		}
		add(c.AdminToken, Credential{adminName, Admin})
	}
	for _, name := range slices.Sorted(maps.Keys(c.AgentTokens)) {
		token := c.AgentTokens[name]
		switch other, taken := owner[token]; {
		case name == "" || name == adminName:
			return nil, fmt.Errorf("%w: an agent can't be named %q", failure.ErrInvalid, name)
		case token == "":
			return nil, fmt.Errorf("%w: the token of agent %q is empty", failure.ErrInvalid, name)
		case !fitsHeader(token):
			return nil, fmt.Errorf("%w: the token of agent %q has characters that a header can't carry; use letters, digits and punctuation", failure.ErrInvalid, name)
		case taken:
			return nil, fmt.Errorf("%w: agent %q has the same token as %q", failure.ErrInvalid, name, other)
		}
		add(token, Credential{name, Agent})
	}
	var err error
	g.origins, err = newOrigins(c.AllowHosts, c.AllowOrigins)
	if err != nil {
		return nil, fmt.Errorf("%w: AllowOrigins: %w", failure.ErrInvalid, err)
	}
	return g, nil
}

// Require serves next to those requests whose sender has the scope, and which no
// foreign web page sent.
func (g *Guard) Require(need Scope, next http.Handler) http.Handler {
	return g.RefuseForeign(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.CORS(w, r) {
			return
		}
		if _, err := g.Admit(r, need); err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// RefuseForeign serves next to all requests that [Guard.Check] passes.
func (g *Guard) RefuseForeign(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.Check(r); err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused := &httpio.Error{Code: http.StatusInternalServerError, Msg: "the request could not be checked"}
	errors.As(err, &refused)
	httpio.WriteError(httpio.NewDeadlineWriter(w, r), refused.Code, refused.Msg)
}
