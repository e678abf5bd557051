package rampart

import "net/http"

// Scope is what a credential may do. The zero value may do nothing.
type Scope string

const (
	ScopeAdmin Scope = "admin" // everything
	ScopeAgent Scope = "agent" // append, ask, read its own approvals
)

// Credential is who sent a request.
type Credential struct {
	Name  string
	Scope Scope
}

// Auth configures who may use [Rampart.Handler]. Nil, like the zero value, lets nobody in.
type Auth struct {
	AdminToken   string            // its credential is named "admin"
	AgentTokens  map[string]string // agent name to token
	Authenticate func(*http.Request) (Credential, error)
	AllowHosts   []string // accepted in Host besides loopback names while bound to loopback
	AllowOrigins []string // scheme://host[:port] that get CORS headers
}
