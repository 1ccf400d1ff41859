package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/presence-router/presence-router/stream/wire"
)

// slotsPerPartition is how many units of a partition may be on their way: one that is
// being committed, one that is sent ahead, and one that is routed or ready to follow.
const slotsPerPartition = 3

// firstBatch is how many updates are routed together before it is known how many
// recipients they have.
const firstBatch = 16

// errRolledBack is why a partition is claimed anew: the deliveries stream went
// back to an older checkpoint, and what was committed since is gone.
var errRolledBack = errors.New("the deliveries stream went back to an older checkpoint")

// lostError is the error of a partition that another worker took over.
type lostError struct {
	partition int
	owner     string // ID of the worker that wrote the newest checkpoint
}

// Error names the partition and its new owner.
func (e *lostError) Error() string {
	return fmt.Sprintf("partition %d was taken over by worker %q", e.partition, e.owner)
}

// partition is one claimed share of the updates, on its way through this worker.
type partition struct {
	id     partitionID
	slots  chan struct{} // one is taken for each unit that is staged, and for the one to come
	lost   atomic.Bool
	tail   *tail
	inHand inHand
	stop   context.CancelCauseFunc // ends the partition's work

	// Of the committer's goroutine, and of others once the partition is lost.
	newest checkpoint // that this worker knows to be its own
	final  bool       // no unit follows those that were received

	// Of the partition's own goroutine.
	limit    int     // updates in the next batch
	reserved bool    // a slot is taken for the next unit
	held     *update // taken from the reader, but of another epoch than the batch before it
}

func newPartition(claimed claim, batch int, stop context.CancelCauseFunc) *partition {
	p := &partition{
		id: claimed.partition, slots: make(chan struct{}, slotsPerPartition), stop: stop,
		newest: claimed.checkpoint, tail: claimed.tail, limit: min(firstBatch, batch),
	}
	p.inHand.reached.Store(&claimed.position)
	return p
}

// committed notes the checkpoint that was stored for what this worker has done.
func (p *partition) committed(c checkpoint) {
	p.newest = c
	reached := c.position()
	p.inHand.reached.Store(&reached)
}

// lose ends the partition's work for good.
func (p *partition) lose(reason error) {
	p.lost.Store(true)
	p.stop(reason)
}

// checkpoint returns the checkpoint to write for the position upTo.
func (p *partition) checkpoint(upTo position, worker, commit string) wire.Checkpoint {
	c := upTo.checkpoint(worker, commit)
	if p.tail.covers(upTo) {
		c.Tail = p.tail.place()
	}
	return c
}

// take waits for one update and returns it with what else has arrived by then,
// up to the batch limit, within one epoch and one unit of the tail. It returns nil once
// ctx ends.
func (p *partition) take(ctx context.Context, arrived <-chan update) []update {
	batch := p.first(ctx, arrived)
	for len(batch) > 0 && len(batch) < p.limit {
		select {
		case u := <-arrived:
			if u.epoch != batch[0].epoch || p.tail.divides(batch[0], u) {
				p.held = &u
				return batch
			}
			batch = append(batch, u)
		default:
			return batch
		}
	}
	return batch
}

func (p *partition) first(ctx context.Context, arrived <-chan update) []update {
	if ctx.Err() != nil {
		return nil
	}
	if p.held != nil {
		u := *p.held
		p.held = nil
		return []update{u}
	}
	select {
	case u := <-arrived:
		return append(make([]update, 0, min(p.limit, len(arrived)+1)), u)
	case <-ctx.Done():
		return nil
	}
}

// adapt chooses the size of the next batch, most updates at most, from how many
// messages the updates of this one made: a whole number of such batches is to fill
// an atomic batch.
func (p *partition) adapt(updates, messages, most int) {
	if messages == 0 {
		p.limit = most
		return
	}
	units := max(1, (maxBatchMessages*updates+messages*most-1)/(messages*most))
	p.limit = max(1, min(most, (maxBatchMessages-units)*updates/(messages*units)))
}

// reserve takes a slot for the next unit, once one is free. It comes before the unit's
// updates are taken, so that those that arrive meanwhile are routed together.
func (p *partition) reserve(ctx context.Context) error {
	if p.reserved {
		return nil
	}
	select {
	case p.slots <- struct{}{}:
		p.reserved = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stage hands a unit to the committer, once one of the partition's slots is free.
func (p *partition) stage(ctx context.Context, u unit, staged chan<- unit) error {
	if err := p.reserve(ctx); err != nil {
		return err
	}
	p.reserved = false
	u.partition, u.staged = p, true
	select {
	case staged <- u:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drain returns once everything that was staged is committed, and the position
// with it, or the partition is lost. Nothing is staged after it.
func (p *partition) drain(ctx context.Context, staged chan<- unit) error {
	if err := p.stage(ctx, unit{final: true}, staged); err != nil {
		return err
	}
	for range slotsPerPartition {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
