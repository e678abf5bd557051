package rampart

import (
	"net/http"

	"github.com/rampartlog/rampart/internal/guard"
)

// Scope is what a credential may do. The zero value may do nothing.
type Scope string

const (
	ScopeAdmin Scope = "admin" // everything
	ScopeAgent Scope = "agent" // append, ask, read its own approvals
)

// Credential is who sent a request. An agent's events and approvals carry its
// Name, and it may read only the approvals that carry it. Without a Name an agent
// may do nothing.
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

	// Authenticate, when set, takes the place of both. Its error is answered with
	// 401, without the text, and a credential that has no scope with 403. Tickets
	// still open the stream.
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
// carry, an agent named "admin", a malformed origin.
func (a *Auth) Validate() error {
	_, err := guard.New(a.config())
	return err
}

func (a *Auth) config() guard.Config {
	if a == nil {
		return guard.Config{}
	}
	c := guard.Config{AdminToken: a.AdminToken, AgentTokens: a.AgentTokens, AllowHosts: a.AllowHosts, AllowOrigins: a.AllowOrigins}
	if authenticate := a.Authenticate; authenticate != nil {
		c.Authenticate = func(r *http.Request) (guard.Credential, error) {
			found, err := authenticate(r)
			return guard.Credential{Name: found.Name, Scope: guard.Scope(found.Scope)}, err
		}
	}
	return c
}

// guard makes a guard of what a holds at this moment. It panics with Validate's
// error.
func (a *Auth) guard() *guard.Guard {
	g, err := guard.New(a.config())
	if err != nil {
		panic(err)
	}
	return g
}

// Require serves next to requests that have the scope, and answers others as
// [Rampart.Handler] does. It is for a host's own route beside the library's, such
// as metrics. It panics as [Rampart.Handler] does.
func (a *Auth) Require(need Scope, next http.Handler) http.Handler {
	return a.guard().Require(guard.Scope(need), next)
}

// RefuseForeign checks Host and Origin, as [Rampart.Handler] does on each of its
// routes, and no token: for public pages. It serves next to all requests but those
// of a foreign web page. It panics as [Rampart.Handler] does.
func (a *Auth) RefuseForeign(next http.Handler) http.Handler { return a.guard().RefuseForeign(next) }
