package sender

import (
	"errors"
	"regexp"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Config is what a Sender is configured with.
type Config struct {
	Prefix    string                // of the subjects
	APIPrefix string                // of the subjects of the JetStream API, which an account that imports it may call otherwise
	Name      string                // of the durable consumers; senders of different names each get every delivery
	Share     Share                 // which deliveries this sender reads
	Origins   []presence.ServerName // whose users' states are sent, at least one; others are left out

	Concurrency int   // most batches handed over at once, over all destinations
	MaxEDUs     int   // most EDUs in one batch, 1 to 100
	MaxStates   int   // bound on states held, and on deliveries held; beyond it the server holds the rest
	MaxBytes    int64 // bound on the memory of what is held, about

	TTL        time.Duration // age at which a state is given up
	OfflineTTL time.Duration // the same for a user's last state where that is offline

	FirstRetry   time.Duration // pause after the first failure of a destination, doubled by each further one
	LongestRetry time.Duration // bound on that pause

	AckWait     time.Duration // after which another sender takes over from one that the server does not hear; the same for all of one Name
	StopTimeout time.Duration // bound on batches under way when the sender stops
}

// DefaultConfig returns the settings that a configuration starts from. It lacks
// Origins.
func DefaultConfig() Config {
	return Config{
		Prefix:       "presence",
		APIPrefix:    wire.DefaultAPIPrefix,
		Name:         "federate",
		Concurrency:  64,
		MaxEDUs:      20,
		MaxStates:    100_000,
		MaxBytes:     64 << 20,
		TTL:          15 * time.Minute,
		OfflineTTL:   time.Hour,
		FirstRetry:   time.Second,
		LongestRetry: 5 * time.Minute,
		AckWait:      30 * time.Second,
		StopTimeout:  10 * time.Second,
	}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	return errors.Join(
		fault.Check(wire.CheckAPIPrefix(c.APIPrefix) == nil, "api_prefix", c.APIPrefix,
			"1 to 8 tokens of A-Z, a-z, 0-9, $, _ and -, such as $JS.API or presence.js"),
		fault.Check(namePattern.MatchString(c.Name), "name", c.Name, "1 to 64 of A-Z, a-z, 0-9, _ and -"),
		fault.Check(len(c.Origins) > 0, "origins", c.Origins, "at least one server name"),
		c.Share.Validate(),
		fault.Within("concurrency", c.Concurrency, 1, 4096),
		fault.Within("max_edus", c.MaxEDUs, 1, 100),
		fault.Within("max_states", c.MaxStates, 1, 10_000_000),
		fault.Check(c.MaxBytes >= 1<<20, "max_bytes", c.MaxBytes, "at least 1MiB"),
		fault.Within("ttl", c.TTL, time.Second, 24*time.Hour),
		fault.Within("offline_ttl", c.OfflineTTL, c.TTL, 7*24*time.Hour),
		fault.Within("first_retry", c.FirstRetry, time.Millisecond, time.Hour),
		fault.Within("longest_retry", c.LongestRetry, c.FirstRetry, 24*time.Hour),
		fault.Within("ack_wait", c.AckWait, time.Second, time.Hour),
		fault.Within("stop_timeout", c.StopTimeout, 100*time.Millisecond, 10*time.Minute),
	)
}
