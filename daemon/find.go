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

// Find returns the endpoint of the daemon that runs in dir, which is read as by
// [Dir]. It goes by the files token and url, and connects to nothing: after a
// daemon that was killed, it returns that daemon's URL.
//
// Errors say what to do. They are [fs.ErrNotExist] if no daemon runs in dir, or
// only one with an empty [Options.Dir], such as a demo, and [fs.ErrPermission] if
// this user may not read the token.
func Find(dir string) (Endpoint, error) {
	dir, err := Dir(dir)
	if err != nil {
		return Endpoint{}, err
	}
	var e Endpoint
	if e.Token, err = readToken(tokenPath(dir)); err == nil {
		e.URL, err = readURL(urlPath(dir))
	}
	switch {
	case err == nil:
		return e, nil
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("no daemon runs in %s: start one with rampart serve, or give the URL and a token: %w", dir, err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("the daemon in %s is another user's: ask its operator for a token, and give that and the URL: %w", dir, err)
	}
	return Endpoint{}, err
}

// readURL reads the file url. The file has to be the owner's alone, because the
// token is sent to the URL in it.
func readURL(path string) (string, error) {
	data, err := readSecret(path)
	if err != nil {
		return "", err
	}
	at := strings.TrimSpace(string(data))
	if !usable(at) {
		return "", fmt.Errorf("%s: want http://HOST:PORT; remove the file, and restart the daemon", path)
	}
	return at, nil
}

// usable reports whether a client takes at. None takes an IPv6 address with a zone.
func usable(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Scheme == "http" && u.Host != "" && at == "http://"+u.Host
}

// announce writes the file url. If it fails, there is none: the URL that an
// earlier daemon left is worse than nothing.
func announce(dir, at string) (err error) {
	path := urlPath(dir)
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	if !usable(at) {
		return fmt.Errorf("no client takes %s: listen on an address without a zone", at)
	}
	aside, err := writeAside(path, at+"\n")
	if err != nil {
		return err
	}
	if err = os.Rename(aside, path); err != nil {
		os.Remove(aside)
	}
	return err
}

// withdraw removes the file url, unless another daemon has written it.
func withdraw(dir, at string) {
	if left, err := readURL(urlPath(dir)); err == nil && left == at {
		os.Remove(urlPath(dir))
	}
}
