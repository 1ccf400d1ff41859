package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/presence-router/presence-router/stream/wire"
)

// askAgain is how many attempts there are after the first.
const askAgain = 4

// ErrNoAnswer is wrapped by the error about a query that a worker may have been
// sent and did not answer in time.
var ErrNoAnswer = errors.New("no worker has answered in time")

// ask sends one request and returns the answer, or the *wire.QueryError that it
// was answered with. Where a replica cannot answer, or is gone with the request,
// another is asked: which one gets a request is up to the server. All queries may
// be asked twice: three of them only read, and a reader drops what is replayed
// twice.
func (c *Client) ask(ctx context.Context, query string, request []byte) ([]byte, error) {
	retry := backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause)), askAgain)
	for {
		answer, err := c.askOnce(ctx, query, request)
		if err == nil {
			return answer, nil
		}
		next := retry.NextBackOff()
		if isFinal(err) || next == backoff.Stop || pause(ctx, next) != nil {
			return nil, fmt.Errorf("ask %s: %w", query, err)
		}
	}
}

func (c *Client) askOnce(ctx context.Context, query string, request []byte) ([]byte, error) {
	timeout := c.queryTimeout
	if query == wire.SendOnlinePresence {
		timeout = c.replayTimeout
	}
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(attempt, c.subjects.Query(query), request)
	switch {
	case err == nil:
		return m.Data, wire.DecodeQueryError(m.Header.Get(wire.ErrorCodeHeader), m.Header.Get(wire.ErrorHeader))
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !c.nc.IsConnected() && !c.nc.IsClosed():
		return nil, errAway
	case attempt.Err() != nil:
		return nil, fmt.Errorf("%w (waited for %v)", ErrNoAnswer, timeout)
	default:
		return nil, err
	}
}

// pause waits for d, or returns why ctx ended before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
