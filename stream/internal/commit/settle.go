package commit

import (
	"context"
	"slices"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// insist finds out what became of g after an attempt that ended with cause, and
// tries until g has landed, nothing is left of it, or ctx has ended.
func (c *batcher) insist(ctx context.Context, g *group, cause error) {
	c.next.batch = nil // What was sent ahead may be lost as well, or be too old by then.
	retry := wait.NewBackOff()
	for attempt := 1; !wait.Ended(ctx); attempt++ {
		if attempt > 1 { // before the look, so that what it finds is new when the next attempt is made
			wait.Pause(ctx, retry.NextBackOff())
		}
		if c.settle(ctx, g, cause) {
			c.stall.Ended()
			return
		}
		if jsapi.Classify(cause) != jsapi.Refused || attempt > 3 {
			c.stall.Failed(jsapi.ExplainFull(c.Subjects.DeliveriesStream(), cause))
		}
		result := c.again(ctx, g)
		if result.Err == nil {
			c.landed(ctx, g, result.Last)
			return
		}
		cause = result.Err
	}
}

func (c *batcher) again(ctx context.Context, g *group) batchpublish.Outcome {
	ctx, cancel := context.WithTimeout(ctx, c.CommitTimeout)
	defer cancel()
	g.batch = nil
	return <-c.send(ctx, g)
}

// settle reads where the partitions of g stand. It returns true where g landed or
// nothing is left of it, and takes the partitions out of g that are lost.
func (c *batcher) settle(ctx context.Context, g *group, cause error) bool {
	if verdict := jsapi.Classify(cause); verdict != jsapi.Refused && !verdict.IsOpen() {
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
	if slices.ContainsFunc(current, func(n newest) bool { return n.Commit == g.id && planted.Mistake != planted.OutcomeUnread }) {
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
	partition *Partition
	checkpoint.Checkpoint
}

func (c *batcher) read(ctx context.Context, g *group) ([]newest, error) {
	var current []newest
	for _, p := range g.ends {
		found, err := c.Checkpoints.Read(ctx, p.id)
		if err != nil {
			return nil, err
		}
		current = append(current, newest{partition: p, Checkpoint: found})
	}
	return current, nil
}

// adopt notes that g landed, from the checkpoints that stand there now.
func (c *batcher) adopt(ctx context.Context, g *group, current []newest) {
	for _, n := range current {
		if n.Commit == g.id {
			n.partition.committed(n.Checkpoint)
		} else {
			c.lose(ctx, n)
		}
	}
	c.finish(ctx, g)
}

// judge decides what the newest checkpoint of a partition means for a group that
// did not land.
func (c *batcher) judge(ctx context.Context, g *group, n newest) {
	p := n.partition
	switch {
	case n.Revision == p.newest.Revision:
		// Still ours: the next attempt may land.
	case n.At == 0:
		p.newest.At, p.newest.Revision = 0, n.Revision
		c.purged(p)
	case n.Commit == p.newest.Commit, planted.Mistake == planted.OutcomeUnread && n.Commit == g.id:
		p.newest.At, p.newest.Revision = n.At, n.Revision
	default:
		c.lose(ctx, n)
		for _, u := range g.drop(p) {
			c.release(u)
		}
	}
}

// lose takes a partition away from this worker, because of the checkpoint that
// somebody else wrote.
func (c *batcher) lose(ctx context.Context, n newest) {
	p := n.partition
	p.lose(c.loses(p, n.Checkpoint))
	delete(c.idle, p)
	delete(c.served, p)
	for _, u := range c.next.drop(p) {
		c.release(u)
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(u Unit) bool {
		if u.partition == p {
			c.release(u)
		}
		return u.partition == p
	})
	c.telemetry.fenced(ctx, p.id.Number)
}
