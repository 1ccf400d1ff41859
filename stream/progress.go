package stream

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/internal/plural"
)

// stuckAfter is after how many times worker.ttl a partition that has updates and
// comes no further is stuck. What fails is known at once; this is for what hangs.
const stuckAfter = 3

// inHand is what one claimed partition works on: updates that were taken from the
// reader and are not done.
type inHand struct {
	updates atomic.Int64
	moved   atomic.Int64 // when the first of them was taken or something was done, Unix time in ns

	consumer *atomic.Pointer[string]  // name of what reads the partition; nil before
	reached  atomic.Pointer[position] // that is committed
	pending  atomic.Pointer[uint64]   // updates behind that, as counted last; nil before
}

// took notes updates that were taken.
func (w *inHand) took(updates int) {
	if w.updates.Load() == 0 {
		w.moved.Store(time.Now().UnixNano())
	}
	w.updates.Add(int64(updates))
}

// done notes a unit of work that is done, and the updates that it completes.
func (w *inHand) done(updates int) {
	w.moved.Store(time.Now().UnixNano())
	w.updates.Add(int64(-updates))
}

// stuck returns for how long nothing was done, 0 where there is nothing to do.
func (w *inHand) stuck(now time.Time) time.Duration {
	if w.updates.Load() == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, w.moved.Load()))
}

// progress tells whether the partitions of a worker go on.
type progress struct {
	bound time.Duration

	mu         sync.Mutex
	partitions map[*partition]bool
}

func newProgress(bound time.Duration) *progress {
	return &progress{bound: bound, partitions: make(map[*partition]bool)}
}

// follow looks at p from now on, until the function it returns is called.
func (s *progress) follow(p *partition) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partitions[p] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.partitions, p)
	}
}

// followed returns the partitions that are looked at.
func (s *progress) followed() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.partitions))
}

// waiting returns nil while every partition that has something to do goes on, else
// an error about the one that has been stuck for longest.
func (s *progress) waiting(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest time.Duration
	number, stuck := 0, 0
	for p := range s.partitions {
		if d := p.inHand.stuck(now); d > s.bound {
			stuck++
			if d > longest {
				longest, number = d, p.id.number
			}
		}
	}
	if stuck == 0 {
		return nil
	}
	return fmt.Errorf("%s, partition %d for %v",
		plural.Of(stuck, "partition has updates and comes no further", "partitions have updates and come no further"), number, longest.Round(time.Second))
}
