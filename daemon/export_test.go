package daemon

var (
	NewServer = newServer
	Announce  = announce
	MakeToken = makeToken
)
