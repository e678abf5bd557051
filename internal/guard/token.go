package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/rampartlog/rampart/internal/httpio"
)

type holder struct {
	digest     [sha256.Size]byte
	credential Credential
}

// fitsHeader reports whether a header can carry the token.
func fitsHeader(token string) bool {
	return strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

var (
	errMissingToken = &httpio.Error{Code: http.StatusUnauthorized, Msg: "missing token; send it as Authorization: Bearer TOKEN"}
	errWrongToken   = &httpio.Error{Code: http.StatusUnauthorized, Msg: "wrong token"}
)

// identify finds out whose the token is, if one was given.
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
