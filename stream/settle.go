package stream

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// insist finds out what became of g after an attempt that ended with cause, and
// tries until g has landed, nothing is left of it, or ctx has ended.
func (c *committer) insist(ctx context.Context, g *group, cause error) {
	c.next.batch = nil // What was sent ahead may be lost as well, or be too old by then.
	retry := wait.NewBackOff()
	for attempt := 1; !ended(ctx); attempt++ {
		if attempt > 1 { // before the look, so that what it finds is new when the next attempt is made
			wait.Pause(ctx, retry.NextBackOff())
		}
		if c.settle(ctx, g, cause) {
			c.stall.Ended()
			return
		}
		if !refused(cause) || attempt > 3 {
			c.stall.Failed(explainFull(c.subjects, cause))
		}
		result := c.again(ctx, g)
		if result.err == nil {
			c.landed(ctx, g, result.last)
			return
		}
		cause = result.err
	}
}

func (c *committer) again(ctx context.Context, g *group) outcome {
	ctx, cancel := context.WithTimeout(ctx, c.config.CommitTimeout)
	defer cancel()
	g.batch = nil
	return <-c.send(ctx, g)
}

// refused reports whether err says that a checkpoint is not the one expected.
func refused(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// undecided reports whether err leaves open what became of a batch. Every other
// answer of the server says that nothing was stored by this attempt.
func undecided(err error) bool {
	_, ok := errors.AsType[*jetstream.APIError](err)
	return !ok
}

// settle reads where the partitions of g stand. It returns true where g landed or
// nothing is left of it, and takes the partitions out of g that are lost.
func (c *committer) settle(ctx context.Context, g *group, cause error) bool {
	if !refused(cause) && !undecided(cause) {
		return false
	}
	current, err := c.read(ctx, g)
	if err != nil {
		c.stall.Failed(err)
		return false
	}
	// The batch is atomic: one checkpoint of it tells of all. It may have landed
	// after the first of them were read, so they are read again. Those that are not
	// its own then have been taken over since.
	if slices.ContainsFunc(current, func(n newest) bool { return n.Commit == g.id && planted != outcomeUnread }) {
		if current, err = c.read(ctx, g); err != nil {
			c.stall.Failed(err)
			return false
		}
		c.adopt(ctx, g, current)
		return true
	}
	for _, n := range current {
		c.judge(ctx, g, n)
	}
	return len(g.units) == 0
}

// newest is the checkpoint of a partition as it stands on the server.
type newest struct {
	partition *partition
	checkpoint
}

func (c *committer) read(ctx context.Context, g *group) ([]newest, error) {
	var current []newest
	for _, p := range g.ends {
		found, err := c.checkpoints.read(ctx, p.id)
		if err != nil {
			return nil, err
		}
		current = append(current, newest{partition: p, checkpoint: found})
	}
	return current, nil
}

// adopt notes that g landed, from the checkpoints that stand there now.
func (c *committer) adopt(ctx context.Context, g *group, current []newest) {
	for _, n := range current {
		if n.Commit == g.id {
			n.partition.committed(n.checkpoint)
		} else {
			c.lose(ctx, n)
		}
	}
	c.finish(ctx, g)
}

// judge decides what the newest checkpoint of a partition means for a group that
// did not land.
func (c *committer) judge(ctx context.Context, g *group, n newest) {
	p := n.partition
	switch {
	case n.revision == p.newest.revision:
		// Still ours: the next attempt may land.
	case n.sequence == 0:
		p.newest.sequence, p.newest.revision = 0, n.revision
		c.purged(p)
	case n.Commit == p.newest.Commit, planted == outcomeUnread && n.Commit == g.id:
		p.newest.sequence, p.newest.revision = n.sequence, n.revision
	default:
		c.lose(ctx, n)
		for _, u := range g.drop(p) {
			c.release(u)
		}
	}
}

// lose takes a partition away from this worker, because of the checkpoint that
// somebody else wrote.
func (c *committer) lose(ctx context.Context, n newest) {
	p := n.partition
	p.lose(c.loses(p, n.checkpoint))
	delete(c.idle, p)
	delete(c.served, p)
	for _, u := range c.next.drop(p) {
		c.release(u)
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(u unit) bool {
		if u.partition == p {
			c.release(u)
		}
		return u.partition == p
	})
	c.telemetry.fenced(ctx, p.id.number)
}
