package main

import (
	"strconv"
	"strings"
	"unicode"
)

// plainAgain undoes strconv.Quote's escapes of the quote and the backslash.
var plainAgain = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// visible returns s on one line. Characters that are invisible, or that move
// others about, become escapes as in Go: \n, \x1b, \u202e.
func visible(s string) string {
	quoted := strconv.Quote(s)
	return plainAgain.Replace(quoted[1 : len(quoted)-1])
}

// word returns s as one word of a line. A name with spaces is quoted, so that it
// can't look like two.
func word(s string) string {
	special := func(r rune) bool { return r == '"' || r == unicode.ReplacementChar || !unicode.IsPrint(r) || r == ' ' }
	switch {
	case s == "":
		return "-"
	case strings.IndexFunc(s, special) >= 0:
		return strconv.Quote(s)
	}
	return s
}

// cut returns s, or its beginning and its end if it has more than n characters: a
// long command may hide at its end what it does.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	end := n / 3
	left := len(r) - n
	return string(r[:n-end]) + "…(" + strconv.Itoa(left) + " more)…" + string(r[len(r)-end:])
}
