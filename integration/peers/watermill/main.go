// Watermill routes presence with Watermill's router on watermill-nats.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/integration/peers/job"
)

// subscribers is how many updates are on their way at once: a subscriber waits for
// its update, and a publisher for each acknowledgement. More make it no faster.
const subscribers = 64

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "watermill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	j, err := job.FromArgs()
	if err != nil {
		return err
	}
	log := watermill.NopLogger{}
	publisher, err := wmnats.NewPublisher(wmnats.PublisherConfig{URL: j.URL}, log)
	if err != nil {
		return fmt.Errorf("make a publisher: %w", err)
	}
	subscriber, err := newSubscriber(j, log)
	if err != nil {
		return fmt.Errorf("make a subscriber: %w", err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, log)
	if err != nil {
		return fmt.Errorf("make a router: %w", err)
	}
	router.AddConsumerHandler("route", j.Subjects.StoredUpdates(), subscriber, func(update *message.Message) error {
		n := 0
		return j.Deliver(update.Payload, 1, func(subject string, data []byte) error {
			n++
			return publisher.Publish(subject, message.NewMessage(update.UUID+strconv.Itoa(n), data))
		})
	})
	return router.Run(ctx)
}

// newSubscriber returns a subscriber that shares the updates stream, as it is, among
// subscribers, and does not wait for the answer to an acknowledgement.
func newSubscriber(j *job.Job, log watermill.LoggerAdapter) (*wmnats.Subscriber, error) {
	return wmnats.NewSubscriber(wmnats.SubscriberConfig{
		URL:              j.URL,
		QueueGroupPrefix: "watermill",
		SubscribersCount: subscribers,
		JetStream: wmnats.JetStreamConfig{
			AckAsync:      true,
			DurablePrefix: "watermill",
			SubscribeOptions: []nats.SubOpt{
				nats.BindStream(j.Subjects.UpdatesStream()), nats.DeliverAll(), nats.AckExplicit(), nats.MaxAckPending(4 * subscribers),
			},
		},
	}, log)
}
