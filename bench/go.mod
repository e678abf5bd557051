// The benchmarks, and what they need of our peers: no host inherits it.
module github.com/rampartlog/rampart/bench

go 1.26.0

replace github.com/rampartlog/rampart => ../

require github.com/rampartlog/rampart v0.0.0

require (
	github.com/RoaringBitmap/roaring/v2 v2.30.0 // indirect
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/mschoch/smat v0.2.0 // indirect
	github.com/oklog/ulid/v2 v2.1.2 // indirect
	github.com/r3labs/sse/v2 v2.10.0 // indirect
	golang.org/x/net v0.47.0 // indirect
	golang.org/x/sys v0.38.0 // indirect
	gopkg.in/cenkalti/backoff.v1 v1.1.0 // indirect
)
