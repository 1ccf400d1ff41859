package stream

import (
	"time"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
)

// changes is what has become of a worker's partitions since it told so last, for one
// line of log about many partitions.
type changes struct {
	begun int            // claimed
	fresh int            // of them, those without a checkpoint
	from  map[string]int // of them, how many each worker had before
	ended int
}

func newChanges() changes { return changes{from: make(map[string]int)} }

func (c *changes) claimed(claimed claim.Claim) {
	c.begun++
	switch claimed.Before {
	case "":
		c.fresh++
	case checkpoint.Repartitioner: // Nobody has had it yet.
	default:
		c.from[claimed.Before]++
	}
}

// tellChanges logs how this worker got to its share, at once where it is the first
// time, then at most once in the time that a heartbeat counts.
func (o *ownership) tellChanges(now time.Time) {
	c := o.changes
	if o.begun && (c.begun+c.ended == 0 || now.Sub(o.told) < o.ttl) {
		return
	}
	log := o.worker.options.log.With("worker", o.members.self, "partitions", len(o.tenures), "workers", len(o.members.others)+1,
		"taken_over_from", c.from)
	if o.begun {
		log.Info("partitions were shared anew", "given_up", c.ended)
	} else {
		log.Info("claimed the partitions")
	}
	if c.fresh > 0 {
		o.worker.options.log.Info("partitions have no checkpoint", "partitions", c.fresh, "start", string(o.worker.config.Worker.Start))
	}
	o.begun, o.told, o.changes = true, now, newChanges()
}
