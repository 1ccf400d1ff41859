package natstest

import (
	"context"
	"testing"

	"github.com/presence-router/presence-router/internal/natsserver"
)

// startAttempts bounds how often a server is started anew because another process
// was faster to take its port.
const startAttempts = 5

// Run starts a server for the length of the test. It stores in a directory of the
// test, unless a configure function says otherwise; with a port that one of them
// sets it starts there.
func Run(tb testing.TB, configure ...func(*natsserver.Options)) *natsserver.Server {
	tb.Helper()
	options := natsserver.Options{StoreDir: tb.TempDir()}
	for _, change := range configure {
		change(&options)
	}
	s, err := startOnFreePort(tb.Context(), options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Shutdown)
	return s
}

// Restart shuts s down and returns a server with the same port and store directory.
func Restart(tb testing.TB, s *natsserver.Server) *natsserver.Server {
	tb.Helper()
	s.Shutdown()
	restarted, err := natsserver.Start(s.Options())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(restarted.Shutdown)
	return restarted
}

func startOnFreePort(ctx context.Context, options natsserver.Options) (*natsserver.Server, error) {
	if options.Port != 0 {
		return natsserver.Start(options)
	}
	var failed error
	for range startAttempts {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		options.Port = port
		s, err := natsserver.Start(options)
		if err == nil {
			return s, nil
		}
		failed = err
	}
	return nil, failed
}
