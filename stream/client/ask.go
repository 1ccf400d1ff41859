package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/wire"
)

const (
	// askTimeout bounds one request, beyond what a worker takes for it by default.
	askTimeout = 90 * time.Second
	askAgain   = 4 // attempts after the first where no replica could answer
)

// ask sends one request and returns the answer, or the *wire.QueryError that it
// was answered with. Where a replica cannot answer, another is asked: which one
// gets a request is up to the server.
func (c *Client) ask(ctx context.Context, query string, request []byte) ([]byte, error) {
	retry := backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause)), askAgain)
	for {
		answer, err := c.askOnce(ctx, query, request)
		if err == nil {
			return answer, nil
		}
		next := retry.NextBackOff()
		if !isPassing(err) || next == backoff.Stop || pause(ctx, next) != nil {
			return nil, fmt.Errorf("ask %s: %w", query, err)
		}
	}
}

func (c *Client) askOnce(ctx context.Context, query string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, c.subjects.Query(query), request)
	if err != nil {
		return nil, err
	}
	return m.Data, wire.DecodeQueryError(m.Header.Get(wire.ErrorCodeHeader), m.Header.Get(wire.ErrorHeader))
}

// isPassing reports whether another attempt may have an answer: a replica said so,
// or there was none at that moment.
func isPassing(err error) bool {
	q, ok := errors.AsType[*wire.QueryError](err)
	return ok && q.Code == wire.CodeUnavailable || errors.Is(err, nats.ErrNoResponders)
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
