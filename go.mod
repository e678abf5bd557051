module github.com/rampartlog/rampart

go 1.25.0
