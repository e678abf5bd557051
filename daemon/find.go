package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// Endpoint is where a daemon is reached, and with what.
type Endpoint struct {
	URL   string // without a slash at its end
	Token string // the admin's
}

// Find returns the endpoint of the daemon that keeps its things in dir, which
// is read as by [Dir]. Where no daemon has left its URL, it is that of
// [Address].
//
// Find asks nobody: after a daemon that was killed, the URL is its last one.
// Errors say what to do; where no daemon has run yet, or this user may not read
// the token, they are [fs.ErrNotExist] and [fs.ErrPermission].
func Find(dir string) (Endpoint, error) {
	dir, err := Dir(dir)
	if err != nil {
		return Endpoint{}, err
	}
	token, err := readToken(tokenPath(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Endpoint{}, fmt.Errorf("no daemon has run in %s: start one with rampart serve, or say which directory, or which URL and token: %w", dir, err)
	case errors.Is(err, fs.ErrPermission):
		return Endpoint{}, fmt.Errorf("the daemon in %s is another user's: ask its operator for a token, and give that and the URL: %w", dir, err)
	case err != nil:
		return Endpoint{}, err
	}
	at, err := readURL(urlPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		at, err = "http://"+Address, nil
	}
	return Endpoint{URL: at, Token: token}, err
}

// readURL reads the file url. The file has to be the owner's alone, because the
// token is sent to the URL in it.
func readURL(path string) (string, error) {
	data, err := readSecret(path)
	if err != nil {
		return "", err
	}
	at := strings.TrimSpace(string(data))
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" || u.Host == "" || at != "http://"+u.Host {
		return "", fmt.Errorf("%s: want http://HOST:PORT; remove the file, and restart the daemon", path)
	}
	return at, nil
}

// announce writes the file url.
func announce(dir, at string) error {
	path := urlPath(dir)
	aside, err := writeAside(path, at+"\n")
	if err == nil {
		if err = os.Rename(aside, path); err == nil {
			return nil
		}
		os.Remove(aside)
	}
	os.Remove(path) // what an earlier daemon left is worse than nothing
	return err
}

// withdraw removes the file url, unless another daemon has written it.
func withdraw(dir, at string) {
	if left, err := readURL(urlPath(dir)); err == nil && left == at {
		os.Remove(urlPath(dir))
	}
}
