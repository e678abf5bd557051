package httpio_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/httpio"
)

func TestWriteJSON(t *testing.T) {
	rec := httptest.NewRecorder()
	if err := httpio.WriteJSON(rec, http.StatusCreated, map[string]string{"a": "<&>"}); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"12"}, "Cache-Control": {"no-store"},
		"Referrer-Policy": {"no-referrer"}, "X-Content-Type-Options": {"nosniff"},
	}
	if diff := cmp.Diff(want, rec.Header()); diff != "" || rec.Code != 201 || rec.Body.String() != `{"a":"<&>"}`+"\n" {
		t.Errorf("%d %s (-want +got):\n%s", rec.Code, rec.Body, diff)
	}
}

func TestWriteJSONOfWhatIsNone(t *testing.T) {
	rec := httptest.NewRecorder()
	if err := httpio.WriteJSON(rec, http.StatusOK, func() {}); err == nil || len(rec.Header()) > 0 || rec.Body.Len() > 0 {
		t.Errorf("%v, %v %s", err, rec.Header(), rec.Body)
	}
}

func TestWriteError(t *testing.T) {
	for code, challenge := range map[int]string{400: "", 401: `Bearer realm="rampart"`, 403: ""} {
		rec := httptest.NewRecorder()
		httpio.WriteError(rec, code, `say "x"`)
		if got := rec.Header().Get("WWW-Authenticate"); rec.Code != code || got != challenge || rec.Body.String() != `{"error":"say \"x\""}`+"\n" {
			t.Errorf("%d, WWW-Authenticate %q: %s", rec.Code, got, rec.Body)
		}
	}
}

func TestNoRoute(t *testing.T) {
	var mux http.ServeMux
	mux.HandleFunc("POST /here", func(http.ResponseWriter, *http.Request) {})
	for path, want := range map[string]struct {
		code  int
		allow string
		body  string
	}{
		"/here":  {405, "POST", `{"error":"method not allowed; this path takes POST"}` + "\n"},
		"/there": {404, "", `{"error":"not found"}` + "\n"},
	} {
		r := httptest.NewRequest("GET", path, nil)
		h, _ := mux.Handler(r)
		rec := httptest.NewRecorder()
		httpio.NoRoute(rec, r, h)
		if got := rec.Header().Get("Allow"); rec.Code != want.code || got != want.allow || rec.Body.String() != want.body {
			t.Errorf("%s: %d, Allow %q, %s", path, rec.Code, got, rec.Body)
		}
	}
}
