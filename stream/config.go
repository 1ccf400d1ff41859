package stream

import (
	"errors"
	"regexp"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/query"
	"github.com/presence-router/presence-router/stream/topology"
)

// Start says where a partition without a checkpoint begins.
type Start string

// Where a partition without a checkpoint may begin.
const (
	Oldest Start = "oldest" // at the oldest update that is still stored
	Newest Start = "newest" // after the newest update
)

// Config is what a Worker is configured with.
type Config struct {
	ServerNames []presence.ServerName // whose users are local; at least one
	Streams     topology.Config
	Worker      WorkerConfig
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	return errors.Join(
		fault.Check(len(c.ServerNames) > 0, "server_names", c.ServerNames, "at least one server name"),
		fault.Under("streams", c.Streams.Validate()),
		fault.Under("worker", c.Worker.Validate()),
		fault.Under("worker.queries", c.Worker.Queries.ValidateBeside(c.Streams.Prefix)),
	)
}

// WorkerConfig holds the settings of one worker.
type WorkerConfig struct {
	ID                 string        `yaml:"id"`                  // unique among the workers; made up where empty
	Batch              int           `yaml:"batch"`               // most updates of a partition routed together
	RouterTimeout      time.Duration `yaml:"router_timeout"`      // bound on one call of a router
	Coalesce           bool          `yaml:"coalesce"`            // keep only the newest state per user in one delivery
	Start              Start         `yaml:"start"`               // where a partition without a checkpoint begins
	CheckpointInterval time.Duration `yaml:"checkpoint_interval"` // bound on how long a position that delivers nothing stays uncommitted
	CommitTimeout      time.Duration `yaml:"commit_timeout"`      // wait for the answer to a commit before its outcome is looked up
	RetryLimit         time.Duration `yaml:"retry_limit"`         // bound on how long a partition waits for a router whose policy is retry
	StartTimeout       time.Duration `yaml:"start_timeout"`       // bound on waiting for streams and partitions on start
	StopTimeout        time.Duration `yaml:"stop_timeout"`        // bound on committing what is routed when the worker stops
	TTL                time.Duration `yaml:"ttl"`                 // how long a worker that is not heard of keeps its partitions
	Topology           bool          `yaml:"apply_topology"`      // on start, make the streams that are missing and turn on what is needed
	Queries            query.Config  `yaml:"queries"`
}

// DefaultWorkerConfig returns the settings that a configuration starts from.
func DefaultWorkerConfig() WorkerConfig {
	return WorkerConfig{
		Batch:              256,
		RouterTimeout:      5 * time.Second,
		Start:              Oldest,
		CheckpointInterval: time.Second,
		CommitTimeout:      5 * time.Second,
		RetryLimit:         time.Minute,
		StartTimeout:       30 * time.Second,
		StopTimeout:        10 * time.Second,
		TTL:                3 * time.Second,
		Topology:           true,
		Queries:            query.DefaultConfig(),
	}
}

var workerIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

// Validate returns nil or the joined faults, each a *fault.Field.
func (c WorkerConfig) Validate() error {
	return errors.Join(
		fault.Check(workerIDPattern.MatchString(c.ID), "id", c.ID, "at most 64 of A-Z, a-z, 0-9, _ and -"),
		fault.Within("batch", c.Batch, 1, 4096),
		fault.Within("router_timeout", c.RouterTimeout, time.Millisecond, 10*time.Minute),
		fault.Check(c.Start == Oldest || c.Start == Newest, "start", string(c.Start), "oldest or newest"),
		fault.Within("checkpoint_interval", c.CheckpointInterval, 10*time.Millisecond, time.Minute),
		fault.Within("commit_timeout", c.CommitTimeout, 100*time.Millisecond, time.Minute),
		fault.Within("retry_limit", c.RetryLimit, 0, time.Hour),
		fault.Within("start_timeout", c.StartTimeout, time.Second, time.Hour),
		fault.Within("stop_timeout", c.StopTimeout, 100*time.Millisecond, 10*time.Minute),
		fault.Within("ttl", c.TTL, time.Second, time.Minute),
		fault.Under("queries", c.Queries.Validate()),
	)
}
