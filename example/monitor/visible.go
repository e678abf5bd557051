package main

import (
	"strconv"
	"strings"
	"unicode"
)

// plainAgain takes back what strconv.Quote does to a quote and a backslash.
var plainAgain = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// visible is s on one line, in which each character that would not be seen, or
// moves others about, is an escape as in Go: \n, \x1b, \u202e.
func visible(s string) string {
	quoted := strconv.Quote(s)
	return plainAgain.Replace(quoted[1 : len(quoted)-1])
}

// word is s as it stands between two spaces: quoted unless it is a plain word,
// so that no name can look like two.
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

// cut is s if it has no more than n characters, otherwise its beginning and its
// end, since that is where a long command hides what it does.
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
