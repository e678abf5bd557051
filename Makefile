# FLAGS go to go test, as in make test FLAGS=-v.
# All packages of all modules that go.work joins.
PACKAGES = ./... ./example/mounted/... ./example/server/...

.PHONY: run test race lint fmt vet cross static fuzz clean

run:    ; go run ./example/server
test:   ; go test $(FLAGS) $(PACKAGES)
race:   ; go test -race $(FLAGS) $(PACKAGES)
lint:   fmt vet cross static
fmt:    ; @test -z "$$(gofmt -l . | tee /dev/stderr)"
vet:    ; go vet $(PACKAGES)
cross:  ; GOOS=windows go vet $(PACKAGES) && GOOS=darwin go vet $(PACKAGES)
static: ; GOWORK=off go build -C tools -o ../.cache/ honnef.co/go/tools/cmd/staticcheck && .cache/staticcheck $(PACKAGES)
fuzz:   ; ./.ci/fuzz 100000x
clean:  ; rm -rf .cache && go clean -testcache
