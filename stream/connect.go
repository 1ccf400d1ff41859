package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// MinServerVersion is the oldest nats-server that has atomic batches.
const MinServerVersion = "2.12.0"

// ErrServerVersion is wrapped by the error about a server that is too old.
var ErrServerVersion = errors.New("nats-server is too old")

// Connect connects to the servers at url, comma-separated, the way a worker needs
// it: it reconnects for ever, and keeps no buffer while it is away, which could
// split a commit. It tries with growing pauses until ctx ends; what no retry
// mends, such as refused credentials, ends it at once. The connection is the
// caller's to close.
func Connect(ctx context.Context, url string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	retry := wait.NewBackOff()
	waiting := wait.NewStall(log, "connecting to NATS")
	for {
		nc, err := nats.Connect(url, append(connectOptions(log), opts...)...)
		if err == nil {
			waiting.Ended()
			return nc, checkServer(nc)
		}
		if errors.Is(err, nats.ErrNoServers) {
			err = fmt.Errorf("%w: %w", err, syscall.ECONNREFUSED) // which nats.go says nothing of
		}
		err = fmt.Errorf("connect to NATS at %s: %w", redacted(url), err)
		if jsapi.Classify(err).IsFinal() {
			return nil, err
		}
		waiting.Failed(err)
		wait.Pause(ctx, retry.NextBackOff())
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

func connectOptions(log *slog.Logger) []nats.Option {
	errs := newErrorLog(log)
	// Of this connection and of those that are made with its options, such as that for queries.
	away := wait.NewOutage(log, "disconnected from NATS", "reconnected to NATS")
	return []nats.Option{
		nats.Name("presence-router"),
		nats.Timeout(jsapi.Timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return wait.LongestPause / 4 }),
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				away.FailedFor(nc, err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { away.EndedFor(nc) }),
		nats.ClosedHandler(func(nc *nats.Conn) {
			away.Forget(nc)
			away.Close()
		}),
		nats.ErrorHandler(errs.handle),
	}
}

// checkServer returns an error wrapping ErrServerVersion where the server lacks
// what the router needs, and closes the connection then.
func checkServer(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	if jsapi.AtLeast(version, MinServerVersion) {
		return nil
	}
	defer nc.Close()
	return fmt.Errorf("%w: %s has version %s, %s or newer is needed", ErrServerVersion, nc.ConnectedAddr(), version, MinServerVersion)
}

// redacted returns url without user names and passwords.
func redacted(url string) string {
	servers := strings.Split(url, ",")
	for i, server := range servers {
		scheme, rest, found := strings.Cut(server, "://")
		if !found {
			scheme, rest = "nats", server
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		servers[i] = scheme + "://" + rest
	}
	return strings.Join(servers, ",")
}
