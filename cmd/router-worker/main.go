// Router-worker routes Matrix presence over NATS JetStream.
package main

import (
	"os"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/cli"
)

// version is what releases are built with: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	os.Exit(cli.Main(cli.Surroundings{
		Args:    os.Args[1:],
		Environ: os.Environ(),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Version: version,
	}))
}
