package sender

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/presence-router/presence-router/stream/wire"
)

// Outbox is an outbox without a server and without anything that is sent: each method does
// what the sender's goroutines do in one step.
type Outbox struct {
	o     *outbox
	pins  []*pin
	lanes map[string]*lane // of the batches that were taken, by ID
}

// Delivered is a message of the deliveries stream as it comes.
type Delivered struct {
	Part     int
	Sequence uint64
	Reply    string
	Stored   time.Time
	Replay   bool
	Received wire.ReceivedDelivery
}

// Acks are acknowledgements that are due.
type Acks []ack

// NewOutbox returns an outbox of deliveries that are read in so many parts.
func NewOutbox(c Config, parts int) *Outbox {
	meters, err := newTelemetry(noop.NewMeterProvider().Meter(scope))
	if err != nil {
		panic(err)
	}
	b := &Outbox{o: newOutbox(c, time.Now, meters), lanes: make(map[string]*lane)}
	for range parts {
		b.pins = append(b.pins, &pin{ttl: c.AckWait})
	}
	return b
}

// Confirm has the server say that the pin of a part is this sender's.
func (b *Outbox) Confirm(part int, asked time.Time) { b.o.confirm(b.pins[part], asked) }

// Lose has the server say that the pin of a part is another sender's.
func (b *Outbox) Lose(part int) { b.o.lose(b.pins[part]) }

// Deliver has a delivery come.
func (b *Outbox) Deliver(d Delivered) {
	b.o.add(&delivery{sequence: d.Sequence, reply: d.Reply, stored: d.Stored, replay: d.Replay, pin: b.pins[d.Part]}, d.Received)
}

// Take returns the batch that is due, false where none is.
func (b *Outbox) Take() (Batch, bool) {
	l, batch, _ := b.o.take()
	if l == nil {
		return Batch{}, false
	}
	b.lanes[batch.ID] = l
	return batch, true
}

// Begin begins the send of a batch that was taken.
func (b *Outbox) Begin(id string, stop func()) { b.o.begin(b.lanes[id], stop) }

// Settle ends the send of a batch.
func (b *Outbox) Settle(ctx context.Context, id string, err error) {
	b.o.settle(ctx, b.lanes[id], err)
}

// Relieve makes room where there is none, and returns whether there was.
func (b *Outbox) Relieve() (full bool) {
	full, _ = b.o.full()
	b.o.relieve()
	return full
}

// Sweep gives up what is too old.
func (b *Outbox) Sweep() { b.o.sweep() }

// Done adds the acknowledgements that became due to those that are pending.
func (b *Outbox) Done(pending Acks) Acks { return b.o.takeDone(pending) }

// Confirmed has the server confirm acknowledgements.
func (b *Outbox) Confirmed(acks Acks) { b.o.forget(acks) }

// Each calls do with the delivery of each acknowledgement.
func (a Acks) Each(do func(sequence uint64, stored time.Time, reply string)) {
	for _, each := range a {
		do(each.delivery.sequence, each.delivery.stored, each.reply)
	}
}

// Held returns when the deliveries that are held were stored, by sequence.
func (b *Outbox) Held() map[uint64]time.Time {
	held := make(map[uint64]time.Time, len(b.o.held))
	for sequence, d := range b.o.held {
		held[sequence] = d.stored
	}
	return held
}

// Kept returns the reply subjects of the deliveries that the server is told are in work.
func (b *Outbox) Kept() []string { return b.o.replies() }

// Close stops all timers.
func (b *Outbox) Close() {
	for _, p := range b.pins {
		b.o.release(p)
	}
}

// Count returns an error where a count is not the sum of what is there.
func (b *Outbox) Count() error {
	states, bytes, open := 0, int64(len(b.o.held)*deliveryBytes), 0
	for _, l := range b.o.lanes {
		states += l.held()
		for _, e := range l.entries() {
			bytes += e.bytes()
		}
	}
	for _, d := range b.o.held {
		if d.open > 0 {
			open++
		}
	}
	if b.o.states != states || b.o.bytes != bytes || b.o.open != open {
		return fmt.Errorf("counted are %d states, %d bytes and %d deliveries that are not done, there are %d, %d and %d",
			b.o.states, b.o.bytes, b.o.open, states, bytes, open)
	}
	return nil
}

// Empty returns an error where anything is left of what was held.
func (b *Outbox) Empty() error {
	if len(b.o.held) > 0 || b.o.states != 0 || b.o.bytes != 0 || b.o.open != 0 || len(b.o.lanes) > 0 || len(b.o.schedule) > 0 {
		return fmt.Errorf("left are %d deliveries, %d of them not done, %d states and %d bytes, %d lanes, %d of them scheduled",
			len(b.o.held), b.o.open, b.o.states, b.o.bytes, len(b.o.lanes), len(b.o.schedule))
	}
	return nil
}
