package stream

import (
	"context"
	"errors"
	"time"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// tenure is this worker's time with a partition, from the first attempt to claim it
// until all that was routed is committed or the partition is lost.
type tenure struct {
	release context.CancelFunc // ends it in good order
	claim   uint64             // sequence of the checkpoint it was claimed with, 0 until it is
}

// event is what a tenure has come to.
type event struct {
	partition int
	claim     *claim.Claim // where it has claimed the partition
	err       error        // else, why it ended; nil where the partition was released
}

// mayClaim reports whether it is time to claim a partition: whoever has it has
// given it up, or does not in time. A worker that is no member claims nothing: it
// may be the one that cannot be heard.
func (o *ownership) mayClaim(partition int, now time.Time) bool {
	if !o.member(now) || now.Before(o.rests[partition]) {
		return false
	}
	if !o.members.holds(partition) {
		delete(o.waits, partition)
		return true
	}
	if o.waits[partition].IsZero() {
		o.waits[partition] = now
	}
	return now.Sub(o.waits[partition]) > o.ttl
}

// begin begins a tenure.
func (o *ownership) begin(work context.Context, partition int) {
	take, release := context.WithCancel(work)
	o.tenures[partition] = &tenure{release: release}
	limit := noLimit
	if !o.begun {
		limit = o.worker.config.Worker.StartTimeout
	}
	id := deployment.Partition{Generation: o.layout.Generation, Number: partition}
	o.running.Go(func() {
		defer release()
		err := o.worker.serve(take, work, id, limit, func(c claim.Claim) {
			o.events <- event{partition: partition, claim: &c}
		})
		o.events <- event{partition: partition, err: err}
	})
}

// note takes over what a tenure has come to.
func (o *ownership) note(work context.Context, e event) {
	if e.claim != nil {
		o.tenures[e.partition].claim = e.claim.Checkpoint.Revision
		if !e.claim.Again {
			o.changes.claimed(*e.claim)
		}
		return
	}
	delete(o.tenures, e.partition)
	delete(o.waits, e.partition)
	o.changes.ended++
	switch lost := (*checkpoint.LostError)(nil); {
	case e.err == nil || wait.Ended(work):
	case errors.As(e.err, &lost):
		o.rests[e.partition] = time.Now().Add(o.ttl / restsPerTTL)
	default:
		o.stop(e.err)
	}
}
