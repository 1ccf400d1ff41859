package natstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
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

// reservations are the ports that this process has given away, until it ends: a
// server that is down for a while gets its port back. Other processes that look for
// a port respect them.
var reservations struct { //nolint:gochecknoglobals // They are the process's, as its ports are.
	mu    sync.Mutex
	locks []net.PacketConn
}

// FreePorts returns n different ports that nothing listens on, for servers that a
// test starts itself.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports, err := freePorts(tb.Context(), n)
	if err != nil {
		tb.Fatal(err)
	}
	return ports
}

// freePort returns a port that nothing listens on, and that no other server of a
// test has or had.
func freePort(ctx context.Context) (int, error) {
	var failed error
	for range portAttempts {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // A port is no secret.
		if failed = reservePort(ctx, port); failed == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", failed)
}

// freePorts returns n such ports.
func freePorts(ctx context.Context, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	return ports, nil
}

// reservePort locks a port that is free: its lock is the UDP socket of that number,
// which nats-server has no use for, and which the system takes back when the process
// ends.
func reservePort(ctx context.Context, port int) error {
	lock, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address(port))
	if err != nil {
		return err
	}
	if err := tryPort(ctx, port); err != nil {
		return errors.Join(err, lock.Close())
	}
	reservations.mu.Lock()
	defer reservations.mu.Unlock()
	reservations.locks = append(reservations.locks, lock)
	return nil
}

func tryPort(ctx context.Context, port int) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
