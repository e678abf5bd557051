package httpio

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

// ParseQuery refuses a query string of which any part can't be read: to leave
// that part out would answer another question.
func ParseQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return values, &Error{http.StatusBadRequest, "the query string is malformed, or has too many parameters; percent-encode what stands in it"}
	}
	return values, nil
}

// BadParameter says how the parameter should be, such as "is asc or desc".
func BadParameter(name, rule string) error {
	return &Error{http.StatusBadRequest, "parameter " + name + " " + rule}
}

// Params reads the parameters of a query string. Its methods keep the first
// fault in Err; what they return after a fault has no meaning. An empty
// parameter counts as none.
type Params struct {
	url.Values
	Err error
}

func NewParams(r *http.Request) Params {
	values, err := ParseQuery(r)
	return Params{values, err}
}

// Fault keeps [BadParameter] as the fault, unless there is one before it.
func (p *Params) Fault(name, rule string) {
	if p.Err == nil {
		p.Err = BadParameter(name, rule)
	}
}

// Int returns a whole number, or absent when none is given. One that is too
// large for an int is the largest int.
func (p *Params) Int(name string, absent, least int) int {
	if p.Get(name) == "" {
		return absent
	}
	n, err := strconv.Atoi(p.Get(name))
	// n is then the nearest int, unless what follows is no digit.
	if errors.Is(err, strconv.ErrRange) && strings.Trim(p.Get(name), "+0123456789") == "" {
		err = nil
	}
	if err != nil || n < least {
		p.Fault(name, fmt.Sprintf("is a whole number, %d at least", least))
	}
	return n
}

// All returns the parameter's values but for empty ones.
func (p *Params) All(name string) []string {
	return slices.DeleteFunc(p.Values[name], func(s string) bool { return s == "" })
}

// ID returns an event's id, or "".
func (p *Params) ID(name string) string {
	s := p.Get(name)
	if s != "" && !record.ValidID(s) {
		p.Fault(name, "is "+record.IDForm)
	}
	return s
}

// Time returns a time, or the zero time when none is given.
func (p *Params) Time(name string) time.Time {
	if p.Get(name) == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, p.Get(name))
	if err != nil || !record.ValidTime(p.Get(name)) {
		p.Fault(name, "is "+record.TimeForm)
	}
	return given(t.UTC())
}

// given tells a time that is given from none, which the zero time stands for.
// No event has the zero time.
func given(t time.Time) time.Time {
	if t.IsZero() {
		return t.Add(1)
	}
	return t
}

// Day returns the bounds of a day of UTC, or zero times when none is given.
func (p *Params) Day(name string) (from, until time.Time) {
	if p.Get(name) == "" {
		return from, until
	}
	from, err := time.Parse(time.DateOnly, p.Get(name))
	if err != nil {
		p.Fault(name, "is a day as YYYY-MM-DD")
	}
	return given(from), given(from.AddDate(0, 0, 1))
}

// DayOrTime returns the bounds of a day of UTC, or a time as both bounds.
func (p *Params) DayOrTime(name string) (from, until time.Time) {
	if len(p.Get(name)) <= len(time.DateOnly) {
		return p.Day(name)
	}
	t := p.Time(name)
	return t, t
}
