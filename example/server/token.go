package main

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

// adminToken reads the token in the file at path; at the first start it makes
// one of 256 random bits. The caller holds the log's lock, so that nobody else
// makes one at the same time.
func adminToken(path string) (string, error) {
	data, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeToken(path)
	}
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: want one word of at least %d characters; without the file one is made", path, minToken)
	}
	return token, nil
}

// makeToken writes the file aside and renames it, so that a crash leaves no
// empty token behind.
func makeToken(path string) (token string, err error) {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	token = hex.EncodeToString(secret)
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // O_EXCL, 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return token, os.Rename(f.Name(), path)
}

// readAgentTokens reads lines NAME TOKEN; blank lines and those that begin with
// # are skipped. An error names the line and never the token. No path, no tokens.
func readAgentTokens(path string) (map[string]string, error) {
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
