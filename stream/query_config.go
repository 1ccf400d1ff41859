package stream

import (
	"errors"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
)

// QueriesConfig bounds the queries that one worker answers.
type QueriesConfig struct {
	Concurrency   int           `yaml:"concurrency"`    // most queries answered at once
	Waiting       int           `yaml:"waiting"`        // most queries waiting for that; more are refused
	MaxBytes      int           `yaml:"max_bytes"`      // most bytes of the requests that wait or are answered, replays and others each; more are refused
	Timeout       time.Duration `yaml:"timeout"`        // bound on one query, waiting included
	Replays       int           `yaml:"replays"`        // most send_online_presence queries answered at once, beside the others
	ReplayTimeout time.Duration `yaml:"replay_timeout"` // bound on one of those, waiting included
}

// DefaultQueriesConfig returns the settings that a configuration starts from.
func DefaultQueriesConfig() QueriesConfig {
	return QueriesConfig{
		Concurrency: 32, Waiting: 1024, MaxBytes: 16 << 20, Timeout: 5 * time.Second, Replays: 2, ReplayTimeout: time.Minute,
	}
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c QueriesConfig) Validate() error {
	return errors.Join(
		fault.Within("concurrency", c.Concurrency, 1, 1024),
		fault.Within("waiting", c.Waiting, 1, 65_536),
		fault.Within("max_bytes", c.MaxBytes, 1<<20, 1<<30),
		fault.Within("timeout", c.Timeout, 10*time.Millisecond, 10*time.Minute),
		fault.Within("replays", c.Replays, 1, 64),
		fault.Within("replay_timeout", c.ReplayTimeout, time.Second, time.Hour),
	)
}
