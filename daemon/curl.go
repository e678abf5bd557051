package daemon

import "strings"

// CurlAuth returns the option with which curl sends the admin's token of dir,
// quoted for a POSIX shell. It names the token's file in place of the token, so
// that a program may print it.
func CurlAuth(dir string) string {
	return `-H "Authorization: Bearer $(cat ` + shellQuote(tokenPath(dir)) + `)"`
}

// shellQuote makes a path one word of a POSIX shell, and leaves a plain one readable.
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
