package httpio_test

import (
	"math"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/httpio"
)

func params(raw string) *httpio.Params {
	r := httptest.NewRequest("GET", "/", nil)
	r.URL.RawQuery = raw
	p := httpio.NewParams(r)
	return &p
}

// value is the query string with x, as it stands.
func value(s string) string { return "x=" + url.QueryEscape(s) }

func TestParseQuery(t *testing.T) {
	for raw, want := range map[string]int{"": 200, "x=%41&x": 200, "x=%zz": 400, "x=a;b": 400} {
		if got := code(t, params(raw).Err); got != want {
			t.Errorf("%q: %d, want %d", raw, got, want)
		}
	}
}

func TestParamsKeepTheFirstFault(t *testing.T) {
	p := params("a=x&b=y")
	p.Int("none", 1, 1)
	if p.Err != nil {
		t.Fatal(p.Err)
	}
	p.Int("a", 1, 1)
	p.ID("b")
	if p.Err == nil || p.Err.Error() != "parameter a is a whole number, 1 at least" || code(t, p.Err) != 400 {
		t.Error(p.Err)
	}
	p = params("%zz&a=x")
	first := p.Err
	if p.Int("a", 1, 1); p.Err != first {
		t.Error(p.Err)
	}
}

func TestInt(t *testing.T) {
	for s, want := range map[string]int{
		"": 7, "1": 1, "+2": 2, "007": 7, "9223372036854775807": math.MaxInt, "9223372036854775808": math.MaxInt, "99999999999999999999": math.MaxInt,
	} {
		p := params(value(s))
		if got := p.Int("x", 7, 1); got != want || p.Err != nil {
			t.Errorf("%q: %d, %v, want %d", s, got, p.Err, want)
		}
	}
	for _, s := range []string{"0", "-1", "x", "1.5", "1e2", " 1", "\x00", "999999999999999999999x", "-99999999999999999999"} {
		p := params(value(s))
		if p.Int("x", 7, 1); code(t, p.Err) != 400 {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestAll(t *testing.T) {
	for raw, want := range map[string][]string{"": nil, "x=": {}, "x=a&x=&x=b&y=c": {"a", "b"}} {
		if diff := cmp.Diff(want, params(raw).All("x")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", raw, diff)
		}
	}
}

func TestID(t *testing.T) {
	const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	for s, ok := range map[string]bool{"": true, id: true, "x": false, id[1:]: false, "8" + id[1:]: false} {
		if p := params(value(s)); p.ID("x") != s || (p.Err == nil) != ok {
			t.Errorf("%q: %q, %v", s, p.ID("x"), p.Err)
		}
	}
}

func TestTimes(t *testing.T) {
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UTC()
	}
	for s, want := range map[string][2]time.Time{
		"":                            {},
		"2026-03-03":                  {at("2026-03-03T00:00:00Z"), at("2026-03-04T00:00:00Z")},
		"2026-03-03T12:00:00.5+02:00": {at("2026-03-03T10:00:00.5Z"), at("2026-03-03T10:00:00.5Z")},
		// The zero time means that none is given.
		"0001-01-01":           {time.Time{}.Add(1), at("0001-01-02T00:00:00Z")},
		"0000-12-31":           {at("0000-12-31T00:00:00Z"), time.Time{}.Add(1)},
		"0001-01-01T00:00:00Z": {time.Time{}.Add(1), time.Time{}.Add(1)},
	} {
		p := params(value(s))
		from, until := p.DayOrTime("x")
		if diff := cmp.Diff(want, [2]time.Time{from, until}); diff != "" || p.Err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", s, p.Err, diff)
		}
	}
	for _, s := range []string{"2026-3-1", "2026-02-30", "now", "2026-03-03T10:15", "2026-03-03T1:15:30Z", "2026-03-03T10:15:30+24:00", "2026-02-30T10:15:30Z"} {
		p := params(value(s))
		if p.DayOrTime("x"); code(t, p.Err) != 400 {
			t.Errorf("%q was taken", s)
		}
	}
	p := params(value("2026-03-03"))
	if p.Time("x"); code(t, p.Err) != 400 {
		t.Error("a day was taken for a time")
	}
}
