package topology

import (
	"errors"
	"regexp"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// Storage is where the server keeps a stream.
type Storage string

// The storages of JetStream.
const (
	File   Storage = "file"
	Memory Storage = "memory"
)

// Config holds the settings of the streams.
type Config struct {
	Prefix     string           `yaml:"subject_prefix"` // first token of every subject; upper-cased it begins the stream names
	Replicas   int              `yaml:"replicas"`       // 1, 3 or 5
	Storage    Storage          `yaml:"storage"`
	Partitions int              `yaml:"partitions"` // shares of the updates, 1 to 256; of a deployment that is new, see Repartition
	Updates    UpdatesConfig    `yaml:"updates"`
	Deliveries DeliveriesConfig `yaml:"deliveries"`
	Dead       DeadConfig       `yaml:"dead"`
	State      StateConfig      `yaml:"state"`
}

// UpdatesConfig holds the settings of the stream that homeservers publish to.
type UpdatesConfig struct {
	MaxAge         time.Duration `yaml:"max_age"`          // how long an update is kept
	MaxBytes       int64         `yaml:"max_bytes"`        // size at which the oldest updates go; -1 for no limit
	MaxUpdateBytes int           `yaml:"max_update_bytes"` // a larger update is refused by the server, or a dead letter
}

// DeliveriesConfig holds the settings of the stream that workers commit to.
type DeliveriesConfig struct {
	MaxAge           time.Duration `yaml:"max_age"`            // how long a delivery is kept
	MaxBytes         int64         `yaml:"max_bytes"`          // size at which workers wait until deliveries expire; -1 for no limit
	MaxDeliveryBytes int           `yaml:"max_delivery_bytes"` // a larger delivery is split
	Shards           int           `yaml:"shards"`             // shares of the deliveries that readers filter by, 1 to 4096
	FastIngest       bool          `yaml:"fast_ingest"`        // commit by fast ingest where the stream has one replica
}

// DeadConfig holds the settings of the stream that keeps dead letters.
type DeadConfig struct {
	MaxAge   time.Duration `yaml:"max_age"`   // how long a dead letter is kept
	MaxBytes int64         `yaml:"max_bytes"` // size at which the oldest dead letters go; -1 for no limit
}

// StateConfig holds the settings of the stream that keeps the newest state of every
// user.
type StateConfig struct {
	Enabled  bool          `yaml:"enabled"`   // whether there is one; without, some queries are not answered
	MaxAge   time.Duration `yaml:"max_age"`   // how long the state of a user is kept who has no newer one
	MaxBytes int64         `yaml:"max_bytes"` // size at which the states go that are the oldest; -1 for no limit
}

// DefaultConfig returns the settings that a configuration starts from.
func DefaultConfig() Config {
	return Config{
		Prefix:     "presence",
		Replicas:   1,
		Storage:    File,
		Partitions: 16,
		Updates:    UpdatesConfig{MaxAge: 24 * time.Hour, MaxBytes: 8 << 30, MaxUpdateBytes: 64 << 10},
		Deliveries: DeliveriesConfig{MaxAge: 15 * time.Minute, MaxBytes: 4 << 30, MaxDeliveryBytes: 512 << 10, Shards: 16, FastIngest: true},
		Dead:       DeadConfig{MaxAge: 7 * 24 * time.Hour, MaxBytes: 1 << 30},
		State:      StateConfig{Enabled: true, MaxAge: 7 * 24 * time.Hour, MaxBytes: 1 << 30},
	}
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	return errors.Join(
		fault.Check(prefixPattern.MatchString(c.Prefix), "subject_prefix", c.Prefix, "1 to 32 of a-z, 0-9, _ and -"),
		fault.Check(c.Replicas == 1 || c.Replicas == 3 || c.Replicas == 5, "replicas", c.Replicas, "1, 3 or 5"),
		fault.Check(c.Storage == File || c.Storage == Memory, "storage", string(c.Storage), "file or memory"),
		fault.Within("partitions", c.Partitions, 1, deployment.MaxPartitions),
		fault.Within("updates.max_age", c.Updates.MaxAge, time.Minute, 366*24*time.Hour),
		checkLimit("updates.max_bytes", c.Updates.MaxBytes),
		fault.Within("updates.max_update_bytes", c.Updates.MaxUpdateBytes, 256, 256<<10),
		fault.Within("deliveries.max_age", c.Deliveries.MaxAge, time.Second, 366*24*time.Hour),
		checkLimit("deliveries.max_bytes", c.Deliveries.MaxBytes),
		fault.Within("deliveries.max_delivery_bytes", c.Deliveries.MaxDeliveryBytes, 1<<10, 768<<10),
		fault.Within("deliveries.shards", c.Deliveries.Shards, 1, 4096),
		fault.Within("dead.max_age", c.Dead.MaxAge, time.Minute, 366*24*time.Hour),
		checkLimit("dead.max_bytes", c.Dead.MaxBytes),
		fault.Within("state.max_age", c.State.MaxAge, time.Minute, 366*24*time.Hour),
		checkLimit("state.max_bytes", c.State.MaxBytes),
	)
}

func checkLimit(field string, bytes int64) error {
	return fault.Check(bytes == -1 || bytes >= 1<<20, field, bytes, "-1 or at least 1MiB")
}
