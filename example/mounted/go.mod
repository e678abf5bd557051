module github.com/rampartlog/rampart/example/mounted

go 1.25.0

require (
	github.com/NYTimes/gziphandler v1.1.1
	github.com/go-chi/chi/v5 v5.5.0
	github.com/gorilla/handlers v1.5.2
	github.com/klauspost/compress v1.20.4
	github.com/rampartlog/rampart v0.1.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/felixge/httpsnoop v1.0.3 // indirect
	github.com/oklog/ulid/v2 v2.1.2 // indirect
	github.com/r3labs/sse/v2 v2.10.0 // indirect
	golang.org/x/net v0.47.0 // indirect
	gopkg.in/cenkalti/backoff.v1 v1.1.0 // indirect
)
