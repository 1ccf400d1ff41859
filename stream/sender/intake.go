package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

const (
	apiTimeout   = 5 * time.Second
	fetchWait    = 5 * time.Second
	heartbeat    = time.Second
	fetchBatch   = 256
	fetchBytes   = 2 << 20 // more than the server's largest message
	deferredRoom = 10      // what may be left to the server, in bounds on what is held
	group        = "sender"
	consumerText = "deliveries to other servers, on their way"
)

// intake takes the deliveries of one part over.
type intake struct {
	js     jetstream.JetStream
	stream string
	part   part
	config Config
	outbox *outbox
	meters *telemetry
	log    *slog.Logger
	stall  *stall
	warned time.Time // about a message that is no delivery
}

// run reads until ctx ends. What breaks is tried again.
func (i *intake) run(ctx context.Context) {
	retry := newBackOff()
	for ctx.Err() == nil {
		err := i.read(ctx, retry)
		if ctx.Err() == nil {
			i.stall.failed(err)
			pause(ctx, retry.NextBackOff())
		}
	}
}

// read makes the consumer and takes over what comes, until there is no consumer any
// more. A consumer that only does not answer is asked again: it knows this sender.
func (i *intake) read(ctx context.Context, retry *backoff.ExponentialBackOff) error {
	consumer, err := i.consumer(ctx)
	if err != nil {
		return err
	}
	i.stall.ended()
	for {
		i.outbox.awaitRoom(ctx)
		switch err := i.fetch(ctx, consumer); {
		case err == nil:
			i.stall.ended()
			retry.Reset()
		case ctx.Err() != nil || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrConsumerDeleted):
			return err
		default:
			i.stall.failed(err)
			pause(ctx, retry.NextBackOff())
		}
	}
}

// consumer makes the durable consumer where it is missing. Of several senders on it
// one gets everything and the others wait, so that a destination has one sender.
func (i *intake) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	consumer, err := i.js.CreateOrUpdateConsumer(ctx, i.stream, jetstream.ConsumerConfig{
		Durable:        i.part.consumer,
		Description:    consumerText,
		FilterSubject:  i.part.filter,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        i.config.AckWait,
		MaxAckPending:  deferredRoom * i.config.MaxStates,
		MaxDeliver:     -1,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{group},
		PinnedTTL:      i.config.AckWait,
	})
	if err != nil {
		return nil, fmt.Errorf("make consumer %s of %s: %w", i.part.consumer, i.stream, err)
	}
	return consumer, nil
}

// fetch asks for no more than there is room for, about.
func (i *intake) fetch(ctx context.Context, consumer jetstream.Consumer) error {
	wait := min(fetchWait, i.config.AckWait/2)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	options := []jetstream.FetchOpt{
		jetstream.FetchContext(ctx), jetstream.FetchMaxBytes(fetchBytes), jetstream.FetchPriorityGroup(group),
	}
	if wait == fetchWait { // else it is over soon enough where nothing comes any more
		options = append(options, jetstream.FetchHeartbeat(heartbeat))
	}
	messages, err := consumer.Fetch(min(fetchBatch, i.config.MaxStates), options...)
	if err != nil {
		return fmt.Errorf("read %s: %w", i.part.filter, err)
	}
	for m := range messages.Messages() {
		i.take(ctx, m)
	}
	err = messages.Error()
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jetstream.ErrPinIDMismatch) {
		return nil
	}
	return fmt.Errorf("read %s: %w", i.part.filter, err)
}

func (i *intake) take(ctx context.Context, m jetstream.Msg) {
	d, received, err := decode(m)
	if err != nil {
		i.meters.noDelivery(ctx)
		i.complain(m.Subject(), err)
		_ = m.Term() // Where that is lost, it comes again.
		return
	}
	i.outbox.add(d, received)
}

func (i *intake) complain(subject string, err error) {
	i.log.Debug("message is no delivery", "subject", subject, "error", err)
	if time.Since(i.warned) >= reminder {
		i.warned = time.Now()
		i.log.Warn("passing over messages that are no deliveries", "filter", i.part.filter)
	}
}

func decode(m jetstream.Msg) (*delivery, wire.ReceivedDelivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, wire.ReceivedDelivery{}, fmt.Errorf("read metadata: %w", err)
	}
	received, err := wire.DecodeDelivery(m.Data())
	if err != nil {
		return nil, wire.ReceivedDelivery{}, err
	}
	return &delivery{
		sequence: meta.Sequence.Stream,
		reply:    m.Reply(),
		stored:   meta.Timestamp,
		replay:   m.Headers().Get(wire.ReplayHeader) == "1",
	}, received, nil
}

// unpin lets another sender go on at once.
func (i *intake) unpin(ctx context.Context) {
	stream, err := i.js.Stream(ctx, i.stream)
	if err == nil {
		_ = stream.UnpinConsumer(ctx, i.part.consumer, group) // Else it goes on when the pin has expired.
	}
}
