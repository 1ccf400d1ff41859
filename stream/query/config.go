package query

import (
	"errors"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
)

// Config bounds the queries that one worker answers.
type Config struct {
	Concurrency   int           `yaml:"concurrency"`    // most queries answered at once
	Waiting       int           `yaml:"waiting"`        // most queries waiting for that; more are refused
	MaxBytes      int           `yaml:"max_bytes"`      // most bytes of the requests that wait or are answered, replays and others each; more are refused
	Timeout       time.Duration `yaml:"timeout"`        // bound on one query, waiting included
	Replays       int           `yaml:"replays"`        // most send_online_presence queries answered at once, beside the others
	ReplayTimeout time.Duration `yaml:"replay_timeout"` // bound on one of those, waiting included
	ReplyPrefixes []ReplyPrefix `yaml:"reply_prefixes"` // of the subjects that answers go to, beside the inboxes of the worker's connection
}

// DefaultConfig returns the settings that a configuration starts from.
func DefaultConfig() Config {
	return Config{
		Concurrency: 32, Waiting: 1024, MaxBytes: 16 << 20, Timeout: 5 * time.Second, Replays: 2, ReplayTimeout: time.Minute,
		ReplyPrefixes: []ReplyPrefix{DefaultInboxPrefix, ImportReplyPrefix},
	}
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	return errors.Join(
		fault.Within("concurrency", c.Concurrency, 1, 1024),
		fault.Within("waiting", c.Waiting, 1, 65_536),
		fault.Within("max_bytes", c.MaxBytes, 1<<20, 1<<30),
		fault.Within("timeout", c.Timeout, 10*time.Millisecond, 10*time.Minute),
		fault.Within("replays", c.Replays, 1, 64),
		fault.Within("replay_timeout", c.ReplayTimeout, time.Second, time.Hour),
		fault.Check(len(c.ReplyPrefixes) <= maxReplyPrefixes, "reply_prefixes", len(c.ReplyPrefixes), fmt.Sprintf("at most %d prefixes", maxReplyPrefixes)),
		c.eachPrefix(ReplyPrefix.Validate),
	)
}

const maxReplyPrefixes = 64

// ValidateBeside returns nil, or the joined faults of prefixes of replies that
// subjects of a deployment begin with, whose streams.subject_prefix is subjects.
func (c Config) ValidateBeside(subjects string) error {
	return c.eachPrefix(func(p ReplyPrefix) error { return p.ValidateBeside(subjects) })
}

func (c Config) eachPrefix(check func(ReplyPrefix) error) error {
	var faults []error
	for i, prefix := range c.ReplyPrefixes {
		faults = append(faults, fault.Under(fmt.Sprintf("reply_prefixes[%d]", i), check(prefix)))
	}
	return errors.Join(faults...)
}
