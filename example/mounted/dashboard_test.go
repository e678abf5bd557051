package main_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestDashboard does what the page does: with nothing but the session's cookie it
// finds the API from the page's address, opens the stream and answers a question.
func TestDashboard(t *testing.T) {
	a := onLoopback(t, options{})
	ann := a.login("ann")
	for _, encoding := range []string{"", "gzip"} {
		resp := a.open(ann, "GET", "/dashboard", "", "Accept-Encoding", encoding)
		if at := resp.Request.URL; resp.StatusCode != http.StatusOK || at.String() != a.url+"/dashboard/" || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none';") {
			t.Errorf("/dashboard leads to %s: %s, %v", at, resp.Status, resp.Header)
		}
		script := a.do(nobody, "GET", "/dashboard/main.js", "", "Accept-Encoding", encoding).want(http.StatusOK)
		if script.header.Get("Content-Type") != "text/javascript; charset=utf-8" || script.header.Get("Content-Encoding") != encoding {
			t.Errorf("main.js: %v", script.header)
		}
		a.do(nobody, "GET", "/dashboard/main.js", "", "Accept-Encoding", encoding, "If-None-Match", script.header.Get("ETag")).want(http.StatusNotModified)
	}
	if got := a.do(ann, "GET", "/dashboard/nothing", "").want(http.StatusNotFound); got.body != "not found\n" {
		t.Errorf("a 404 of the dashboard's: %q", got.body)
	}

	page := a.open(ann, "GET", "/dashboard/", "")
	body := a.do(ann, "GET", "/dashboard/", "").want(http.StatusOK).body
	if !strings.Contains(body, `name="rampart-sign-in" content="host"`) {
		t.Errorf("the page asks for a token:\n%s", body)
	}
	named := regexp.MustCompile(`name="rampart-api" content="([^"]*)"`).FindStringSubmatch(body)
	if named == nil {
		t.Fatalf("the page has no API:\n%s", body)
	}
	api := func(route string) string {
		u, err := page.Request.URL.Parse(named[1] + route)
		if err != nil {
			t.Fatal(err)
		}
		return u.RequestURI()
	}
	sameOrigin := []string{"Sec-Fetch-Site", "same-origin", "Origin", a.url}
	for _, c := range []struct {
		who
		status int
	}{{ann, http.StatusOK}, {a.login("bob"), http.StatusForbidden}, {nobody, http.StatusUnauthorized}} {
		a.do(c.who, "GET", api("status"), "", sameOrigin[:2]...).want(c.status)
		a.do(c.who, "POST", api("events/ticket"), "", sameOrigin...).want(c.status)
	}
	var ticket struct{ Token string }
	a.do(ann, "POST", api("events/ticket"), "", sameOrigin...).want(http.StatusOK).into(&ticket)
	a.secrets = append(a.secrets, ticket.Token)
	w := a.watch(ann, api("events/stream?token="+ticket.Token), sameOrigin[:2]...)
	id := a.ask()
	if e := w.event(); e.ID != id {
		t.Errorf("got %+v, want the question %s", e, id)
	}
	w.next() // approvals
	answer := api("approvals/" + id + "/resolve")
	a.do(ann, "POST", answer, `{"approved":true}`, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").want(http.StatusForbidden)
	a.do(ann, "POST", answer, `{"approved":true}`, sameOrigin...).want(http.StatusOK)
	if e := w.event(); e.Approval.ID != id || e.Approval.Credential != "ann" {
		t.Errorf("the answer: %+v", e)
	}
}
