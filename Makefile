# The tests run the real things: redis-server, Debian's MQTT clients, curl and
# buildah. `make test` installs what is missing where it may; elsewhere the
# tests that need it are skipped with their reason. M2M_LONG=1 has those tests
# run at full length that are short for CI's sake.

FUZZTIME  ?= 10s
TESTFLAGS ?= -timeout 8m

.PHONY: build test check tools bench fuzz

build:
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o m2mbridge .

# Most tests wait more than they compute: four packages go at once, those that take longest first.
test: tools check
	go test -race -p 4 $(TESTFLAGS) ./broker ./bridge/api $$(go list ./... | grep -v /bridge/e2e)
	go test -race -parallel 3 $(TESTFLAGS) ./bridge/e2e # alone: it holds answers to a second

check:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	go vet ./...

tools:
	@.ci/tools

bench:
	go run ./bridge/bench

fuzz:
	@.ci/fuzz $(FUZZTIME)
