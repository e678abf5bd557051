module github.com/rampartlog/rampart/e2e

go 1.25.0

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/google/go-cmp v0.7.0
	github.com/launchdarkly/eventsource v1.11.0
	github.com/r3labs/sse/v2 v2.10.0
	github.com/rampartlog/rampart v0.1.0
	github.com/tmaxmax/go-sse v0.11.0
	golang.org/x/mod v0.37.0
	gopkg.in/cenkalti/backoff.v1 v1.1.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/oklog/ulid/v2 v2.1.2 // indirect
	golang.org/x/net v0.47.0 // indirect
)
