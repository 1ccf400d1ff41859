package commit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// ingester commits the units of partitions by fast ingest: each as a batch of its
// own, one at a time of each partition. The server stores the messages as they
// come, the checkpoint last. Where it says how many it has stored, and takes no more
// for now, the rest follows later. Where it says nothing, the partition is claimed
// anew, which finds what is stored.
type ingester struct {
	way

	inbox string // answers come to subjects below it
	heard chan *nats.Msg

	// Of the goroutine in run alone.
	lanes    map[*Partition]*lane
	ready    []*lane            // those with a unit that waits for room
	flights  map[string]*flight // by batch
	inFlight int                // messages
	bytes    int                // of the data in flight
	begun    int                // flights
	looking  sync.WaitGroup
	found    chan *flight // whose outcome was looked up
	rested   chan *lane   // that may go on
}

// The bounds of what is in flight.
const (
	maxInFlight = 4000 // messages; the server drops what does not find room among 10,000
	maxAnswers  = 16 << 10
)

// lane is what is to be committed of one partition.
type lane struct {
	partition *Partition
	waiting   []Unit              // in order; no more than slots and one checkpoint
	flight    *flight             // nil for none
	upTo      checkpoint.Position // of the newest unit
	idle      bool                // no unit on its way reaches upTo
	sent      time.Time           // when the newest checkpoint was
	rests     bool                // the server did not take everything, and is not asked for a while
	contested bool                // a message that no worker wrote stood in place of the newest checkpoint
	retry     *backoff.ExponentialBackOff
}

// run commits what is staged until staged is closed and everything is committed,
// or until ctx ends.
func (c *ingester) run(ctx context.Context) {
	due, late := time.NewTicker(c.CheckpointInterval), time.NewTicker(c.CommitTimeout/lateLooks)
	defer due.Stop()
	defer late.Stop()
	defer c.looking.Wait()
	c.arriving = c.staged
	for c.arriving != nil || len(c.lanes) > 0 {
		select {
		case u, open := <-c.arriving:
			c.receive(ctx, u, open)
		case m := <-c.heard:
			c.hear(ctx, m)
		case f := <-c.found:
			c.settle(ctx, f)
		case l := <-c.rested:
			c.resume(l)
		case <-due.C:
			c.renew()
		case now := <-late.C:
			c.expire(ctx, now)
		case <-ctx.Done():
			return
		}
		c.depart(ctx)
	}
}

// listen has the server's answers heard until the function it returns is called.
func (c *ingester) listen() (leave func(), err error) {
	answers, err := c.nc.ChanSubscribe(c.inbox+".>", c.heard)
	if err != nil {
		return nil, fmt.Errorf("subscribe to answers of the server: %w", err)
	}
	return func() { _ = answers.Unsubscribe() }, nil // The connection may be closed by then.
}

// lateLooks is how often within the commit timeout it is looked what is late.
const lateLooks = 8

// receive takes one unit over. One that delivers nothing only moves the position,
// and that can wait a while.
func (c *ingester) receive(ctx context.Context, u Unit, open bool) {
	if !open {
		c.arriving = nil
		return
	}
	p := u.partition
	if p.lost.Load() {
		c.release(u)
		return
	}
	l := c.lanes[p]
	if l == nil {
		l = &lane{partition: p, upTo: p.newest.Position(), sent: time.Now(), retry: wait.NewBackOff()}
		c.lanes[p] = l
	}
	switch {
	case u.final:
		u.UpTo = l.upTo
		c.place(l, u)
	case len(u.Messages) == 0:
		l.upTo, l.idle = u.UpTo, true
		c.done(ctx, u)
		c.release(u)
	default:
		c.place(l, u)
	}
}

func (c *ingester) place(l *lane, u Unit) {
	l.upTo, l.idle = u.UpTo, false
	if planted.Mistake == planted.UnitOvertakes && !u.final {
		l.waiting = slices.Insert(l.waiting, 0, u)
	} else {
		l.waiting = append(l.waiting, u)
	}
	if l.flight == nil && !l.rests && len(l.waiting) == 1 {
		c.ready = append(c.ready, l)
	}
}

// resume has a lane go on that rested.
func (c *ingester) resume(l *lane) {
	l.rests = false
	if c.lanes[l.partition] == l {
		c.ready = append(c.ready, l)
	}
}

// renew has checkpoints written that are due: of positions that no message has
// committed, and of partitions without updates.
func (c *ingester) renew() {
	for _, l := range c.lanes {
		due := l.idle || time.Since(l.sent) > renewInterval
		if due && !l.rests && l.flight == nil && len(l.waiting) == 0 {
			c.place(l, Unit{partition: l.partition, UpTo: l.upTo})
		}
	}
}

// depart sends units that are ready, as far as there is room.
func (c *ingester) depart(ctx context.Context) {
	for len(c.ready) > 0 {
		u := c.ready[0].waiting[0]
		if c.inFlight > 0 && (c.inFlight+len(u.Messages)-u.stored >= maxInFlight || c.bytes+u.Bytes > maxGroupBytes) {
			return
		}
		l := c.ready[0]
		c.ready = c.ready[1:]
		c.send(ctx, l)
	}
}

func (c *ingester) send(ctx context.Context, l *lane) {
	u, p := l.waiting[0], l.partition
	l.waiting = l.waiting[1:]
	c.begun++
	id := fmt.Sprintf("%s-f%d", c.Instance, c.begun)
	f := &flight{
		lane: l, unit: u, batch: id, next: p.checkpoint(u.UpTo, c.Worker, id+"-end"),
		began: time.Now(), links: c.nc.Stats().Reconnects, stored: -1,
	}
	l.flight, l.sent = f, f.began
	c.flights[id] = f
	begin := p.newest.Open(id, u.UpTo).Checkpoint
	begin.Worker, begin.Commit = c.Worker, id
	b := batchpublish.NewFast(c.nc, c.inbox, id)
	err := b.Send(batchpublish.Fenced{
		Subject: p.id.Checkpoint(c.Subjects), Data: wire.AppendCheckpoint(nil, begin), Revision: p.newest.Revision,
	}, u.Messages[u.stored:], wire.AppendCheckpoint(nil, f.next))
	f.size = b.Size()
	c.inFlight += f.size
	c.bytes += u.Bytes
	if err != nil {
		c.lookUp(ctx, f, err)
	}
}
