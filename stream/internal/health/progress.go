package health

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/updates"
)

// stuckAfter is after how many times worker.ttl a partition that has updates and
// comes no further is stuck. What fails is known at once; this is for what hangs.
const stuckAfter = 3

// followed is what is known of a partition beside its progress.
type followed struct {
	reader  *updates.Reader
	pending atomic.Pointer[uint64] // updates that are not done, as counted last; nil before
}

// progress tells whether the partitions of a worker go on.
type progress struct {
	bound time.Duration

	mu         sync.Mutex
	partitions map[*commit.Partition]*followed
}

func newProgress(bound time.Duration) *progress {
	return &progress{bound: bound, partitions: make(map[*commit.Partition]*followed)}
}

// follow looks at p and what reads it from now on, until the function it returns is
// called.
func (s *progress) follow(p *commit.Partition, r *updates.Reader) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partitions[p] = &followed{reader: r}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.partitions, p)
	}
}

// followed returns the partitions that are looked at.
func (s *progress) followed() map[*commit.Partition]*followed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.partitions)
}

// waiting returns nil while every partition that has something to do goes on, else
// an error about the one that has been stuck for longest.
func (s *progress) waiting(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest time.Duration
	number, stuck := 0, 0
	for p := range s.partitions {
		if d := p.Stuck(now); d > s.bound {
			stuck++
			if d > longest {
				longest, number = d, p.ID().Number
			}
		}
	}
	if stuck == 0 {
		return nil
	}
	return fmt.Errorf("%s, partition %d for %v",
		plural.Of(stuck, "partition has updates and comes no further", "partitions have updates and come no further"), number, longest.Round(time.Second))
}

// observe tells what is pending of the partitions that this worker has.
func (s *progress) observe(_ context.Context, o metric.Int64Observer) error {
	for p, f := range s.followed() {
		if n := f.pending.Load(); n != nil {
			o.Observe(int64(*n), metric.WithAttributes(attribute.Int("partition", p.ID().Number))) //nolint:gosec // A count of stored messages stays far below 2^63.
		}
	}
	return nil
}
