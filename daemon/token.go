package daemon

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A shorter token could be guessed over the network.
const minToken = 16

// AdminToken returns the admin's token from the file token in dir. When there
// is no such file it makes one with a token of 256 random bits, mode 0600.
// Programs that do so at the same time get the same token; on a file system
// without hard links, one of them may get an error instead.
//
// A file that others may read is an error, as is a token of less than 16
// characters or of several words. No error shows the token.
func AdminToken(dir string) (string, error) {
	token, err := readToken(tokenPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return makeToken(tokenPath(dir), os.Link)
	}
	return token, err
}

func readToken(path string) (string, error) {
	data, err := readSecret(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: want one word of at least %d characters; without the file one is made", path, minToken)
	}
	return token, nil
}

// makeToken makes a token and the file of it by link, which is os.Link. If there is
// a file by then, it returns the token in that.
func makeToken(path string, link func(from, to string) error) (string, error) {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	aside, err := writeAside(path, token+"\n")
	if err != nil {
		return "", err
	}
	defer os.Remove(aside)
	// A link, unlike a rename, leaves the token of a daemon that was faster.
	err = link(aside, path)
	if err != nil && !errors.Is(err, fs.ErrExist) { // this file system has no links
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			err = fill(f, token+"\n")
		}
	}
	if errors.Is(err, fs.ErrExist) {
		if token, err = readToken(path); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s is a link that leads nowhere: remove it, and a token is made: %w", path, err)
		}
	}
	if err != nil {
		return "", err
	}
	return token, nil
}

// writeAside writes content to a new file beside path, mode 0600, to be renamed
// to it, so that a crash leaves no half of it at path.
func writeAside(path, content string) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // O_EXCL, 0600
	if err != nil {
		return "", err
	}
	return f.Name(), fill(f, content)
}

// fill writes content to a new file and closes it, or removes it.
func fill(f *os.File, content string) error {
	_, err := f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
	}
	return err
}

// AgentTokens reads agents' tokens for rampart.Auth, by agent name, from a file
// of lines NAME TOKEN. Blank lines and those that begin with # are skipped. No
// path, no tokens.
//
// A file that others may read is an error, as are a token of less than 16
// characters and a name or a token that is there twice. An error names the line
// and shows no token.
func AgentTokens(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	tokens := make(map[string]string)
	lineOf := make(map[string]int) // of a token
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, token, err := agentToken(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		case tokens[name] != "":
			return nil, fmt.Errorf("%s line %d: %s has a token already, in line %d", path, n, name, lineOf[tokens[name]])
		case lineOf[token] != 0:
			return nil, fmt.Errorf("%s line %d: the token is that of line %d; each agent needs its own", path, n, lineOf[token])
		}
		tokens[name], lineOf[token] = token, n
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tokens, nil
}

func agentToken(line string) (name, token string, err error) {
	words := strings.Fields(line)
	switch {
	case len(words) != 2:
		return "", "", fmt.Errorf("want NAME TOKEN, found %d words", len(words))
	case words[0] == "admin":
		return "", "", errors.New("the name admin belongs to the admin token")
	case len(words[1]) < minToken:
		return "", "", fmt.Errorf("the token of %s is shorter than %d characters", words[0], minToken)
	}
	return words[0], words[1], nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	// Windows keeps no such bits.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it (mode %04o): chmod 600 it, and change the tokens in it if they did", path, info.Mode().Perm())
	}
	return io.ReadAll(f)
}
