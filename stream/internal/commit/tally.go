package commit

import (
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// Totals is how much a worker has committed so far.
type Totals struct {
	Updates    [deployment.MaxPartitions]int64 // by partition
	Deliveries int64
}

// tally counts what is done, for the heartbeats. Its methods may be called by several
// goroutines at once.
type tally struct {
	updates     [deployment.MaxPartitions]atomic.Int64 // by partition
	deliveries  atomic.Int64
	refused     atomic.Uint64 // updates that went to nobody, because no recipient may have them
	lastRefused atomic.Int64  // when the last of them was done, Unix time in ns
}

// add counts a unit whose position is reached.
func (t *tally) add(u Unit) {
	t.deliveries.Add(u.deliveries())
	t.updates[u.partition.id.Number].Add(int64(len(u.Updates)))
	if refused := outcomesOf(u).notLocal; refused > 0 {
		t.refused.Add(uint64(refused))
		t.lastRefused.Store(time.Now().UnixNano())
	}
}

// totals returns what is done so far.
func (t *tally) totals() Totals {
	done := Totals{Deliveries: t.deliveries.Load()}
	for p := range t.updates {
		done.Updates[p] = t.updates[p].Load()
	}
	return done
}

// notLocal returns how many updates went to nobody, and when the last of them was done.
func (t *tally) notLocal() (updates uint64, last time.Time) {
	if updates = t.refused.Load(); updates > 0 {
		last = time.Unix(0, t.lastRefused.Load())
	}
	return updates, last
}
