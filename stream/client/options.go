package client

import (
	"errors"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/wire"
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

// WithConsumerName names the consumer that Deliveries, Follow and CatchUp read
// through, which else has a name that is made up each time: a NATS user that is
// permitted this one name cannot touch other consumers. The name is 1 to 255 visible
// characters of ASCII but .*>/\. One reader at a time uses it, since another one takes
// the consumer away from the first. Such a reader reads no message of the stream by
// itself, which no permission limits to a selection. So after the clock of the NATS
// server was set back it may yield deliveries again, and an *ExpiredError comes as
// for other readers.
func WithConsumerName(name string) Option {
	return func(c *Client) { c.consumerName = name }
}

// WithAPIPrefix says what the subjects of the JetStream API begin with for readers
// whose account imports it from the router's account; the default is $JS.API. It is
// 1 to 8 tokens of A-Z, a-z, 0-9, $, _ and -, such as presence.js.
func WithAPIPrefix(prefix string) Option {
	return func(c *Client) { c.apiPrefix = prefix }
}

func (c *Client) validate() error {
	var name error
	if c.consumerName != "" {
		name = visible("consumer name", c.consumerName)
	}
	return errors.Join(
		name,
		wire.CheckAPIPrefix(c.apiPrefix),
		fault.Within("query timeout", c.queryTimeout, 10*time.Millisecond, time.Hour),
		fault.Within("replay timeout", c.replayTimeout, 10*time.Millisecond, 2*time.Hour),
	)
}
