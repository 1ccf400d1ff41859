package integration_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// tuning is what differs between the servers and the workers of two campaigns.
type tuning struct {
	servers            int
	disk               int64 // bytes of a disk of its own that the only server has, 0 for none
	replicas           int
	ttl                time.Duration
	commitTimeout      time.Duration
	checkpointInterval time.Duration
	batch              int
	skewed             bool // whether the clocks of workers may jump
	amid               bool // whether nemeses strike in the middle of batches
}

// quick keeps it short until a worker is known to be gone, and a commit to be in
// doubt.
func quick() tuning {
	return tuning{ttl: time.Second, commitTimeout: time.Second, checkpointInterval: 100 * time.Millisecond, batch: 256}
}

// tuned returns quick, or where there is time what the numbers choose.
func tuned(e effort, numbers *rand.Rand) tuning {
	if !e.full() {
		return quick()
	}
	return tuning{
		ttl:                oneOf(numbers, time.Second, 3*time.Second),
		commitTimeout:      oneOf(numbers, 300*time.Millisecond, time.Second, 5*time.Second),
		checkpointInterval: oneOf(numbers, 100*time.Millisecond, time.Second),
		batch:              oneOf(numbers, 1, 16, 256),
	}
}

func oneOf[T any](numbers *rand.Rand, choices ...T) T { return choices[numbers.IntN(len(choices))] }

// settings also have workers wait for servers for as long as it takes.
func (t tuning) settings() settings {
	return settings{
		"STREAMS_REPLICAS":           strconv.Itoa(t.replicas),
		"NATS_CONNECT_TIMEOUT":       "5m",
		"WORKER_START_TIMEOUT":       "5m",
		"WORKER_TTL":                 t.ttl.String(),
		"WORKER_COMMIT_TIMEOUT":      t.commitTimeout.String(),
		"WORKER_CHECKPOINT_INTERVAL": t.checkpointInterval.String(),
		"WORKER_BATCH":               strconv.Itoa(t.batch),
	}
}

// String returns the settings of workers, for people.
func (t tuning) String() string {
	return fmt.Sprintf("servers %d, replicas %d, ttl %v, commit_timeout %v, checkpoint_interval %v, batch %d", t.servers, t.replicas, t.ttl, t.commitTimeout, t.checkpointInterval, t.batch)
}
