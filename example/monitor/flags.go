package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type config struct {
	url         string
	tokenFile   string
	on          []string // the actions to alert on
	agents      []string // the agents to alert on; all when empty
	webhook     string   // URL; a secret
	webhookFile string
	state       string
	from        string

	daemon, receiver http.RoundTripper // tests set them in place of the network
}

const usage = `Monitor follows a Rampart daemon, and prints and posts alerts of calls that were
denied or wait for approval.

  monitor [flags]

Alerts are lines on standard output; messages about the monitor itself go to
standard error. Exit codes: 0 after SIGINT or SIGTERM; 1 when it can't go on, or
alerts were left unposted; 2 for a wrong command line.

`

// parse reads the command line. When it returns an error, the error has been
// printed to out. No message contains the webhook's URL.
func parse(args []string, out io.Writer) (config, error) {
	var c config
	fs := flag.NewFlagSet("monitor", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprint(out, usage)
		fs.PrintDefaults()
	}
	fs.StringVar(&c.url, "url", "http://127.0.0.1:9090", "`URL` of the daemon")
	fs.StringVar(&c.tokenFile, "token-file", "~/.rampart/token", "`file` with the daemon's admin token")
	fs.Func("on", "`actions` to alert on, with commas between; repeatable; ask means approvals and their\nanswers, too (default deny,ask)", func(s string) error {
		for action := range strings.SplitSeq(s, ",") {
			if action == "" || strings.Trim(action, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
				return errors.New("want lower-case words with commas between, such as deny,ask")
			}
			c.on = append(c.on, action)
		}
		return nil
	})
	fs.Func("agent", "alert on this `agent` alone; repeatable (default all)", func(s string) error {
		if s == "" {
			return errors.New("empty")
		}
		c.agents = append(c.agents, s)
		return nil
	})
	fs.StringVar(&c.webhook, "webhook", "", "post alerts to this `URL`, Slack's or another that takes JSON; others on this\nmachine can read a command line: see -webhook-file")
	fs.StringVar(&c.webhookFile, "webhook-file", "", "post alerts to the URL in this `file`")
	fs.StringVar(&c.state, "state", "", "`file` to keep the position in, so that nothing is missed between two runs")
	fs.StringVar(&c.from, "from", "now", "`where` to begin without a state: now, or start for all that is on the log")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if err := c.check(fs.NArg()); err != nil {
		fmt.Fprintln(out, err)
		return c, err
	}
	return c, nil
}

func (c *config) check(rest int) error {
	if rest > 0 {
		return errors.New("there are arguments that belong to no flag: every option is a flag, see -h")
	}
	if u, err := url.Parse(c.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("-url: want http://HOST:PORT or https://HOST, without a user or a query")
	}
	if c.webhook != "" && c.webhookFile != "" {
		return errors.New("-webhook and -webhook-file: want one of them")
	}
	if c.webhook != "" {
		if err := checkWebhook(c.webhook); err != nil {
			return fmt.Errorf("-webhook: %w", err)
		}
	}
	if c.from != "now" && c.from != "start" {
		return fmt.Errorf("-from %q: want now or start", c.from)
	}
	if c.on == nil {
		c.on = []string{"deny", "ask"}
	}
	for name, path := range map[string]*string{"token-file": &c.tokenFile, "webhook-file": &c.webhookFile, "state": &c.state} {
		// A shell leaves the tilde of -state=~/x as it is.
		if rest, ok := strings.CutPrefix(*path, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return fmt.Errorf("-%s: %w", name, err)
			}
			*path = filepath.Join(home, rest)
		}
	}
	return nil
}

func checkWebhook(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("want a URL such as https://hooks.slack.com/services/…")
	}
	return nil
}

// secrets reads the token, and the webhook's URL if a file has it.
func (c *config) secrets() (token string, err error) {
	data, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("the daemon's token: %w; the daemon makes it at its first start; another file can be given with -token-file", err)
	}
	if token = strings.TrimSpace(string(data)); token == "" {
		return "", fmt.Errorf("the daemon's token: %s is empty", c.tokenFile)
	}
	if c.webhookFile != "" {
		data, err := os.ReadFile(c.webhookFile)
		if err != nil {
			return "", fmt.Errorf("-webhook-file: %w", err)
		}
		c.webhook = strings.TrimSpace(string(data))
		if err := checkWebhook(c.webhook); err != nil {
			return "", fmt.Errorf("-webhook-file: %s: %w", c.webhookFile, err)
		}
	}
	return token, nil
}

func (c *config) alerts(action, agent string) bool {
	return slices.Contains(c.on, action) && c.watches(agent)
}

func (c *config) watches(agent string) bool {
	return len(c.agents) == 0 || slices.Contains(c.agents, agent)
}

func (c *config) watchesApprovals() bool { return slices.Contains(c.on, "ask") }
