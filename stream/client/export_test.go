package client

import "time"

// WithLookUps has readers look up every interval what the stream holds, which is
// seldom otherwise.
func WithLookUps(interval time.Duration) Option {
	return func(c *Client) { c.lookUps = interval }
}
