package rampart

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Scope is what a credential may do. The zero value may do nothing.
type Scope string

const (
	ScopeAdmin Scope = "admin" // everything
	ScopeAgent Scope = "agent" // append, ask, read its own approvals

	scopeStream Scope = "stream" // of a ticket
)

const adminName = "admin"

// Credential is who sent a request. An agent's events and approvals carry its
// Name, and the approvals that it may read are those that carry its Name;
// without one it may do nothing.
type Credential struct {
	Name  string
	Scope Scope
}

// Auth configures who may use [Rampart.Handler]. Nil, like the zero value, lets
// nobody in.
//
// Tokens are compared in constant time over their SHA-256 digests, and appear
// in no answer and no log line.
type Auth struct {
	AdminToken  string            // its credential is named "admin"; no admin when empty
	AgentTokens map[string]string // agent name to token

	// Authenticate, when set, takes the place of both. An error is answered
	// with 401, without its text, and a credential that has no scope with 403.
	// Tickets go on to open the stream.
	Authenticate func(*http.Request) (Credential, error)

	// AllowHosts are names, with or without a port, accepted in Host besides
	// loopback names where a connection comes in on a loopback address.
	AllowHosts []string
	// AllowOrigins, as scheme://host[:port], get CORS headers and may change
	// state from a browser.
	AllowOrigins []string
}

// Validate reports what [Rampart.Handler] would refuse, as ErrInvalid: an empty
// agent name or token, a token that is given twice or that a header can't
// carry, an agent named "admin", an origin that is none.
func (a *Auth) Validate() error {
	if a == nil {
		return nil
	}
	owner := map[string]string{}
	if a.AdminToken != "" {
		owner[a.AdminToken] = adminName
		if !headerToken(a.AdminToken) {
			return fmt.Errorf("%w: the admin token has characters that a header can't carry; use letters, digits and punctuation", ErrInvalid)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.AgentTokens)) {
		token := a.AgentTokens[name]
		switch other, taken := owner[token]; {
		case name == "" || name == adminName:
			return fmt.Errorf("%w: an agent can't be named %q", ErrInvalid, name)
		case token == "":
			return fmt.Errorf("%w: the token of agent %q is empty", ErrInvalid, name)
		case !headerToken(token):
			return fmt.Errorf("%w: the token of agent %q has characters that a header can't carry; use letters, digits and punctuation", ErrInvalid, name)
		case taken:
			return fmt.Errorf("%w: agent %q has the same token as %q", ErrInvalid, name, other)
		}
		owner[token] = name
	}
	var p http.CrossOriginProtection
	for _, o := range a.AllowOrigins {
		if err := p.AddTrustedOrigin(o); err != nil {
			return fmt.Errorf("%w: AllowOrigins: %w", ErrInvalid, err)
		}
	}
	return nil
}

func headerToken(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// guard decides who may do what.
type guard struct {
	tokens       []holder
	authenticate func(*http.Request) (Credential, error)
	tickets      tickets
	origins      origins
}

type holder struct {
	digest     [sha256.Size]byte
	credential Credential
}

func newGuard(a *Auth) *guard {
	if err := a.Validate(); err != nil {
		panic(err)
	}
	if a == nil {
		a = &Auth{}
	}
	g := &guard{authenticate: a.Authenticate, origins: newOrigins(a)}
	if a.AdminToken != "" {
		g.tokens = append(g.tokens, holder{sha256.Sum256([]byte(a.AdminToken)), Credential{adminName, ScopeAdmin}})
	}
	for name, token := range a.AgentTokens {
		g.tokens = append(g.tokens, holder{sha256.Sum256([]byte(token)), Credential{name, ScopeAgent}})
	}
	return g
}

// Require serves next to those requests that a route of [Rampart.Handler] which
// needs the scope would serve, and answers the others as that does. It is for a
// host's own routes beside the library's, such as metrics.
func (a *Auth) Require(need Scope, next http.Handler) http.Handler {
	g := newGuard(a)
	return g.refuseForeign(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.origins.headers(w, r) {
			return
		}
		if _, err := g.admit(r, need); err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// RefuseForeign serves next to anybody, but to no foreign web page: it checks
// Host and Origin as [Rampart.Handler] does for each of its routes, and no
// token. It is for what a host serves in public beside them, such as a page.
func (a *Auth) RefuseForeign(next http.Handler) http.Handler { return newGuard(a).refuseForeign(next) }

func (g *guard) refuseForeign(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.origins.check(r); err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused := &statusError{http.StatusInternalServerError, "the request could not be checked"}
	errors.As(err, &refused)
	writeError(newPatient(w, r), refused.code, refused.msg)
}

var errWrongToken = &statusError{http.StatusUnauthorized, "wrong token"}

// admit finds out who sent r and whether the scope is theirs. For the stream
// the token may stand in the query: an EventSource can't set a header.
func (g *guard) admit(r *http.Request, need Scope) (Credential, error) {
	token, given := bearer(r)
	if !given && need == scopeStream {
		token, given = only(r.URL.Query()["token"])
	}
	c, err := g.identify(r, token, given)
	if err != nil {
		return c, err
	}
	switch {
	case c.Scope == ScopeAdmin, c.Scope == need && c.Name != "":
		return c, nil
	case c.Scope == ScopeAgent:
		return c, &statusError{http.StatusForbidden, "an agent's token does not reach this; it needs the admin token"}
	case c.Scope == scopeStream:
		return c, &statusError{http.StatusForbidden, "a ticket opens the event stream and nothing else"}
	}
	return c, &statusError{http.StatusForbidden, "these credentials have no scope here"}
}

func (g *guard) identify(r *http.Request, token string, given bool) (Credential, error) {
	digest := sha256.Sum256([]byte(token))
	if given && g.tickets.valid(digest) {
		return Credential{"ticket", scopeStream}, nil
	}
	missing := &statusError{http.StatusUnauthorized, "missing token; send it as Authorization: Bearer TOKEN"}
	if g.authenticate != nil {
		c, err := g.authenticate(r)
		switch {
		case err == nil:
			return c, nil
		case given:
			return c, errWrongToken
		}
		return c, missing
	}
	if !given {
		return Credential{}, missing
	}
	found := -1
	for i := range g.tokens { // all of them, whichever matches
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], g.tokens[i].digest[:]), i, found)
	}
	if found < 0 {
		return Credential{}, errWrongToken
	}
	return g.tokens[found].credential, nil
}

// bearer returns the token of r's Authorization header. Another scheme, which a
// proxy in front may use, counts as none given.
func bearer(r *http.Request) (token string, given bool) {
	value, given := only(r.Header["Authorization"])
	scheme, token, _ := strings.Cut(value, " ")
	if given && value != "" && !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return token, given && (value == "" || token != "")
}

// only returns the one value. Several are given and none of them counts: which
// of them another program would take can't be known.
func only(values []string) (value string, given bool) {
	if len(values) == 1 {
		return values[0], values[0] != ""
	}
	return "", len(values) > 1
}
