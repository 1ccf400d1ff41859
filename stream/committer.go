package stream

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// committer commits the units of all partitions of a worker: as many as are ready
// in one atomic batch, one commit at a time. While one is in flight, the
// deliveries of the next are sent ahead; its checkpoints follow when the outcome
// is known.
type committer struct {
	commits

	groupBytes int // bound on the data of one commit

	// Of the goroutine in run alone.
	next    *group                  // what the next commit holds so far
	waiting []unit                  // what does not fit next, in order
	idle    map[*partition]position // positions that no message has committed yet
	served  map[*partition]served   // what was sent last for each partition
	begun   int                     // commits
}

// renewInterval is how often the checkpoint of a partition without updates is
// written again: the answer tells whether the partition is still this worker's,
// and a purge of the stream does not go unnoticed.
const renewInterval = 5 * time.Second

// served is the position of a partition that was sent last, and when.
type served struct {
	upTo position
	sent time.Time
}

// run commits what is staged until staged is closed and everything is committed,
// or until ctx ends.
func (c *committer) run(ctx context.Context) {
	due := time.NewTicker(c.config.CheckpointInterval)
	defer due.Stop()
	c.arriving, c.next = c.staged, c.newGroup()
	for {
		c.collect(ctx, due.C)
		if ended(ctx) || len(c.next.units) == 0 {
			return
		}
		c.commit(ctx, due.C)
	}
}

// collect waits until there is something to commit, then takes what else is
// staged by now. Once staged is closed, that is what is idle, too.
func (c *committer) collect(ctx context.Context, due <-chan time.Time) {
	for len(c.next.units) == 0 && c.arriving != nil && !ended(ctx) {
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
func (c *committer) receive(ctx context.Context, u unit, open bool) {
	switch {
	case !open:
		c.arriving = nil
	case u.partition.lost.Load():
		c.release(u)
	case u.final:
		c.conclude(u)
	case len(u.messages) == 0:
		c.idle[u.partition] = u.upTo
		c.done(ctx, u)
		c.release(u)
	default:
		delete(c.idle, u.partition)
		c.place(u)
	}
}

// conclude has the position of a partition committed that is given up, and forgets
// the partition: from then on it is another worker's.
func (c *committer) conclude(u unit) {
	p := u.partition
	p.final = true
	delete(c.served, p)
	upTo, moved := c.idle[p]
	if !moved {
		c.release(u)
		return
	}
	delete(c.idle, p)
	u.upTo = upTo
	c.place(u)
}

func (c *committer) flushIdle() {
	for p, upTo := range c.idle {
		c.place(unit{partition: p, upTo: upTo})
	}
	clear(c.idle)
	for p, s := range c.served {
		if time.Since(s.sent) > renewInterval && !c.holds(p) {
			c.place(unit{partition: p, upTo: s.upTo})
		}
	}
}

// holds reports whether a unit of p is on its way already.
func (c *committer) holds(p *partition) bool {
	return slices.Contains(c.next.ends, p) ||
		slices.ContainsFunc(c.waiting, func(w unit) bool { return w.partition == p })
}

// place puts u into the next commit, and sends its messages ahead, unless it does
// not fit or would overtake another unit of its partition.
func (c *committer) place(u unit) {
	overtakes := slices.ContainsFunc(c.waiting, func(w unit) bool { return w.partition == u.partition })
	if overtakes || !c.next.take(u) {
		c.waiting = append(c.waiting, u)
		return
	}
	if c.next.batch != nil {
		c.next.batch.add(u.messages)
	}
}

// commit commits what next holds. It returns when every unit of it is committed,
// or its partition is lost, or ctx has ended.
func (c *committer) commit(ctx context.Context, due <-chan time.Time) {
	g, began := c.next, time.Now()
	attempt, cancel := context.WithTimeout(ctx, c.config.CommitTimeout)
	defer cancel()
	for _, p := range g.ends {
		if !p.final {
			c.served[p] = served{upTo: g.upTo(p), sent: began}
		}
	}
	answer := c.send(attempt, g)
	c.renew()
	result := c.await(ctx, due, answer)
	if result.err != nil {
		c.insist(ctx, g, result.err)
	} else {
		c.landed(ctx, g, result.last)
	}
	c.telemetry.committed(ctx, time.Since(began), g.size)
}

// send sends what has not been sent of g ahead, and the checkpoints.
func (c *committer) send(ctx context.Context, g *group) <-chan outcome {
	if g.batch == nil {
		g.batch = c.newBatch(g)
		for _, u := range g.units {
			g.batch.add(u.messages)
		}
	}
	return g.batch.commit(ctx, g.checkpoints(c.subjects, c.config.ID))
}

// renew begins the next commit with what is waiting.
func (c *committer) renew() {
	c.next = c.newGroup()
	waiting := c.waiting
	c.waiting = nil
	for _, u := range waiting {
		c.place(u)
	}
}

func (c *committer) newGroup() *group {
	c.begun++
	g := &group{id: fmt.Sprintf("%s-%d", c.instance, c.begun), most: c.groupBytes}
	g.batch = c.newBatch(g)
	return g
}

// newBatch returns a batch for one attempt to commit g. Each attempt is a batch
// of its own: the server may still hold a part of the one before.
func (c *committer) newBatch(g *group) *atomicBatch {
	g.attempts++
	return newAtomicBatch(c.nc, c.subjects.DeliveriesStream(), fmt.Sprintf("%s-%d", g.id, g.attempts))
}

// await takes units over while a commit is in flight, until its answer is there.
func (c *committer) await(ctx context.Context, due <-chan time.Time, answer <-chan outcome) outcome {
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
func (c *committer) landed(ctx context.Context, g *group, last uint64) {
	first := last - uint64(len(g.ends)) + 1
	for i, p := range g.ends {
		at := first + uint64(i)
		p.committed(checkpoint{Checkpoint: p.checkpoint(g.upTo(p), c.config.ID, g.id), sequence: at, revision: at})
	}
	c.finish(ctx, g)
}

// finish counts the units of a group that landed and gives their slots back.
func (c *committer) finish(ctx context.Context, g *group) {
	c.stall.Ended()
	for _, u := range g.units {
		c.done(ctx, u)
		c.release(u)
	}
}
