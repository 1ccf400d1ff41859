package client

import (
	"context"
	"errors"
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
		r := &reading{client: c, filter: c.Filter(selection), after: after, yield: yield, caughtUp: func() bool { return true }}
		r.run(ctx)
	}
}

// reading is one iteration over deliveries.
type reading struct {
	client   *Client
	filter   string
	after    Position
	yield    func(Delivery, error) bool
	caughtUp func() bool // told when everything that is stored was yielded; reports whether to go on
}

// run reads until nothing more is wanted, or yields the error that ends it.
func (r *reading) run(ctx context.Context) {
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
	consumer, err := r.client.temporary(ctx, r.filter, begin.at)
	if err != nil {
		return err
	}
	defer r.client.delete(ctx, consumer)
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
	for delivered := uint64(1); ; delivered++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := r.receive(m, delivered, begin.end.Created); err != nil {
			return err
		}
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
