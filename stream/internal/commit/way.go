package commit

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// way is what the two ways to commit have in common.
type way struct {
	Config

	nc        *nats.Conn
	staged    chan Unit // one place for every slot of every partition
	stall     *wait.Stall
	letters   *letterNotice
	telemetry *telemetry
	counted   *tally

	// Of the goroutine in run alone.
	arriving    <-chan Unit // staged, nil once that is closed and empty
	foundPurged time.Time   // when a checkpoint was found to be gone last
}

// done counts a unit whose position is reached.
func (c *way) done(ctx context.Context, u Unit) {
	if u.staged { // Checkpoints that are written again are no progress.
		u.partition.inHand.done(len(u.Updates))
	}
	c.telemetry.done(ctx, u)
	c.counted.add(u)
	c.letters.note(u.Dead)
}

// release gives the unit's slot back, so that its partition may stage another.
func (c *way) release(u Unit) {
	for _, span := range u.Spans {
		span.End()
	}
	if u.staged {
		<-u.partition.slots
	}
}

// purged tells that the checkpoint of p is gone and will be written anew. The
// partitions find that out one by one; it is logged once.
func (c *way) purged(p *Partition) {
	if time.Since(c.foundPurged) > wait.Reminder {
		c.Log.Warn("checkpoints are gone, the deliveries stream was purged or made again: writing them anew", "partition", p.id.Number)
	}
	c.foundPurged = time.Now()
}

// loses returns why a partition is lost whose newest checkpoint is n, which this
// worker did not expect. Where that one is older than one this worker wrote, the
// deliveries stream itself went back in time.
func (c *way) loses(p *Partition, n checkpoint.Checkpoint) error {
	if n.At < p.newest.At || strings.HasPrefix(n.Commit, c.Instance+"-") {
		return ErrRolledBack
	}
	return &checkpoint.LostError{Partition: p.id.Number, Owner: n.Worker}
}
