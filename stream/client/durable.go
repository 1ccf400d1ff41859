package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/fault"
)

// maxNameBytes is the longest name of a consumer that the server takes.
const maxNameBytes = 255

// durableAhead is how many deliveries a durable reader holds that were not yielded
// yet: their wait for an acknowledgement runs.
const durableAhead = 64

// DurableConfig holds the settings of a durable reader. A durable that exists is
// not changed: with other settings it is an error that wraps
// jetstream.ErrConsumerExists.
type DurableConfig struct {
	Name       string // of the durable, unique in the deliveries stream; readers with the same name share its deliveries. 1 to 255 visible characters of ASCII but .*>/\
	Selection  Selection
	AckWait    time.Duration // after which a delivery that is not acknowledged is yielded again, up to 24h; 30s where 0
	MaxUnacked int           // deliveries that are yielded and not acknowledged, up to 65536; 1000 where 0
}

// Validate returns nil, or the joined errors that each name a field.
func (d DurableConfig) Validate() error {
	return errors.Join(
		visible("Name", d.Name),
		d.Selection.err,
		fault.Within("AckWait", d.AckWait, 0, 24*time.Hour),
		fault.Within("MaxUnacked", d.MaxUnacked, 0, 1<<16),
	)
}

func visible(field, name string) error {
	isBad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`.*>/\`, r) }
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, isBad) {
		return fmt.Errorf(`%s is %.300q: want 1 to %d visible characters of ASCII but .*>/\`, field, name, maxNameBytes)
	}
	return nil
}

// Unacked is a delivery of a durable reader that is to be acknowledged.
type Unacked struct {
	Delivery

	Attempt uint64 // 1 for the first time it is yielded, then 2 and so on

	message jetstream.Msg
}

// Ack says that the delivery is dealt with and waits until the server knows.
func (u Unacked) Ack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := u.message.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledge delivery %d: %w", u.Position.Sequence, err)
	}
	return nil
}

// Retry has the delivery yielded again after delay, here or by another reader of
// the durable.
func (u Unacked) Retry(delay time.Duration) error {
	if err := u.message.NakWithDelay(delay); err != nil {
		return fmt.Errorf("give delivery %d back: %w", u.Position.Sequence, err)
	}
	return nil
}

// Durable yields the deliveries of a durable consumer, which is made where it does
// not exist and then begins with the oldest delivery, and which the server keeps:
// a reader that comes back goes on with what is not acknowledged. A delivery is
// yielded again until it is acknowledged, so that one may come twice and behind
// newer ones: who reads keeps the highest epoch and sequence per user, as View
// does. Errors are those of Deliveries, but for *ExpiredError.
func (c *Client) Durable(ctx context.Context, config DurableConfig) iter.Seq2[Unacked, error] {
	return func(yield func(Unacked, error) bool) {
		if err := config.Validate(); err != nil {
			yield(Unacked{}, fmt.Errorf("read with a durable: %w", err))
			return
		}
		err := c.untilLast(ctx, func(ctx context.Context) (bool, error) { return c.durable(ctx, config, yield) })
		if !errors.Is(err, errStopped) {
			yield(Unacked{}, err)
		}
	}
}

func (c *Client) durable(ctx context.Context, config DurableConfig, yield func(Unacked, error) bool) (progress bool, err error) {
	end, err := c.End(ctx)
	if err != nil {
		return false, err
	}
	consumer, err := c.consumer(ctx, config.consumer(c))
	if err != nil {
		return false, err
	}
	messages, err := open(consumer, min(durableAhead, consumer.CachedInfo().Config.MaxAckPending))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return progress, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return progress, err
		}
		progress = true
		d, err := received(m, meta, end.Created)
		if !yield(Unacked{Delivery: d, Attempt: meta.NumDelivered, message: m}, err) {
			return progress, errStopped
		}
	}
}

// DeleteDurable removes the durable of that name, with what it knows of
// acknowledgements.
func (c *Client) DeleteDurable(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := c.js.DeleteConsumer(ctx, c.subjects.DeliveriesStream(), name); err != nil {
		return fmt.Errorf("delete durable %s: %w", name, err)
	}
	return nil
}

func (d DurableConfig) consumer(c *Client) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Durable:       d.Name,
		Description:   consumerPurpose,
		FilterSubject: c.Filter(d.Selection),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       d.AckWait,
		MaxAckPending: d.MaxUnacked,
	}
	if config.AckWait == 0 {
		config.AckWait = 30 * time.Second
	}
	if config.MaxAckPending == 0 {
		config.MaxAckPending = 1000
	}
	return config
}
