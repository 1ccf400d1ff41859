package commit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/wire"
)

// slotsPerPartition is how many units of a partition may be on their way: one that is
// being committed, one that is sent ahead, and one that is routed or ready to follow.
const slotsPerPartition = 3

// ErrRolledBack is why a partition is claimed anew: the deliveries stream went
// back to an older checkpoint, and what was committed since is gone.
var ErrRolledBack = errors.New("the deliveries stream went back to an older checkpoint")

// Partition is one claimed share of the updates, on its way through this worker.
type Partition struct {
	id     deployment.Partition
	staged chan<- Unit   // where units are committed
	slots  chan struct{} // one is taken for each unit that is staged, and for the one to come
	lost   atomic.Bool
	tail   *checkpoint.Tail
	inHand inHand
	stop   context.CancelCauseFunc // ends the partition's work

	// Of the committer's goroutine, and of others once the partition is lost.
	newest checkpoint.Checkpoint // that this worker knows to be its own
	final  bool                  // no unit follows those that were received

	reserved bool // a slot is taken for the next unit; of the partition's own goroutine
}

// Open returns a partition that was claimed and is to be served from now on: at is its
// position, newest this worker's checkpoint of it, and tail what is stored already behind
// it. Its units are committed by fast ingest if fast is set. When it is lost, stop is
// called with the reason.
func (c *Committer) Open(ctx context.Context, claimed claim.Claim, stop context.CancelCauseFunc) *Partition {
	c.telemetry.open(ctx, claimed.Partition.Number)
	staged := c.batcher.staged
	if claimed.Fast {
		staged = c.ingester.staged
	}
	return newPartition(claimed, staged, stop)
}

func newPartition(claimed claim.Claim, staged chan<- Unit, stop context.CancelCauseFunc) *Partition {
	p := &Partition{
		id: claimed.Partition, slots: make(chan struct{}, slotsPerPartition), staged: staged, stop: stop,
		newest: claimed.Checkpoint, tail: claimed.Tail,
	}
	p.inHand.reached.Store(&claimed.Position)
	return p
}

// ID returns which partition it is.
func (p *Partition) ID() deployment.Partition { return p.id }

// Position returns up to where the partition is committed.
func (p *Partition) Position() checkpoint.Position { return *p.inHand.reached.Load() }

// Took notes updates that were taken and are to be done.
func (p *Partition) Took(updates int) { p.inHand.took(updates) }

// Stuck returns for how long nothing was done, 0 where there is nothing to do.
func (p *Partition) Stuck(now time.Time) time.Duration { return p.inHand.stuck(now) }

// Lost reports whether the partition is to be served no more by this claim.
func (p *Partition) Lost() bool { return p.lost.Load() }

// Known returns the newest checkpoint that this worker knows to be its own, once the
// partition is lost.
func (p *Partition) Known() checkpoint.Checkpoint { return p.newest }

// Begin makes the partition known to the committer.
func (p *Partition) Begin(ctx context.Context) error { return p.Stage(ctx, Unit{UpTo: p.Position()}) }

// committed notes the checkpoint that was stored for what this worker has done.
func (p *Partition) committed(c checkpoint.Checkpoint) {
	p.newest = c
	reached := c.Position()
	p.inHand.reached.Store(&reached)
}

// lose ends the partition's work for good.
func (p *Partition) lose(reason error) {
	p.lost.Store(true)
	p.stop(reason)
}

// checkpoint returns the checkpoint to write for the position upTo.
func (p *Partition) checkpoint(upTo checkpoint.Position, worker, commit string) wire.Checkpoint {
	c := upTo.Checkpoint(worker, commit)
	if p.tail.Covers(upTo) {
		c.Tail = p.tail.Place()
	}
	return c
}

// Reserve takes a slot for the next unit, once one is free. It comes before the unit's
// updates are taken, so that those that arrive meanwhile are routed together.
func (p *Partition) Reserve(ctx context.Context) error {
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

// Stage hands a unit to the committer, once one of the partition's slots is free.
func (p *Partition) Stage(ctx context.Context, u Unit) error {
	if err := p.Reserve(ctx); err != nil {
		return err
	}
	p.reserved = false
	u.partition, u.staged = p, true
	select {
	case p.staged <- u:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Drain returns once everything that was staged is committed, and the position
// with it, or the partition is lost. Nothing is staged after it.
func (p *Partition) Drain(ctx context.Context) error {
	if err := p.Stage(ctx, Unit{final: true}); err != nil {
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

// inHand is what one claimed partition works on: updates that were taken from the
// reader and are not done.
type inHand struct {
	updates atomic.Int64
	moved   atomic.Int64 // when the first of them was taken or something was done, Unix time in ns

	reached atomic.Pointer[checkpoint.Position] // that is committed
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
