package client

import (
	"errors"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
)

// PublisherConfig holds the bounds of a Publisher.
type PublisherConfig struct {
	MaxPending     int           // updates that are taken over and have no outcome yet, 1 to 65536
	MaxUpdateBytes int           // a larger update is refused; streams.updates.max_update_bytes of the workers, 256 to 262144
	AckTimeout     time.Duration // wait for the server's answer to one attempt, 10ms to 30s
	// RetryLimit is how long after it was taken over an update is published again, 0
	// to 90s: less than the duplicate window by the longest AckTimeout, so that the
	// server still knows the ID of the first attempt when the last one arrives.
	RetryLimit time.Duration
	// IDKey is a secret of 16 to 256 bytes that message IDs are made with, "" for a
	// random one. Publishers with the same key make the same message ID of the same
	// ID: so an update that is published again after a restart is stored once, too.
	// Whoever knows the key can keep updates from being stored.
	IDKey string
}

// DefaultPublisherConfig returns the bounds to start from.
func DefaultPublisherConfig() PublisherConfig {
	return PublisherConfig{
		MaxPending:     4000,
		MaxUpdateBytes: 64 << 10,
		AckTimeout:     5 * time.Second,
		RetryLimit:     30 * time.Second,
	}
}

// Validate returns nil, or the joined errors that each name a field.
func (c PublisherConfig) Validate() error {
	return errors.Join(
		fault.Within("MaxPending", c.MaxPending, 1, 1<<16),
		fault.Within("MaxUpdateBytes", c.MaxUpdateBytes, 256, 256<<10),
		fault.Within("AckTimeout", c.AckTimeout, 10*time.Millisecond, 30*time.Second),
		fault.Within("RetryLimit", c.RetryLimit, 0, 90*time.Second),
		fault.Check(c.IDKey == "" || 16 <= len(c.IDKey) && len(c.IDKey) <= 256, "IDKey", "(hidden)", "16 to 256 bytes, or none"),
	)
}
