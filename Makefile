# FLAGS are flags of go test, as in make test FLAGS=-v, or of the benchmarks: make bench FLAGS=-h lists those.
# PACKAGES are all packages of the modules in go.work. bench is not in it: the dependencies of our peers must not choose our versions.
PACKAGES = $(shell go list -m -f '{{.Dir}}/...')
LIBRARY = github.com/rampartlog/rampart

.PHONY: run bench test race e2e crash soak lint fmt vet cross static fuzz tidy clean

run:    ; go run ./cmd/rampart serve
bench:  ; GOWORK=off go run -C bench . $(FLAGS)
# -count=1: the cache does not see that tests of one module build programs and read docs of others.
test:   ; ./.ci/setup && go test -count=1 $(FLAGS) $(PACKAGES) && GOWORK=off go test -C bench -count=1 $(FLAGS) ./...
# Without e2e: its daemon is another process, so the race detector would only see the test clients.
race:   ; go test -count=1 -race $(FLAGS) $(filter-out %/e2e/...,$(PACKAGES))
e2e:    ; ./.ci/setup && RAMPART_E2E=all go test -count=1 $(FLAGS) ./e2e/...
# Tests every state in which a crash or a disk error can leave the log, and a change of every bit; make test takes a sample. Half an hour.
crash:  ; RAMPART_CRASH=all RAMPART_ADVERSARY=all go test -count=1 -timeout 0 $(FLAGS) -run '^Test(Crash|Every)' . ./internal/ledger ./cmd/rampart/...
# Runs for TIME, 10m by default, with an outage each minute: make soak TIME=30m.
soak:   ; RAMPART_SOAK=$(or $(TIME),10m) go test -count=1 -timeout 0 -v $(FLAGS) -run '^TestSoak$$' ./e2e
lint:   fmt vet cross static
fmt:    ; @test -z "$$(gofmt -l . | tee -a /dev/stderr)"
vet:    ; go vet $(PACKAGES) && GOWORK=off go vet -C bench ./...
cross:  ; GOOS=windows $(MAKE) vet && GOOS=darwin $(MAKE) vet
static: ; GOWORK=off go build -C tools -o ../.cache/ honnef.co/go/tools/cmd/staticcheck && .cache/staticcheck $(PACKAGES) && cd bench && GOWORK=off ../.cache/staticcheck ./...
fuzz:   ; ./.ci/fuzz 100000x
# go mod tidy knows no go.work and asks for the version of the library that is required: meanwhile that is replaced by this one.
tidy:   ; go mod tidy && for m in cmd/rampart e2e example/mounted; do (cd $$m && go mod edit -replace $(LIBRARY)=$(CURDIR) && GOWORK=off go mod tidy; go mod edit -dropreplace $(LIBRARY)) || exit; done
clean:  ; rm -rf .cache && go clean -testcache
