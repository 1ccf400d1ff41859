package commit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// batcher commits the units of all partitions of a worker: as many as are ready
// in one atomic batch, one commit at a time. While one is in flight, the
// deliveries of the next are sent ahead; its checkpoints follow when the outcome
// is known.
type batcher struct {
	way

	groupBytes int // bound on the data of one commit

	// Of the goroutine in run alone.
	next    *group                             // what the next commit holds so far
	waiting []Unit                             // what does not fit next, in order
	idle    map[*Partition]checkpoint.Position // positions that no message has committed yet
	served  map[*Partition]served              // what was sent last for each partition
	begun   int                                // commits
}

// renewInterval is how often the checkpoint of a partition without updates is
// written again: the answer tells whether the partition is still this worker's,
// and a purge of the stream does not go unnoticed.
const renewInterval = 5 * time.Second

// served is the position of a partition that was sent last, and when.
type served struct {
	upTo checkpoint.Position
	sent time.Time
}

// run commits what is staged until staged is closed and everything is committed,
// or until ctx ends.
func (c *batcher) run(ctx context.Context) {
	due := time.NewTicker(c.CheckpointInterval)
	defer due.Stop()
	c.arriving, c.next = c.staged, c.newGroup()
	for {
		c.collect(ctx, due.C)
		if wait.Ended(ctx) || len(c.next.units) == 0 {
			return
		}
		c.commit(ctx, due.C)
	}
}

// collect waits until there is something to commit, then takes what else is
// staged by now. Once staged is closed, that is what is idle, too.
func (c *batcher) collect(ctx context.Context, due <-chan time.Time) {
	for len(c.next.units) == 0 && c.arriving != nil && !wait.Ended(ctx) {
		select {
		case u, open := <-c.arriving:
			c.receive(ctx, u, open)
		case <-due:
			c.flushIdle()
		case <-ctx.Done():
		}
	}
	for c.arriving != nil {
		select {
		case u, open := <-c.arriving:
			c.receive(ctx, u, open)
		default:
			return
		}
	}
	c.flushIdle()
}

// receive takes one unit over. One that delivers nothing only moves the position,
// and that can wait a while.
func (c *batcher) receive(ctx context.Context, u Unit, open bool) {
	switch {
	case !open:
		c.arriving = nil
	case u.partition.lost.Load():
		c.release(u)
	case u.final:
		c.conclude(u)
	case len(u.Messages) == 0:
		c.idle[u.partition] = u.UpTo
		c.done(ctx, u)
		c.release(u)
	default:
		delete(c.idle, u.partition)
		c.place(u)
	}
}

// conclude has the position of a partition committed that is given up, and forgets
// the partition: from then on it is another worker's.
func (c *batcher) conclude(u Unit) {
	p := u.partition
	p.final = true
	delete(c.served, p)
	upTo, moved := c.idle[p]
	if !moved {
		c.release(u)
		return
	}
	delete(c.idle, p)
	u.UpTo = upTo
	c.place(u)
}

func (c *batcher) flushIdle() {
	for p, upTo := range c.idle {
		c.place(Unit{partition: p, UpTo: upTo})
	}
	clear(c.idle)
	for p, s := range c.served {
		if time.Since(s.sent) > renewInterval && !c.holds(p) {
			c.place(Unit{partition: p, UpTo: s.upTo})
		}
	}
}

// holds reports whether a unit of p is on its way already.
func (c *batcher) holds(p *Partition) bool {
	return slices.Contains(c.next.ends, p) ||
		slices.ContainsFunc(c.waiting, func(w Unit) bool { return w.partition == p })
}

// place puts u into the next commit, and sends its messages ahead, unless it does
// not fit or would overtake another unit of its partition.
func (c *batcher) place(u Unit) {
	overtakes := slices.ContainsFunc(c.waiting, func(w Unit) bool { return w.partition == u.partition })
	if overtakes || !c.next.take(u) {
		c.waiting = append(c.waiting, u)
		return
	}
	if c.next.batch != nil {
		c.next.batch.Add(u.Messages)
	}
}

// commit commits what next holds. It returns when every unit of it is committed,
// or its partition is lost, or ctx has ended.
func (c *batcher) commit(ctx context.Context, due <-chan time.Time) {
	g, began := c.next, time.Now()
	attempt, cancel := context.WithTimeout(ctx, c.CommitTimeout)
	defer cancel()
	for _, p := range g.ends {
		if !p.final {
			c.served[p] = served{upTo: g.upTo(p), sent: began}
		}
	}
	answer := c.send(attempt, g)
	c.renew()
	result := c.await(ctx, due, answer)
	if result.Err != nil {
		c.insist(ctx, g, result.Err)
	} else {
		c.landed(ctx, g, result.Last)
	}
	c.telemetry.committed(ctx, time.Since(began), g.size)
}

// send sends what has not been sent of g ahead, and the checkpoints.
func (c *batcher) send(ctx context.Context, g *group) <-chan batchpublish.Outcome {
	if g.batch == nil {
		g.batch = c.newBatch(g)
		for _, u := range g.units {
			g.batch.Add(u.Messages)
		}
	}
	return g.batch.Commit(ctx, g.checkpoints(c.Subjects, c.Worker))
}

// renew begins the next commit with what is waiting.
func (c *batcher) renew() {
	c.next = c.newGroup()
	waiting := c.waiting
	c.waiting = nil
	for _, u := range waiting {
		c.place(u)
	}
}

func (c *batcher) newGroup() *group {
	c.begun++
	g := &group{id: fmt.Sprintf("%s-%d", c.Instance, c.begun), most: c.groupBytes}
	g.batch = c.newBatch(g)
	return g
}

// newBatch returns a batch for one attempt to commit g. Each attempt is a batch
// of its own: the server may still hold a part of the one before.
func (c *batcher) newBatch(g *group) *batchpublish.Atomic {
	g.attempts++
	return batchpublish.NewAtomic(c.nc, c.Subjects.DeliveriesStream(), fmt.Sprintf("%s-%d", g.id, g.attempts))
}

// await takes units over while a commit is in flight, until its answer is there.
func (c *batcher) await(ctx context.Context, due <-chan time.Time, answer <-chan batchpublish.Outcome) batchpublish.Outcome {
	for {
		select {
		case result := <-answer:
			return result
		case u, open := <-c.arriving:
			c.receive(ctx, u, open)
		case <-due:
			c.flushIdle()
		}
	}
}

// landed notes that the server stored g, its last message at sequence last.
func (c *batcher) landed(ctx context.Context, g *group, last uint64) {
	first := last - uint64(len(g.ends)) + 1
	for i, p := range g.ends {
		at := first + uint64(i)
		p.committed(checkpoint.Checkpoint{Checkpoint: p.checkpoint(g.upTo(p), c.Worker, g.id), At: at, Revision: at})
	}
	c.finish(ctx, g)
}

// finish counts the units of a group that landed and gives their slots back.
func (c *batcher) finish(ctx context.Context, g *group) {
	c.stall.Ended()
	for _, u := range g.units {
		c.done(ctx, u)
		c.release(u)
	}
}
