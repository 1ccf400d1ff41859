package natstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

const (
	host = "127.0.0.1"

	// Ports for servers stay below those that systems give to outgoing connections:
	// a client that dials a server while that is down could else be given the very
	// port, connect to itself and keep the server from coming back.
	lowestPort  = 10000
	highestPort = 30000

	portAttempts = 100
)

// FreePorts returns n different ports that nothing listened on just now, for
// servers that a test starts itself.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports, err := freePorts(tb.Context(), n)
	if err != nil {
		tb.Fatal(err)
	}
	return ports
}

// freePort returns a port that nothing listened on just now.
func freePort(ctx context.Context) (int, error) {
	var failed error
	for range portAttempts {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // A port is no secret.
		if failed = tryPort(ctx, port); failed == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", failed)
}

// freePorts returns n different ports.
func freePorts(ctx context.Context, n int) ([]int, error) {
	taken := make(map[int]bool, n)
	ports := make([]int, 0, n)
	for range n * portAttempts {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		if !taken[port] {
			taken[port] = true
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find free ports: too few")
}

func tryPort(ctx context.Context, port int) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
