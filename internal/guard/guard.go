// Package guard decides who may use the HTTP API: by token, by ticket, by the
// host's own authentication, and by the web page that a request comes from.
package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/httpio"
)

// Scope is what a credential may do. The zero value may do nothing.
type Scope string

const (
	Admin  Scope = "admin"  // everything
	Agent  Scope = "agent"  // append, ask, read its own approvals
	Stream Scope = "stream" // open the event stream: the scope of a ticket
)

const adminName = "admin"

// Credential is who sent a request.
type Credential struct {
	Name  string
	Scope Scope
}

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

type holder struct {
	digest     [sha256.Size]byte
	credential Credential
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
		if !FitsHeader(c.AdminToken) {
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
		case !FitsHeader(token):
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

// FitsHeader reports whether a header can carry the token.
func FitsHeader(token string) bool {
	return strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
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

var (
	errMissingToken = &httpio.Error{Code: http.StatusUnauthorized, Msg: "missing token; send it as Authorization: Bearer TOKEN"}
	errWrongToken   = &httpio.Error{Code: http.StatusUnauthorized, Msg: "wrong token"}
)

// Admit finds out who sent r, and refuses r unless its sender has the scope. For
// [Stream] the token may stand in the query, because an EventSource can't set a
// header. The error is a [*httpio.Error].
func (g *Guard) Admit(r *http.Request, need Scope) (Credential, error) {
	token, given := bearer(r)
	if !given && need == Stream {
		token, given = single(r.URL.Query()["token"])
	}
	c, err := g.identify(r, token, given)
	if err != nil {
		return c, err
	}
	why := "these credentials have no scope here"
	switch {
	case c.Scope == Admin, c.Scope == need && c.Name != "":
		return c, nil
	case c.Scope == Agent:
		why = "an agent's token does not reach this; it needs the admin token"
	case c.Scope == Stream:
		why = "a ticket opens the event stream and nothing else"
	}
	return c, &httpio.Error{Code: http.StatusForbidden, Msg: why}
}

func (g *Guard) identify(r *http.Request, token string, given bool) (Credential, error) {
	digest := sha256.Sum256([]byte(token))
	if given && g.tickets.valid(digest) {
		return Credential{"ticket", Stream}, nil
	}
	if g.authenticate != nil {
		c, err := g.authenticate(r)
		switch {
		case err == nil:
			return c, nil
		case given:
			return c, errWrongToken
		}
		return c, errMissingToken
	}
	if !given {
		return Credential{}, errMissingToken
	}
	found := -1
	for i := range g.tokens { // all of them, so that the time tells nothing
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], g.tokens[i].digest[:]), i, found)
	}
	if found < 0 {
		return Credential{}, errWrongToken
	}
	return g.tokens[found].credential, nil
}

// bearer returns the token of r's Authorization header. A header of another
// scheme, which a proxy in front may use, counts as none.
func bearer(r *http.Request) (token string, given bool) {
	value, given := single(r.Header["Authorization"])
	scheme, token, _ := strings.Cut(value, " ")
	if given && value != "" && !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return token, given && (value == "" || token != "")
}

// single returns the value if there is exactly one. Of several none is used,
// though one was given: a proxy might have picked another.
func single(values []string) (value string, given bool) {
	if len(values) == 1 {
		return values[0], values[0] != ""
	}
	return "", len(values) > 1
}
