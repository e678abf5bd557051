package guard

import (
	"net/http"

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
