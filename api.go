package rampart

import "net/http"

// Handler serves every route of the API.
func (r *Rampart) Handler(auth *Auth) http.Handler { panic("not written yet") }
