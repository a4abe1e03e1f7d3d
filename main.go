// Command m2mbridge takes SenML packs from devices over HTTP and MQTT, stores
// what it can verify in Redis, and hands it to apps.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"m2mbridge/bridge/cli"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a write fails instead, and the command cleans up
	// The first signal asks for an orderly stop; stop() then gives the signals
	// their default back, so that a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
