package record

import "strings"

// TimeForm says to a person what [ValidTime] demands.
const TimeForm = "a time of RFC 3339, such as 2026-03-03T10:15:30Z"

// ValidTime reports whether s is written as RFC 3339 demands. time.Parse takes
// more: hours of one digit, a comma before the fraction, zones beyond a day.
// The calendar is left to it.
func ValidTime(s string) bool {
	const form = "0000-00-00T00:00:00"
	if len(s) < len(form) || !like(s[:len(form)], form) {
		return false
	}
	zone := s[len(form):]
	if fraction, ok := strings.CutPrefix(zone, "."); ok {
		if zone = strings.TrimLeft(fraction, "0123456789"); len(zone) == len(fraction) {
			return false
		}
	}
	return zone == "Z" || (like(zone, "+00:00") || like(zone, "-00:00")) && zone[1:3] <= "23" && zone[4:] <= "59"
}

// like reports whether s has digits where form has zeros, and equals it elsewhere.
func like(s, form string) bool {
	if len(s) != len(form) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != form[i] && (form[i] != '0' || !isDigit(c)) {
			return false
		}
	}
	return true
}
