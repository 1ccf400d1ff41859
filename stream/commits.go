package stream

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// commits is what the two ways to commit have in common.
type commits struct {
	nc          *nats.Conn
	checkpoints checkpoints
	subjects    wire.Subjects
	instance    string // unique to this process: its commit IDs begin with it
	config      WorkerConfig
	staged      chan unit // one place for every slot of every partition
	stall       *wait.Stall
	log         *slog.Logger
	letters     *letterNotice
	telemetry   *telemetry

	// Of the goroutine in run alone.
	arriving    <-chan unit // staged, nil once that is closed and empty
	foundPurged time.Time   // when a checkpoint was found to be gone last
}

// done counts a unit whose position is reached.
func (c *commits) done(ctx context.Context, u unit) {
	if u.staged { // Checkpoints that are written again are no progress.
		u.partition.inHand.done(len(u.updates))
	}
	c.telemetry.done(ctx, u)
	c.letters.note(u.dead)
}

// release gives the unit's slot back, so that its partition may stage another.
func (c *commits) release(u unit) {
	for _, span := range u.spans {
		span.End()
	}
	if u.staged {
		<-u.partition.slots
	}
}

// purged tells that the checkpoint of p is gone and will be written anew. The
// partitions find that out one by one; it is logged once.
func (c *commits) purged(p *partition) {
	if time.Since(c.foundPurged) > wait.Reminder {
		c.log.Warn("checkpoints are gone, the deliveries stream was purged or made again: writing them anew", "partition", p.id.number)
	}
	c.foundPurged = time.Now()
}

// loses returns why a partition is lost whose newest checkpoint is n, which this
// worker did not expect. Where that one is older than one this worker wrote, the
// deliveries stream itself went back in time.
func (c *commits) loses(p *partition, n checkpoint) error {
	if n.sequence < p.newest.sequence || strings.HasPrefix(n.Commit, c.instance+"-") {
		return errRolledBack
	}
	return &lostError{partition: p.id.number, owner: n.Worker}
}
