package daemon

var (
	NewServer  = newServer
	Announce   = announce
	ShellQuote = shellQuote
)
