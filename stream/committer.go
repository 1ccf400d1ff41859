package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// committer commits the units of all partitions of a worker, as many as are ready
// in one atomic batch, one batch at a time.
type committer struct {
	batches     *batchPublisher
	checkpoints checkpoints
	subjects    wire.Subjects
	instance    string // unique to this process: its commit IDs begin with it
	config      WorkerConfig
	staged      chan unit // one place for every slot of every partition: staging never waits
	stall       *stall
	log         *slog.Logger
	telemetry   *telemetry

	// Of the goroutine in run alone.
	waiting []unit                  // taken from staged, in order
	idle    map[*partition]position // positions that no message has committed yet
	commits int
}

// run commits what is staged until staged is closed and everything is committed,
// or until ctx ends.
func (c *committer) run(ctx context.Context) error {
	tick := time.NewTicker(c.config.CheckpointInterval)
	defer tick.Stop()
	for open := true; open || len(c.waiting) > 0; {
		if len(c.waiting) == 0 {
			open = c.wait(ctx, tick.C)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("commit what is routed: %w", context.Cause(ctx))
		}
		c.drain(ctx, tick.C)
		if g := c.gather(); len(g.units) > 0 {
			c.commit(ctx, g)
		}
	}
	return nil
}

// wait takes one unit, or every idle position when they are due. It reports
// false once staged is closed.
func (c *committer) wait(ctx context.Context, due <-chan time.Time) bool {
	select {
	case u, open := <-c.staged:
		if !open {
			c.flushIdle()
			return false
		}
		c.queue(ctx, u)
	case <-due:
		c.flushIdle()
	case <-ctx.Done():
	}
	return true
}

// drain takes what else is staged by now.
func (c *committer) drain(ctx context.Context, due <-chan time.Time) {
	for {
		select {
		case <-due:
			c.flushIdle()
		case u, open := <-c.staged:
			if !open {
				return
			}
			c.queue(ctx, u)
		default:
			return
		}
	}
}

// queue puts a unit behind the others. One that delivers nothing only moves the
// position: of the unit before it, or of the next commit.
func (c *committer) queue(ctx context.Context, u unit) {
	if u.partition.lost.Load() {
		c.release(u)
		return
	}
	if len(u.messages) > 0 {
		delete(c.idle, u.partition)
		c.waiting = append(c.waiting, u)
		return
	}
	c.idle[u.partition] = u.upTo
	c.telemetry.done(ctx, u)
	c.release(u)
}

func (c *committer) flushIdle() {
	for p, upTo := range c.idle {
		c.waiting = append(c.waiting, unit{partition: p, upTo: upTo})
	}
	clear(c.idle)
}

// gather makes a group of the units that fit. A unit that does not fit keeps
// the later ones of its partition back.
func (c *committer) gather() *group {
	c.commits++
	g := &group{id: fmt.Sprintf("%s-%d", c.instance, c.commits)}
	behind := make(map[*partition]bool)
	kept := c.waiting[:0]
	for _, u := range c.waiting {
		if behind[u.partition] || !g.take(u) {
			behind[u.partition] = true
			kept = append(kept, u)
		}
	}
	clear(c.waiting[len(kept):])
	c.waiting = kept
	return g
}

// commit commits g. It returns when every unit is committed, or its partition is
// lost, or ctx has ended.
func (c *committer) commit(ctx context.Context, g *group) {
	began := time.Now()
	retry := newBackOff()
	for attempt := 1; len(g.units) > 0 && ctx.Err() == nil; attempt++ {
		last, err := c.publish(ctx, g, attempt)
		if err == nil {
			c.landed(ctx, g, last)
			break
		}
		if ctx.Err() != nil {
			return
		}
		if c.settle(ctx, g, err) {
			break
		}
		if !refused(err) || attempt > 3 {
			c.stall.failed(err)
		}
		pause(ctx, retry.NextBackOff())
	}
	c.stall.ended()
	c.telemetry.committed(ctx, time.Since(began), g.size)
}

func (c *committer) publish(ctx context.Context, g *group, attempt int) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.CommitTimeout)
	defer cancel()
	// Each attempt is a batch of its own: the server may still hold a part of the
	// one before.
	id := fmt.Sprintf("%s-%d", g.id, attempt)
	return c.batches.publish(ctx, id, g.messages(), g.checkpoints(c.subjects, c.config.ID))
}

// landed notes that the server stored g, its last message at sequence last.
func (c *committer) landed(ctx context.Context, g *group, last uint64) {
	first := last - uint64(len(g.ends)) + 1
	for i, p := range g.ends {
		p.committed(first+uint64(i), g.id)
	}
	c.finish(ctx, g)
}

// finish counts the units of a group that landed and gives their slots back.
func (c *committer) finish(ctx context.Context, g *group) {
	for _, u := range g.units {
		c.telemetry.done(ctx, u)
		c.release(u)
	}
}

// refused reports whether err says that a checkpoint is not the one expected.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// open reports whether err leaves open what became of a batch. Every other
// answer of the server says that nothing was stored by this attempt.
func open(err error) bool {
	var api *jetstream.APIError
	return !errors.As(err, &api)
}

// settle finds out what became of g after an attempt that ended with cause. It
// returns true where g landed, and takes the partitions out of g that are lost.
func (c *committer) settle(ctx context.Context, g *group, cause error) bool {
	if !refused(cause) && !open(cause) {
		return false
	}
	current, err := c.read(ctx, g)
	if err != nil {
		c.stall.failed(err)
		return false
	}
	// The batch is atomic: one checkpoint of it tells of all. The others may have
	// been taken over since.
	if slices.ContainsFunc(current, func(n newest) bool { return n.Commit == g.id }) {
		c.adopt(ctx, g, current)
		return true
	}
	for _, n := range current {
		c.judge(ctx, g, n)
	}
	return false
}

// newest is the checkpoint of a partition as it stands on the server.
type newest struct {
	partition *partition
	checkpoint
}

func (c *committer) read(ctx context.Context, g *group) ([]newest, error) {
	var current []newest
	for _, p := range g.ends {
		found, err := c.checkpoints.read(ctx, p.number)
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
			n.partition.committed(n.revision, g.id)
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
	case n.revision == p.revision:
		// Still ours: the next attempt may land.
	case n.revision == 0:
		c.log.Warn("checkpoint is gone, the deliveries stream was purged or made again: writing it anew",
			"partition", p.number, "sequence", g.upTo(p).sequence)
		p.revision = 0
	case n.Commit == p.commit:
		p.revision = n.revision
	default:
		c.lose(ctx, n)
		for _, u := range g.drop(p) {
			c.release(u)
		}
	}
}

// lose takes a partition away from this worker, because of the checkpoint that
// somebody else wrote. Where the checkpoint is older than one this worker wrote,
// the deliveries stream itself went back in time.
func (c *committer) lose(ctx context.Context, n newest) {
	p := n.partition
	reason := error(&LostError{Partition: p.number, Owner: n.Worker})
	if n.revision < p.revision || strings.HasPrefix(n.Commit, c.instance+"-") {
		reason = errRolledBack
	}
	p.lose(reason)
	delete(c.idle, p)
	c.waiting = slices.DeleteFunc(c.waiting, func(u unit) bool {
		if u.partition == p {
			c.release(u)
		}
		return u.partition == p
	})
	c.telemetry.fenced(ctx, p.number)
}

// release gives the unit's slot back, so that its partition may stage another.
func (c *committer) release(u unit) {
	for _, span := range u.spans {
		span.End()
	}
	if u.staged {
		<-u.partition.slots
	}
}
