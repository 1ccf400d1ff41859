package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Deliveries yields the deliveries of a selection that are behind a position, those
// that are stored and those to come, in the order in which they were committed and
// each once. Errors: an *InvalidDeliveryError or an *ExpiredError tells of
// something, and reading goes on behind it; any other error is the last, such as
// one that wraps jetstream.ErrStreamNotFound, or the cause of the end of ctx.
//
// It reads through a consumer that needs no acknowledgement and is deleted at the
// end. While the server is away it waits; whatever breaks the sequence of messages,
// it goes on behind the last one with another consumer.
func (c *Client) Deliveries(ctx context.Context, selection Selection, after Position) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		r := c.reading(selection, after)
		r.yield = yield
		r.run(ctx)
	}
}

// reading is one iteration over deliveries.
type reading struct {
	client    *Client
	selection Selection
	after     Position
	yield     func(Delivery, error) bool
	caughtUp  func() bool    // told when everything that is stored was yielded; reports whether to go on
	moved     func(Position) // told of a position that is not behind a delivery
}

func (c *Client) reading(selection Selection, after Position) *reading {
	return &reading{
		client: c, selection: selection, after: after,
		caughtUp: func() bool { return true }, moved: func(Position) {},
	}
}

// run reads until nothing more is wanted, or yields the error that ends it.
func (r *reading) run(ctx context.Context) {
	if err := r.selection.err; err != nil {
		r.yield(Delivery{}, fmt.Errorf("read deliveries: %w", err))
		return
	}
	err := r.client.untilLast(ctx, func(ctx context.Context) (progress bool, err error) {
		from := r.after.Sequence
		err = r.session(ctx)
		return r.after.Sequence > from, err
	})
	if !errors.Is(err, errStopped) {
		r.yield(Delivery{}, err)
	}
}

// session reads through one consumer until that breaks.
func (r *reading) session(ctx context.Context) error {
	begin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	consumer, err := r.client.temporary(ctx, r.client.Filter(r.selection), begin.at)
	if err != nil {
		return err
	}
	defer r.client.delete(ctx, consumer.CachedInfo().Name)
	messages, err := open(consumer, readAhead)
	if err != nil {
		return err
	}
	defer messages.Stop()
	if consumer.CachedInfo().NumPending == 0 {
		r.after = begin.end
		if !r.caughtUp() {
			return errStopped
		}
	}
	part := arrived{consumer: consumer, end: begin.end}
	for {
		if err := r.readOn(ctx, messages, &part); err != nil {
			return err
		}
		r.lookUp(ctx, &part)
	}
}

// arrived is what a session knows of its consumer.
type arrived struct {
	consumer jetstream.Consumer
	count    uint64   // of the messages that arrived
	end      Position // of the stream at the last look-up
}

// readOn reads until another look-up is due, or returns why that ended before.
func (r *reading) readOn(ctx context.Context, messages jetstream.MessagesContext, part *arrived) error {
	until, cancel := context.WithTimeout(ctx, r.client.lookUps)
	defer cancel()
	for {
		m, err := messages.Next(jetstream.NextContext(until))
		if err != nil && until.Err() != nil && ctx.Err() == nil {
			return nil
		}
		if err != nil {
			return err
		}
		part.count++
		if err := r.receive(m, part.count, part.end.Created); err != nil {
			return err
		}
	}
}

// lookUp moves the position to the end that the stream had at the look-up before,
// where everything up to there has arrived: a reader of few deliveries would have
// an old position else, which nobody can tell from one with deliveries behind it
// that have expired. Where it cannot find out, the position stays.
func (r *reading) lookUp(ctx context.Context, part *arrived) {
	looking, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	info, err := part.consumer.Info(looking)
	if err != nil {
		return
	}
	if hasAll := info.NumPending == 0 && info.Delivered.Consumer == part.count; hasAll && part.end.Sequence > r.after.Sequence {
		r.after = part.end
		r.moved(r.after)
	}
	if end, err := r.client.End(looking); err == nil && end.Created.Equal(part.end.Created) {
		end.fresh = false
		part.end = end
	}
}

var errGap = errors.New("messages are missing between two that arrived")

// receive hands one message on.
func (r *reading) receive(m jetstream.Msg, delivered uint64, created time.Time) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != delivered {
		return errGap
	}
	d, err := received(m, meta, created)
	r.after = d.Position
	if !r.yield(d, err) || d.Pending == 0 && !r.caughtUp() {
		return errStopped
	}
	return nil
}
