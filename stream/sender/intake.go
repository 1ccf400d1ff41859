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

	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	apiTimeout   = 5 * time.Second
	fetchWait    = 5 * time.Second
	heartbeat    = time.Second
	fetchBatch   = 256
	fetchBytes   = 2 << 20 // more than the server's largest message
	noBytes      = 1       // less than its smallest: the request keeps the pin, no more
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
	stall  *wait.Stall
	pin    *pin
	pinned bool      // the consumer knows this sender by its pin
	warned time.Time // about a message that is no delivery
}

// run reads until ctx ends. What breaks is tried again.
func (i *intake) run(ctx context.Context) {
	retry := wait.NewBackOff()
	for ctx.Err() == nil {
		err := i.read(ctx, retry)
		if ctx.Err() == nil {
			i.stall.Failed(err)
			wait.Pause(ctx, retry.NextBackOff())
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
	i.stall.Ended()
	i.pinned = false
	for {
		room := i.awaitRoom(ctx)
		err := i.fetch(ctx, consumer, room)
		i.report()
		switch {
		case err == nil:
			i.stall.Ended()
			retry.Reset()
		case ctx.Err() != nil || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrConsumerDeleted):
			return err
		default:
			i.stall.Failed(err)
			wait.Pause(ctx, retry.NextBackOff())
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
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("stream %s is missing: make it with topology apply, or mend the prefix: %w", i.stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("make consumer %s of %s: %w", i.part.consumer, i.stream, err)
	}
	return consumer, nil
}

// patience is how long to go without a request to the server. Of a pin's time that leaves
// half for the answer.
func (i *intake) patience() time.Duration { return min(fetchWait, i.config.AckWait/4) }

// awaitRoom reports whether there is room, and waits for it no longer than the pin can.
func (i *intake) awaitRoom(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, i.patience())
	defer cancel()
	return i.outbox.awaitRoom(ctx)
}

// fetch asks for no more than there is room for, about, and without room for what is
// never delivered.
func (i *intake) fetch(ctx context.Context, consumer jetstream.Consumer, room bool) error {
	patience := i.patience()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	size := noBytes
	if room {
		size = fetchBytes
	}
	options := []jetstream.FetchOpt{
		jetstream.FetchContext(ctx), jetstream.FetchMaxBytes(size), jetstream.FetchPriorityGroup(group),
	}
	if patience == fetchWait { // else it is over soon enough where nothing comes any more
		options = append(options, jetstream.FetchHeartbeat(heartbeat))
	}
	asked := time.Now()
	messages, err := consumer.Fetch(min(fetchBatch, i.config.MaxStates), options...)
	if err != nil {
		return fmt.Errorf("read %s: %w", i.part.filter, err)
	}
	for m := range messages.Messages() {
		i.pinned = true
		i.outbox.confirm(i.pin, asked)
		i.take(ctx, m)
	}
	switch err := messages.Error(); {
	case err == nil && i.pinned:
		i.outbox.confirm(i.pin, asked)
	case errors.Is(err, jetstream.ErrPinIDMismatch):
		i.pinned = false
		i.outbox.lose(i.pin)
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("read %s: %w", i.part.filter, err)
	}
	return nil
}

// report logs what was forgotten.
func (i *intake) report() {
	if states := i.outbox.takeForgotten(i.pin); states > 0 {
		i.log.Warn("another sender may read, leaving to it what is not sent", "filter", i.part.filter, "states", states)
	}
}

func (i *intake) take(ctx context.Context, m jetstream.Msg) {
	d, received, err := decode(m)
	if err != nil {
		i.meters.noDelivery(ctx)
		i.complain(m.Subject(), err)
		if _, foreign := m.Metadata(); foreign == nil { // Else somebody else chose what its reply subject is.
			_ = m.Term() // Where that is lost, it comes again.
		}
		return
	}
	d.pin = i.pin
	i.outbox.add(d, received)
}

func (i *intake) complain(subject string, err error) {
	i.log.Debug("message is no delivery", "subject", subject, "error", err)
	if time.Since(i.warned) >= wait.Reminder {
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

// unpin lets another sender go on at once. It returns the first sequence that the
// stream still has, 0 where that is not known.
func (i *intake) unpin(ctx context.Context) uint64 {
	stream, err := i.js.Stream(ctx, i.stream)
	if err != nil {
		return 0
	}
	_ = stream.UnpinConsumer(ctx, i.part.consumer, group) // Else it goes on when the pin has expired.
	return stream.CachedInfo().State.FirstSeq
}
