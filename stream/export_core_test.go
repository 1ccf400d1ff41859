package stream //nolint:testpackage // Exports decisions that no test can bring about in time.

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Membership is what a worker knows of the others, and decides from that.
type Membership struct{ o *ownership }

// NewMembership returns the membership of a worker that serves the first layout.
func NewMembership(self string, ttl time.Duration) Membership {
	return Membership{&ownership{
		ttl: ttl, members: newMembers(self), waits: make(map[int]time.Time), rests: make(map[int]time.Time),
	}}
}

// Hear takes a heartbeat over. One of the worker itself makes it a member.
func (m Membership) Hear(h wire.Heartbeat, now time.Time) {
	if h.Worker == m.o.members.self {
		m.o.beat, m.o.renewed, m.o.echoed = h, now, now
		return
	}
	m.o.members.note(h, now)
}

// MayClaim reports whether the worker claims a partition of its share.
func (m Membership) MayClaim(partition int, now time.Time) bool { return m.o.mayClaim(partition, now) }

// Holders returns by partition which worker has it.
func (m Membership) Holders(partitions int) []string {
	return m.o.members.holders(partitions, m.o.beat)
}

// Draining is a partition of which units are on their way when it is given up.
type Draining struct {
	p      *partition
	staged chan unit
}

// NewDraining stages n units.
func NewDraining(ctx context.Context, n int) (Draining, error) {
	d := Draining{newPartition(claim{}, 1, func(error) {}), make(chan unit, slotsPerPartition)}
	for range n {
		if err := d.p.stage(ctx, unit{messages: make([]message, 1)}, d.staged); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Drain returns once the partition may be another worker's.
func (d Draining) Drain(ctx context.Context) error { return d.p.drain(ctx, d.staged) }

// Commit has one more of the units committed.
func (d Draining) Commit() { new(commits).release(<-d.staged) }

// Lose has an ingester receive the units when it has found the partition lost. It returns
// how many partitions the ingester has, and how many units are still on their way.
func (d Draining) Lose(ctx context.Context) (partitions, units int) {
	c := &ingester{lanes: make(map[*partition]*lane)}
	d.p.lose(errInterrupted)
	for len(d.staged) > 0 {
		c.receive(ctx, <-d.staged, true)
	}
	return len(c.lanes), len(d.p.slots)
}

// Renew has a committer renew what is due when it holds a unit up to the update sequence
// of a partition that it has served long ago. It returns the position to be committed.
func Renew(sequence uint64) uint64 {
	p := newPartition(claim{}, 1, func(error) {})
	c := &committer{next: &group{most: maxGroupBytes}, served: map[*partition]served{p: {upTo: position{sequence: sequence - 1}}}}
	c.place(unit{partition: p, upTo: position{sequence: sequence}})
	c.flushIdle()
	return c.next.upTo(p).sequence
}

// ReadOn hands messages to a reader with room for all of them, and returns how many it
// puts there.
func ReadOn(ctx context.Context, messages []jetstream.Msg) (int, error) {
	r := &reader{updates: make(chan update, len(messages))}
	for i, m := range messages {
		if err := r.receive(ctx, m, uint64(i+1)); err != nil {
			return 0, err
		}
	}
	return len(r.updates), nil
}

// ReadSession has a reader of w read partition 0 through one consumer until ctx ends. With
// the first update in its hand it closes inHand, and waits for release.
func (w *Worker) ReadSession(ctx context.Context, inHand, release chan struct{}) error {
	r := w.reader(claim{})
	consumer, err := r.consumer(ctx)
	if err != nil {
		return err
	}
	return r.consume(ctx, slowConsumer{consumer, inHand, release})
}

// slowConsumer holds the first message up on its way to who reads.
type slowConsumer struct {
	jetstream.Consumer

	inHand, release chan struct{}
}

// Consume hands messages to handler.
func (c slowConsumer) Consume(handler jetstream.MessageHandler, opts ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	first := sync.OnceFunc(func() {
		close(c.inHand)
		<-c.release
	})
	return c.Consumer.Consume(func(m jetstream.Msg) {
		first()
		handler(m)
	}, opts...)
}

// CarryOn has w carry updates together, the first of which an earlier worker has done up
// to the recipient after, in an epoch; those given are of epoch 0. It returns the
// deliveries.
func (w *Worker) CarryOn(ctx context.Context, messages []jetstream.Msg, after presence.UserID, epoch int64) ([]wire.ReceivedDelivery, error) {
	var updates []update
	for _, m := range messages {
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		updates = append(updates, update{subject: m.Subject(), data: m.Data(), sequence: meta.Sequence.Stream, time: meta.Timestamp})
	}
	claimed := claim{position: updates[0].done()}
	claimed.position.after, claimed.position.epoch = after, epoch
	staged := make(chan unit, slotsPerPartition)
	way := w.pipeline(claimed)
	way.staged = staged
	if err := way.carry(ctx, newPartition(claimed, len(updates), func(error) {}), updates); err != nil {
		return nil, err
	}
	var found []wire.ReceivedDelivery
	for len(staged) > 0 {
		for _, m := range (<-staged).messages {
			d, err := wire.DecodeDelivery(m.data)
			if err != nil {
				return nil, err
			}
			found = append(found, d)
		}
	}
	return found, nil
}

// MadeUpRest returns how many of n states, made up for one recipient in a unit up to the
// update last, are not in a tail that has one for each of stored, the last updates of units.
func MadeUpRest(stored []uint64, last uint64, n int) int {
	to := presence.MustUserID("@reader:example.com")
	t := &tail{given: make(map[presence.UserID]given)}
	for _, unit := range stored {
		t.add(wire.ReceivedDelivery{Delivery: wire.Delivery{Recipient: to}, Sequences: []uint64{0}}, unit)
	}
	rest := t.rest(batch{
		updates:    []update{{sequence: last}},
		recipients: []routing.Recipient{{UserID: to, States: make([]presence.UserState, n)}},
	})
	left := 0
	for _, r := range rest.recipients {
		left += len(r.States)
	}
	return left
}

// UnderWay reports whether the change that a record tells of is under way if updates are
// stored in a layout, and whether updates wait for its end.
func UnderWay(stored wire.Layout, record wire.LayoutRecord) (change, waits bool) {
	d := division{stored: stored, record: layoutRecord{LayoutRecord: record}}
	return d.move() != nil, d.waits()
}

// Serving returns the layout that workers serve if updates are stored in one and a record
// is that of the deployment.
func Serving(stored wire.Layout, record wire.LayoutRecord) wire.Layout {
	return division{stored: stored, record: layoutRecord{LayoutRecord: record}}.serving()
}

// Part is what one half of a batch is about.
type Part struct {
	Updates    []uint64            // sequences
	Letters    []uint64            // sequences of the updates that they are about
	Recipients map[string][]uint64 // sequences of the states that each receives
}

// Cut cuts a batch of updates behind its first n. Each recipient receives all of them, and
// each is a dead letter as well.
func Cut(updates []presence.UserState, recipients []presence.UserID, n int) (parts [2]Part) {
	b := batch{states: updates}
	for _, s := range updates {
		u := update{sequence: s.Published().Position}
		b.updates, b.letters = append(b.updates, u), append(b.letters, letter{update: u})
	}
	for _, r := range recipients {
		b.recipients = append(b.recipients, routing.Recipient{UserID: r, States: updates})
	}
	for i, part := range b.cut(n) {
		parts[i] = partOf(part)
	}
	return parts
}

// OnPause has pauses of a claim go to pause.
func (w *Worker) OnPause(pause func(time.Duration)) {
	w.claimer.pause = func(_ context.Context, d time.Duration) { pause(d) }
}
