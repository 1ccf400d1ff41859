package client

import (
	"errors"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
)

// Option sets something of a Client that has a working default.
type Option func(*Client)

// WithQueryTimeout bounds the wait for one answer of a worker, 10ms to 1h; the
// default is 10s. It is to be longer than worker.queries.timeout of the workers
// (5s), so that what they answer in the end is heard.
func WithQueryTimeout(timeout time.Duration) Option {
	return func(c *Client) { c.queryTimeout = timeout }
}

// WithReplayTimeout is WithQueryTimeout for SendOnlinePresence, for which workers
// take worker.queries.replay_timeout (1m), 10ms to 2h; the default is 90s.
func WithReplayTimeout(timeout time.Duration) Option {
	return func(c *Client) { c.replayTimeout = timeout }
}

func (c *Client) validate() error {
	return errors.Join(
		fault.Within("query timeout", c.queryTimeout, 10*time.Millisecond, time.Hour),
		fault.Within("replay timeout", c.replayTimeout, 10*time.Millisecond, 2*time.Hour),
	)
}
