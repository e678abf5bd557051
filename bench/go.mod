// The benchmarks, and what they need of our peers: no host inherits it.
module github.com/rampartlog/rampart/bench

go 1.26.0

replace github.com/rampartlog/rampart => ../
