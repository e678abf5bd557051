package main

import "net/http"

type Config = config

var (
	Parse   = parse
	Run     = run
	Visible = visible
	Cut     = cut
)

// Over makes the monitor reach the daemon and the receiver over these, in place of
// the network.
func (c config) Over(daemon, receiver http.RoundTripper) Config {
	c.daemon, c.receiver = daemon, receiver
	return c
}
